"""What the child writes into a checkpoint beside the state: how long training took, how well it went, and on what.

The state gives the bits that follow; this is for budgets, for thinning, and for telling when bits may differ.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

SMOOTHING = 0.9
"""Of the mean reward, where there is no validation: a batch's mean depends on which prompts it has."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Where a training runs, as far as its bits depend on it."""

    device: str
    threads: int
    torch: str

    def __str__(self) -> str:
        return f"{self.device}, {self.threads} threads, torch {self.torch}"


@dataclass(frozen=True, slots=True)
class Account:
    """Over all attempts that led to the checkpoint. `spent`: training ended there because a budget was used up.

    `best_step` is the checkpoint with the best score: the newest validation's reward, or the smoothed mean reward.
    """

    seconds: float = 0.0
    spent: bool = False
    smoothed: float | None = None
    validated: float | None = None
    best_step: int | None = None
    best_score: float | None = None
    hardware: Hardware | None = None

    @staticmethod
    def read(kept: Mapping[str, Any]) -> "Account":
        """What it does not know, another release wrote: passed over."""
        known = {field.name: kept[field.name] for field in fields(Account) if field.name in kept}
        if known.get("hardware") is not None:
            known["hardware"] = Hardware(**known["hardware"])
        return Account(**known)

    @property
    def score(self) -> float | None:
        return self.smoothed if self.validated is None else self.validated

    def after_step(self, reward: float | None) -> "Account":
        if reward is None:
            return self
        before = reward if self.smoothed is None else self.smoothed
        return replace(self, smoothed=SMOOTHING * before + (1 - SMOOTHING) * reward)

    def after_checkpoint(self, step: int) -> "Account":
        """Of equals the later one is the best: it has trained for longer."""
        score = self.score
        if score is None or (self.best_score is not None and score < self.best_score):
            return self
        return replace(self, best_step=step, best_score=score)


def hardware_of(device: torch.device) -> Hardware:
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_kind()
    return Hardware(f"{device.type}: {kind}", torch.get_num_threads(), torch.__version__)


def _cpu_kind() -> str:
    """The model, and the instruction set that torch chose for it."""
    model = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        lines = (line.partition(":") for line in described.read_text(errors="replace").splitlines())
        model = next((value.strip() for key, _, value in lines if key.strip() == "model name"), model)
    return f"{model} ({torch.backends.cpu.get_cpu_capability()})"
