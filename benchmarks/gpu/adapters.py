"""What wearing the adapter in training costs: by our layers (`worker/models/lean.py`), by peft's, and the base without."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.updates import PROMPTS, Row, forget
from benchmarks.inference.contest import contest, cost, operations, row
from worker.models.base import TRAINED, PipelineFamily
from worker.models.lean import Lean


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
    """One denoiser call of a family with an adapter."""

    def __init__(self, name: str, family: PipelineFamily, rows: int) -> None:
        self.device, self.model, self.family = str(family.device), f"{name}-shaped, random weights", family
        targets = [target for target, layers in self.family.groups.items() if layers]
        self.parameters = list(self.family.add_adapter(16, targets, 0).values())
        with torch.no_grad():
            for each in self.parameters:
                each.normal_(std=0.02)
            conditions = self.family.encode(PROMPTS[:1])
        self._latents = torch.randn(rows, *self.family.latent_shape, device=family.device)
        self._conditions = conditions[torch.zeros(rows, dtype=torch.long, device=family.device)]

    def predict(self) -> Tensor:
        return self.family.predict(self._latents, 500, self._conditions)

    @torch.no_grad()
    def search(self) -> Tensor:
        """Two calls of a rollout, which has eight by default: the adapter is cast once for all of them."""
        with self.family.adapter_folded():
            self.predict()
            return self.predict()

    @torch.no_grad()
    def base(self) -> Tensor:
        with self.family.adapter_off():
            self.predict()
            return self.predict()

    def learn(self) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.predict().float().square().mean(), self.parameters)

    def lifted(self, run: Callable[[], Any]) -> Callable[[], Any]:
        def with_casts() -> Any:
            with lifted(self.family):
                return run()

        return with_casts


def rows(name: str, family: PipelineFamily, count: int, turns: int) -> list[Row]:
    """Seconds of a call as we make it over those of a call with every input lifted, and over the base's."""
    forget()
    worn = Worn(name, family, count)
    ours, theirs = worn.search(), worn.lifted(worn.search)()
    apart = ((ours - theirs).norm() / theirs.norm()).item()
    what = f"{name}, {count} rows"
    searched = contest(
        f"{what}, searching", {"ours": worn.search, "lifted": worn.lifted(worn.search), "base": worn.base}, turns
    )
    learned = contest(f"{what}, learning", {"ours": worn.learn, "lifted": worn.lifted(worn.learn)}, turns)
    counts = {
        "ours": operations(worn.search),
        "lifted": operations(worn.lifted(worn.search)),
        "base": operations(worn.base),
    }
    family.drop_adapter(TRAINED)
    return [
        row(
            f"calls of {count} rows without gradients, our adapter layers : peft's", worn, cost(searched, "ours", "lifted"),
            ops=(counts["ours"], counts["lifted"]), relative_difference=apart,
        ),
        row(
            f"calls of {count} rows without gradients, with the adapter : the base alone", worn, cost(searched, "ours", "base"),
            ops=(counts["ours"], counts["base"]),
        ),
        row(f"a call of {count} rows and its backward, our adapter layers : peft's", worn, cost(learned, "ours", "lifted")),
    ]  # fmt: skip
