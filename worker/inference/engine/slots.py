"""The slots of one denoiser: which adapter lies in which, and who wears what in the next call.

A slot holds one wearing: an adapter times its weight, or several side by side, their ranks added. Stacks come into being
layer by layer, when the first adapter that has the layer is put on, so traffic of the base pays nothing and traffic of
linear adapters never pays for convolutions. Their shapes never change afterwards: putting an adapter into a slot is a copy
a layer, compiled code stays valid, and a rank above the slots' is refused.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from service.domain.errors import FieldError
from worker.inference.engine.requests import AdapterRefused, LoraFile
from worker.inference.engine.slotted import Slotted, can_be_slotted, slotted

Wearing = tuple[tuple[LoraFile, float], ...]
"""What one sample wears: adapters and their weights, in the request's order. () is the base."""
Key = tuple[tuple[str, float], ...]


def key(wearing: Wearing) -> Key:
    """Equal for equal bits: digests and weights, in their order."""
    return tuple((file.sha256, weight) for file, weight in wearing)


class Slots:
    """`count` slots of `rank` beside slot 0, over every layer of `denoiser` that can have one; convolutions if `conv`."""

    def __init__(self, denoiser: nn.Module, *, count: int, rank: int, conv: bool = True) -> None:
        self._denoiser, self.count, self.rank, self.conv = denoiser, count, rank, conv
        self._plain = {name: module for name, module in denoiser.named_modules() if can_be_slotted(module)}
        self._layers: dict[str, Slotted] = {}
        self._held: OrderedDict[Key, int] = OrderedDict()
        """Least recently worn first."""
        self._company: tuple[tuple[int, ...], int] | None = None
        self.loads = 0
        self.digests: frozenset[str] = frozenset()
        """Of the adapters that lie in a slot; set anew as a whole, so that any thread may read it."""

    def place(self, wearings: Sequence[Wearing]) -> list[int]:
        """The slot of each sample of one call, putting on what is in none; the least recently worn makes room.

        At most `count` different ones. Raises AdapterRefused; then nothing of the refused one stays, and nothing of one
        for which memory did not suffice.
        """
        wanted = {key(wearing): wearing for wearing in wearings if wearing}
        for name in wanted:
            if name in self._held:
                self._held.move_to_end(name)
        for name, wearing in wanted.items():
            if name not in self._held:
                self._put_on(name, wearing, wanted)
        return [self._held[key(wearing)] if wearing else 0 for wearing in wearings]

    def check(self, wearing: Wearing) -> None:
        """Raises AdapterRefused where `place` would."""
        self._side_by_side(wearing)

    def holds(self, wearing: Wearing) -> bool:
        return key(wearing) in self._held

    def wear(self, slots: Sequence[int] | None) -> None:
        """The slot of each row of the calls from now on. A layer where none of them has anything is plain; None: all are."""
        company = (tuple(slots or ()), self.loads)
        if company == self._company:
            return
        worn = {slot for slot in company[0] if slot}
        index = torch.tensor(company[0], device=next(iter(self._plain.values())).weight.device) if worn else None
        self._company = None  # where memory runs out on the way, some layers are dressed anew and others are not
        for layer in self._layers.values():
            layer.wear(None if layer.filled.isdisjoint(worn) else index)
        self._company = company

    def drop(self, sha256: str) -> None:
        """Clear every slot that has this adapter."""
        for name in [name for name in self._held if sha256 in (digest for digest, _ in name)]:
            self.wear(None)
            self._empty(self._held.pop(name))
        self._tell_digests()

    @contextmanager
    def removed(self) -> Iterator[None]:
        """The denoiser with its own layers and nothing of ours, inside the block."""
        self.wear(None)
        for name in self._layers:
            self._install(name, self._plain[name])
        try:
            yield
        finally:
            for name, layer in self._layers.items():
                self._install(name, layer)

    @property
    def bytes(self) -> int:
        """Device memory of all stacks."""
        return sum(layer.a.nbytes + layer.b.nbytes for layer in self._layers.values())

    def _put_on(self, name: Key, wearing: Wearing, wanted: dict[Key, Wearing]) -> None:
        layers = self._side_by_side(wearing)
        made = {  # all of them before anything is touched: here memory may run out
            layer_name: slotted(self._plain[layer_name], self.count + 1, self.rank)
            for layer_name in layers
            if layer_name not in self._layers
        }
        slot = self._free(wanted)
        for layer_name, layer in made.items():
            self._layers[layer_name] = layer
            self._install(layer_name, layer)
        try:
            for layer_name, layer in self._layers.items():
                if layer_name in layers:
                    layer.fill(slot, [(a, b if weight == 1 else b * weight) for a, b, weight in layers[layer_name]])
                else:
                    layer.empty(slot)
        except BaseException:
            for layer_name in made:
                self._install(layer_name, self._plain[layer_name])
                del self._layers[layer_name]
            self._empty(slot)
            raise
        self._held[name] = slot
        self.loads += 1
        self._tell_digests()

    def _tell_digests(self) -> None:
        self.digests = frozenset(sha256 for wearing in self._held for sha256, _ in wearing)

    def _free(self, wanted: dict[Key, Wearing]) -> int:
        unused = set(range(1, self.count + 1)) - set(self._held.values())
        if unused:
            return min(unused)
        oldest = next((name for name in self._held if name not in wanted), None)
        if oldest is None:
            raise ValueError(f"a call wears more than {self.count} different adapters")
        return self._held.pop(oldest)

    def _empty(self, slot: int) -> None:
        for layer in self._layers.values():
            layer.empty(slot)

    def _install(self, name: str, module: nn.Module) -> None:
        parent, _, leaf = name.rpartition(".")
        setattr(self._denoiser.get_submodule(parent), leaf, module)

    def _side_by_side(self, wearing: Wearing) -> dict[str, list[tuple[Tensor, Tensor, float]]]:
        """Layer → its A, B and weight of each adapter that has it; all checked before anything is touched."""
        layers: dict[str, list[tuple[Tensor, Tensor, float]]] = {}
        for file, weight in wearing:
            for name, (a, b) in file.layers.items():
                self._check(file, name, a, b)
                layers.setdefault(name, []).append((a, b, weight))
        if any(sum(len(a) for a, _, _ in pairs) > self.rank for pairs in layers.values()):
            raise refused(
                f"{' + '.join(file.reference for file, _ in wearing)} has rank "
                f"{sum(file.rank for file, _ in wearing)}, and a slot of this endpoint has {self.rank}",
                "use an adapter of a smaller rank or fewer at once, or let the operator raise STROP_SLOT_RANK",
            )
        return layers

    def _check(self, file: LoraFile, name: str, a: Tensor, b: Tensor) -> None:
        plain = self._plain.get(name)
        if plain is None:
            raise _of_another_base(file, f"its layer {name} is not one of this base model's")
        if isinstance(plain, nn.Conv2d) and not self.conv:
            raise refused(
                f"the adapter {file.reference} changes convolutions ({name}), and this endpoint serves linear layers only",
                "train with lora.targets attention and feed-forward, or let the operator set STROP_SLOT_CONV=1",
            )
        kernel = tuple(plain.weight.shape[1:])
        if tuple(a.shape[1:]) != kernel or len(b) != len(plain.weight) or b[0].numel() != len(a):
            raise _of_another_base(file, f"its layer {name} has A {list(a.shape)} and B {list(b.shape)}")


def _of_another_base(file: LoraFile, what: str) -> AdapterRefused:
    return refused(
        f"the adapter {file.reference} does not fit this base model: {what}",
        "name the base model that it was trained on",
    )


def refused(what: str, remedy: str) -> AdapterRefused:
    return AdapterRefused(errors=(FieldError("adapters", what, remedy),))
