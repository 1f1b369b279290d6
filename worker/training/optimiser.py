"""AdamW with a schedule, clipping and an average of its iterates: all of the optimiser's state, by name.

The learning rate and the average's decay are functions of the step, so only tensors and one count are state.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from service.domain.methods import Trained


def learning_rate(method: Trained, step: int, steps: int) -> float:
    """Of update number `step` (from 0) of `steps`: warm-up, then constant or falling to 0 after the last."""
    warm = min(1.0, (step + 1) / (method.warmup_steps + 1))
    falling = 1.0 - step / steps if method.schedule == "linear" else 1.0
    return method.rate * warm * falling


class Optimiser:
    """Changes `parameters` in place; `average`, the exponential moving average, is delivered, or `best`: it at its best."""

    def __init__(self, parameters: Mapping[str, Tensor], method: Trained, steps: int) -> None:
        self.parameters, self._method, self._steps = parameters, method, steps
        self.values = tuple(parameters.values())
        self.average = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        self.best: dict[str, Tensor] = {}
        self._adam = torch.optim.AdamW(self.values, lr=method.rate, weight_decay=method.weight_decay)

    @torch.no_grad()
    def apply(self, gradient: Sequence[Tensor], step: int) -> float:
        """One update; returns the gradient's norm before clipping. A norm that is not finite changes nothing."""
        norm = torch.nn.utils.get_total_norm(gradient).item()
        if not math.isfinite(norm):
            return norm
        scale = min(1.0, self._method.max_grad_norm / (norm + 1e-6))
        for parameter, part in zip(self.values, gradient, strict=True):
            parameter.grad = part * scale
        self._adam.param_groups[0]["lr"] = learning_rate(self._method, step, self._steps)
        self._adam.step()
        self._adam.zero_grad()
        decay = min(self._method.ema_decay, (1 + step) / (10 + step))  # short jobs: forget the start sooner
        for average, parameter in zip(self.average.values(), self.values, strict=True):
            average.lerp_(parameter, 1 - decay)
        return norm

    def keep_best(self) -> None:
        """Remember the average as it is now."""
        self.best = {name: value.clone() for name, value in self.average.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Everything, for a checkpoint: the very tensors, which the next update changes."""
        kept = {f"adapter/{name}": parameter for name, parameter in self.parameters.items()}
        kept |= {f"average/{name}": average for name, average in self.average.items()}
        kept |= {f"best/{name}": value for name, value in self.best.items()}
        for name, parameter in self.parameters.items():
            kept |= {f"adam/{part}/{name}": value for part, value in self._adam.state[parameter].items()}
        return {name: value.detach() for name, value in kept.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Raises KeyError or RuntimeError where the tensors are those of another layout."""
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[f"adapter/{name}"])
            self.average[name].copy_(tensors[f"average/{name}"])
            if f"best/{name}" in tensors:
                self.best[name] = tensors[f"best/{name}"].to(parameter.device)
            self._adam.state[parameter] = {
                part: tensors[f"adam/{part}/{name}"].to("cpu" if part == "step" else parameter.device)
                for part in ("step", "exp_avg", "exp_avg_sq")
                if f"adam/{part}/{name}" in tensors
            }
