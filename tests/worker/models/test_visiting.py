"""Text encoders that are on the device only while they encode; "meta" is the device that every machine has beside its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from worker.models.base import text_encoders
from worker.models.load import load
from worker.models.visiting import visiting

FolderOf = Callable[[str], Path]
CPU, META = torch.device("cpu"), torch.device("meta")
KINDS = pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3", "sd3-without-t5", "flux-dev"])


def storages(module: nn.Module) -> dict[str, int]:
    """Where each tensor lies, those in two places under both names."""
    tensors = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
    return {name: value.data_ptr() for name, value in tensors}


def devices(module: nn.Module) -> set[str]:
    return {value.device.type for value in (*module.parameters(), *module.buffers())}


class TestVisiting:
    @KINDS
    def test_all_of_a_text_encoder_is_there_and_then_home_uncopied(self, kind: str, folder_of: FolderOf) -> None:
        family = load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=64)
        for encoder in text_encoders(family.pipeline).values():  # type: ignore[attr-defined]
            before, saved = storages(encoder), set(encoder.state_dict())
            with visiting([encoder], META):
                assert devices(encoder) == {"meta"}
                assert set(encoder.state_dict()) == saved
            assert devices(encoder) == {"cpu"}
            assert storages(encoder) == before

    def test_a_tensor_in_two_places_is_moved_once(self) -> None:
        first, second = nn.Embedding(4, 2), nn.Embedding(4, 2)
        second.weight = first.weight
        both = nn.Sequential(first, second)
        with visiting([both], META):
            assert first.weight is second.weight
        assert first.weight is second.weight

    def test_they_are_home_after_a_failure_too(self) -> None:
        layer = nn.Linear(2, 2)
        before = storages(layer)
        with pytest.raises(MemoryError), visiting([layer], META):
            raise MemoryError
        assert storages(layer) == before


class TestParked:
    @KINDS
    def test_the_text_encoders_alone_stay_home_and_read_on_the_device(self, kind: str, folder_of: FolderOf) -> None:
        """What is read there cannot be fetched from "meta", and so fails: they are home all the same."""
        family = load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="meta", resolution=64, parks_text=True)
        encoders = text_encoders(family.pipeline)  # type: ignore[attr-defined]
        parts = {name: part for name, part in family.pipeline.components.items() if isinstance(part, nn.Module)}  # type: ignore[attr-defined]
        assert {name for name, part in parts.items() if devices(part) == {"cpu"}} == set(encoders)
        assert {name for name, part in parts.items() if devices(part) == {"meta"}} == set(parts) - set(encoders)
        read: list[set[str]] = []
        for encoder in encoders.values():
            encoder.register_forward_pre_hook(lambda module, _: read.append(devices(module)))
        with pytest.raises(NotImplementedError, match="meta"):
            family.encode(["a red dot"])
        assert read == [{"meta"}] * len(encoders)
        assert all(devices(encoder) == {"cpu"} for encoder in encoders.values())

    @KINDS
    def test_where_the_device_is_their_home_nothing_changes(self, kind: str, folder_of: FolderOf) -> None:
        one, other = (
            load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=64, parks_text=parked)
            for parked in (False, True)
        )
        for name, rows in one.encode(["a red dot"]).positive.items():
            assert torch.equal(rows, other.encode(["a red dot"]).positive[name]), name
