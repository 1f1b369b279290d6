"""What wearing the adapter in training costs: by our layers (`worker/models/lean.py`), by peft's, and the base without."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.contest import contest, cost, operations, row
from benchmarks.gpu.updates import PROMPTS, Row, forget, recipe_of
from worker.models.base import TRAINED, PipelineFamily
from worker.models.lean import Lean
from worker.training.attention import without_cudnn
from worker.training.methods import settings_of


@contextmanager
def lifted(family: PipelineFamily) -> Iterator[None]:
    """Inside the block the adapter's layers are peft's own: every input is cast to fp32 for them, and their answer back."""
    layers = [module for module in family.denoiser.modules() if isinstance(module.forward, Lean)]
    kept = [layer.forward for layer in layers]
    for layer in layers:
        del layer.forward
    try:
        yield
    finally:
        for layer, forward in zip(layers, kept, strict=True):
            layer.forward = forward


class Worn:
    """Denoiser calls of a family with an adapter, of the sizes that a training by the defaults makes."""

    def __init__(self, name: str, family: PipelineFamily) -> None:
        self.device, self.model, self.family = str(family.device), f"{name}-shaped, random weights", family
        targets = [target for target, layers in family.groups.items() if layers]
        settings = settings_of(
            recipe_of(name, targets, {"type": "sharpening-rlhf"}, 1), family.latent_shape,
            free_guidance=family.free_guidance, on_gpu=True,
        )  # fmt: skip
        self.sizes = settings.search_batch, settings.micro_batch
        self.parameters = list(family.add_adapter(16, targets, 0).values())
        with torch.no_grad():
            for each in self.parameters:
                each.normal_(std=0.02)
            self._one = family.encode(PROMPTS[:1])
        self._latents = torch.randn(settings.search_batch, *family.latent_shape, device=family.device)

    def predict(self, rows: int) -> Tensor:
        conditions = self._one[torch.zeros(rows, dtype=torch.long, device=self.family.device)]
        return self.family.predict(self._latents[:rows], 500, conditions)

    @torch.no_grad()
    def search(self) -> Tensor:
        """Two calls of a rollout, which has eight by default: the adapter is cast once for all of them."""
        with self.family.adapter_folded():
            self.predict(self.sizes[0])
            return self.predict(self.sizes[0])

    @torch.no_grad()
    def base(self) -> Tensor:
        with self.family.adapter_off():
            self.predict(self.sizes[0])
            return self.predict(self.sizes[0])

    def learn(self) -> tuple[Tensor, ...]:
        with without_cudnn():
            return torch.autograd.grad(self.predict(self.sizes[1]).float().square().mean(), self.parameters)

    def lifted(self, run: Callable[[], Any]) -> Callable[[], Any]:
        def with_casts() -> Any:
            with lifted(self.family):
                return run()

        return with_casts


def rows(name: str, family: PipelineFamily, turns: int) -> list[Row]:
    """Seconds as we make calls over those with peft's layers, and over the base's. The family has no adapter before or after."""
    forget()
    worn = Worn(name, family)
    ours, theirs = worn.search(), worn.lifted(worn.search)()
    apart = ((ours - theirs).norm() / theirs.norm()).item()
    sides = {"ours": worn.search, "peft": worn.lifted(worn.search), "base": worn.base}
    with without_cudnn():
        searched = contest(f"{name}, two calls of {worn.sizes[0]} rows", sides, turns)
    learned = contest(
        f"{name}, a call of {worn.sizes[1]} rows and its backward", {"ours": worn.learn, "peft": worn.lifted(worn.learn)},
        turns,
    )  # fmt: skip
    counts = {side: operations(run) for side, run in sides.items()}
    family.drop_adapter(TRAINED)
    two = f"two calls of {worn.sizes[0]} rows without gradients"
    return [
        row(
            f"{two}, our adapter layers : peft's", worn, cost(searched, "ours", "peft"),
            ops=(counts["ours"], counts["peft"]), relative_difference=apart,
        ),
        row(
            f"{two}, with the adapter : the base alone", worn, cost(searched, "ours", "base"),
            ops=(counts["ours"], counts["base"]),
        ),
        row(
            f"a call of {worn.sizes[1]} rows and its backward, our adapter layers : peft's", worn,
            cost(learned, "ours", "peft"),
        ),
    ]  # fmt: skip
