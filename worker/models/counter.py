"""What was computed, counted by hooks on the modules themselves, so that no caller can forget to count.

NFE = denoiser forwards per sample (guidance doubles the rows, so it counts 2). A forward that will be differentiated
is one NFE and one gradient forward. fe (forward-equivalents) = NFE + b × gradient forwards; b: `backward_cost`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, slots=True)
class Counts:
    """Totals since the counter was made; subtract two to get what happened in between."""

    nfe: int = 0
    gradient_forwards: int = 0
    decodes: int = 0
    reward_calls: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.nfe + other.nfe,
            self.gradient_forwards + other.gradient_forwards,
            self.decodes + other.decodes,
            self.reward_calls + other.reward_calls,
        )

    def __sub__(self, other: "Counts") -> "Counts":
        return self + Counts(-other.nfe, -other.gradient_forwards, -other.decodes, -other.reward_calls)

    def fe(self, backward_cost: float) -> int:
        return round(self.nfe + backward_cost * self.gradient_forwards)


class Counter:
    """Watches one denoiser and its decoders. Rows are counted, not calls."""

    def __init__(self, denoiser: nn.Module, decoder: nn.Module) -> None:
        self.total = Counts()
        denoiser.register_forward_hook(self._denoised, with_kwargs=True)
        self.watch_decoder(decoder)

    def watch_decoder(self, decoder: nn.Module) -> None:
        decoder.register_forward_hook(self._decoded)

    def _denoised(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        rows = len(inputs[0] if inputs else named["hidden_states"])  # as the pipelines of sd3 and flux hand them
        differentiable = (output if isinstance(output, Tensor) else output[0]).requires_grad
        self.total += Counts(nfe=rows, gradient_forwards=rows if differentiable else 0)

    def _decoded(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.total += Counts(decodes=len(inputs[0]))

    def scored(self, pictures: int) -> None:
        self.total += Counts(reward_calls=pictures)

    def backward_cost(self, forward: Callable[[], Tensor], parameters: Sequence[Tensor]) -> float:
        """b = FLOPs of the backward / FLOPs of its forward. Deterministic, and left out of the totals."""
        before = self.total
        with torch.enable_grad(), FlopCounterMode(display=False) as flops:
            output = forward()
            ahead = flops.get_total_flops()
            torch.autograd.grad(output.float().square().mean(), parameters)
        self.total = before
        return (flops.get_total_flops() - ahead) / ahead
