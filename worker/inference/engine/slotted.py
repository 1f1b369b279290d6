"""Layers that add a low-rank term chosen sample by sample: y = plain(x) + x A[slot] B[slot], with one slot a sample.

The arithmetic is peft's at scale 1: x A first, of rank r, then times B. Slot 0 is zeros, and adding its term changes no
bit, so a sample's bits do not depend on whether its neighbours wear something here. A call in which nobody wears
anything here (`rows` is None) is the plain layer's call and nothing else.

Shapes   K slots with slot 0 · r the slots' rank · N samples in the call · T tokens · D, O features or channels in, out
    a    linear [K, D, r]      conv [K, r, D, k, k]
    b    linear [K, r, O]      conv [K, O, r]
A convolution's A is a kernel for each sample: one grouped convolution. Against unfold and bmm that took 0.4 to 0.8 of
the time at 8×8 latents and 0.15 at 64×64 (fp32, one core).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]
"""A [r, in] or a kernel [r, in, k, k]; B [out, r] or [out, r, 1, 1]"""


class Slotted(nn.Module, ABC):
    """Stands where `plain` stood. `rows`: A and B of each row of the next call [N, …], or None.

    They are gathered when the company changes, not at each step: on a CPU that halves what a slot costs, and it takes as
    much memory as the call's adapters once more.
    """

    plain: nn.Linear | nn.Conv2d
    a: Tensor
    b: Tensor

    def __init__(self, plain: nn.Linear | nn.Conv2d, a_shape: Sequence[int], b_shape: Sequence[int]) -> None:
        super().__init__()
        self.plain = plain
        self.register_buffer("a", plain.weight.new_zeros(a_shape), persistent=False)
        self.register_buffer("b", plain.weight.new_zeros(b_shape), persistent=False)
        self.rows: tuple[Tensor, Tensor] | None = None
        self.filled: set[int] = set()

    @property
    def weight(self) -> Tensor:
        """Models look at a layer's weight to learn its dtype."""
        return self.plain.weight

    @property
    def bias(self) -> Tensor | None:
        return self.plain.bias

    def wear(self, index: Tensor | None) -> None:
        """The slot of each row of the next call, [N]; None: nobody wears anything here."""
        self.rows = None if index is None else (self.a[index], self.b[index])

    def fill(self, slot: int, pairs: Sequence[Pair]) -> None:
        """Put `pairs` side by side into the slot, zeros behind them. One copy of A and one of B for each pair."""
        self.filled.add(slot)  # first, so that whatever stops it half-way is cleared away
        at = 0
        for a, b in pairs:
            self._put(slot, slice(at, at + len(a)), a, b)
            at += len(a)
        self._clear(slot, slice(at, None))

    def empty(self, slot: int) -> None:
        if slot in self.filled:
            self._clear(slot, slice(None))
            self.filled.discard(slot)

    @abstractmethod
    def _put(self, slot: int, ranks: slice, a: Tensor, b: Tensor) -> None:
        """Put one pair into these ranks of the slot."""

    @abstractmethod
    def _clear(self, slot: int, ranks: slice) -> None:
        """Zeros into these ranks of the slot."""


class SlottedLinear(Slotted):
    """x [N, D] or [N, T, D]."""

    def __init__(self, plain: nn.Linear, slots: int, rank: int) -> None:
        super().__init__(plain, (slots, plain.in_features, rank), (slots, rank, plain.out_features))

    def forward(self, x: Tensor) -> Tensor:
        y = self.plain(x)
        if self.rows is None:
            return y
        a, b = self.rows
        low = torch.bmm(x.unsqueeze(1) if x.dim() == 2 else x, a)
        (y.unsqueeze(1) if y.dim() == 2 else y).baddbmm_(low, b)
        return y

    def _put(self, slot: int, ranks: slice, a: Tensor, b: Tensor) -> None:
        self.a[slot, :, ranks].copy_(a.T)
        self.b[slot, ranks].copy_(b.T)

    def _clear(self, slot: int, ranks: slice) -> None:
        self.a[slot, :, ranks].zero_()
        self.b[slot, ranks].zero_()


class SlottedConv(Slotted):
    """x [N, D, H, W]."""

    def __init__(self, plain: nn.Conv2d, slots: int, rank: int) -> None:
        kernel = (slots, rank, plain.in_channels, *plain.kernel_size)
        super().__init__(plain, kernel, (slots, plain.out_channels, rank))

    def forward(self, x: Tensor) -> Tensor:
        y = self.plain(x)
        if self.rows is None:
            return y
        (a, b), plain, count = self.rows, self.plain, len(x)
        side_by_side = x.reshape(1, -1, *x.shape[2:])
        low = F.conv2d(side_by_side, a.flatten(0, 1), None, plain.stride, plain.padding, plain.dilation, groups=count)
        flat = y.flatten(2)
        return flat.baddbmm_(b, low.view(count, -1, flat.shape[2])).view_as(y)

    def _put(self, slot: int, ranks: slice, a: Tensor, b: Tensor) -> None:
        self.a[slot, ranks].copy_(a)
        self.b[slot, :, ranks].copy_(b.flatten(1))

    def _clear(self, slot: int, ranks: slice) -> None:
        self.a[slot, ranks].zero_()
        self.b[slot, :, ranks].zero_()


def slotted(plain: nn.Linear | nn.Conv2d, slots: int, rank: int) -> Slotted:
    return SlottedLinear(plain, slots, rank) if isinstance(plain, nn.Linear) else SlottedConv(plain, slots, rank)


def can_be_slotted(module: nn.Module) -> bool:
    """Linear layers, and convolutions that see all channels: of these two kinds exactly, not of a quantised kin."""
    return type(module) is nn.Linear or (
        type(module) is nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros"
    )
