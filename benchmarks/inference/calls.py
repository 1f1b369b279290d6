"""One batch on its way: calls in which everybody wears another adapter against plain diffusers, and what a picture costs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.contest import contest, cost, operations, row, speed
from benchmarks.inference.places import Place
from worker.evaluation.receipt_sides import counted, foreign_layers
from worker.inference.engine.served import Served

PROMPT = "a red circle"
Row = dict[str, Any]


class Pair:
    """The same pictures twice, up to their last latents: by diffusers' own pipeline on its own denoiser, and by the engine's steps
    with another adapter on each of them. The two have a copy of the base each, so that neither undoes the other's warmth."""

    def __init__(self, place: Place, count: int, *, steps: int, guidance: float) -> None:
        self.count, self._steps, self._guidance = count, steps, guidance
        self.plain = place.family()
        assert not foreign_layers(self.plain.denoiser)
        self.served = Served(place.family(), slots=count, rank=16)
        self._worn = [((file, 1.0),) for file in place.loras(count)]
        self._apart = 1e-3 if place.dtype == "fp32" else 0.05

    def base(self) -> Tensor:
        return self.plain.pipeline(
            prompt=[PROMPT] * self.count,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(self.count)],
            guidance_scale=self._guidance,
            num_inference_steps=self._steps,
            height=self.plain.latent_shape[1] * self.plain.pipeline.vae_scale_factor,
            width=self.plain.latent_shape[2] * self.plain.pipeline.vae_scale_factor,
            output_type="latent",
        ).images

    def ours(self, *, worn: bool = True) -> Tensor:
        samples = [
            self.served.begin(
                PROMPT,
                seed,
                guidance=self._guidance,
                steps=self._steps,
                wearing=self._worn[seed] if worn else (),
                scheduler="ddim",
            )
            for seed in range(self.count)
        ]
        for _ in range(self._steps):
            self.served.step(samples, self.count)
        return torch.stack([each.latents for each in samples])

    @property
    def contenders(self) -> Mapping[str, Callable[[], Tensor]]:
        return {"base": self.base, "adapter": self.ours}

    def check(self) -> None:
        """That both do the same work: without adapters they give the same latents, with them others."""
        base = self.base()
        scale = base.abs().max().clamp(min=1)
        torch.testing.assert_close(self.ours(worn=False) / scale, base / scale, atol=self._apart, rtol=self._apart)
        apart = (self.ours() - base).abs().amax(dim=(1, 2, 3))
        assert apart.min() > 2 * self._apart * scale, "an adapter changes nothing"

    def nfe(self) -> tuple[int, int]:
        """Denoiser forwards (ours, the base's), by a hook on the denoiser."""
        with counted(self.served.family.denoiser) as ours:
            self.ours()
        with counted(self.plain.denoiser) as base:
            self.base()
        return ours.seen, base.seen

    def operations(self) -> tuple[int, int]:
        """ATen operations of one denoiser call (ours, the base's)."""
        found = []
        for run, denoiser in ((self.ours, self.served.family.denoiser), (self.base, self.plain.denoiser)):
            with first_call(denoiser) as call:
                run()
            found.append(operations(call[0]))
        return found[0], found[1]


@contextmanager
def first_call(denoiser: torch.nn.Module) -> Iterator[list[Callable[[], Any]]]:
    """The first call of the block, ready to be made again."""
    calls: list[Callable[[], Any]] = []

    def note(module: torch.nn.Module, inputs: tuple[Any, ...], words: dict[str, Any]) -> None:
        if not calls:
            calls.append(lambda: module.forward(*inputs, **words))

    handle = denoiser.register_forward_pre_hook(note, with_kwargs=True)
    try:
        with torch.no_grad():
            yield calls
    finally:
        handle.remove()


@torch.no_grad()
def rows(
    place: Place, layers: str, *, steps: int, guidance: float, turns: int, goals: tuple[float, float]
) -> list[Row]:
    """Throughput of a mixed batch of eight, latency of one, and the denoiser forwards of a picture."""
    made = []
    about = {"layers": layers, "steps": steps, "guidance": guidance, "threads": torch.get_num_threads()}
    for count, name, goal in (
        (8, "mixed batch of 8 adapters : base in a batch of 8, throughput", ("at least", goals[0])),
        (1, "one adapter : base, latency at batch 1", ("at most", goals[1])),
    ):
        pair = Pair(place, count, steps=steps, guidance=guidance)
        pair.check()
        seconds = contest(f"{place.model}, {layers}, batch {count}", pair.contenders, turns)
        compared = (speed if count == 8 else cost)(seconds, "adapter", "base")
        nfe = pair.nfe()
        each = {key: [round(value, 4) for value in values] for key, values in seconds.items()}
        made.append(
            row(f"{name}, {layers}", place, compared, goal=goal, ops=pair.operations(), nfe=nfe, seconds=each, **about)
        )
    calls = {"ratio": nfe[0] / nfe[1], "ci95": None, "turns": 1}
    made.append(
        row("denoiser forwards of a picture, adapter : base", place, calls, goal=("at most", 1.0), nfe=nfe, **about)
    )
    return made
