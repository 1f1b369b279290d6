"""A checkpoint comes back as it was, or not at all."""

import hashlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import JobFailure
from worker.models.counter import Counts
from worker.sharpening.beta import Beta
from worker.sharpening.update import Memory
from worker.training import checkpoint
from worker.training.checkpoint import Best, Progress, Snapshot, account_of, pack, unpack

REMEMBERED = {"pool/3": torch.randn(2, 2), "old/0": torch.randn(3)}
PROGRESS = Progress(
    7, Counts(100, 8, 9, 10), 1.1625, Memory(Beta(1 / 3, False, (0.1, 1e-9)), REMEMBERED), Best(5, 0.25, 1)
)
TENSORS = {"adapter/a": torch.randn(3, 4), "adam/step/a": torch.tensor(7.0), "average/a": torch.randn(2)}
DATA = pack(PROGRESS, TENSORS)


def same(progress: Progress) -> bool:
    """Tensors have no ==."""
    remembered = progress.memory.tensors
    bare = replace(progress, memory=replace(progress.memory, tensors={}))
    expected = replace(PROGRESS, memory=replace(PROGRESS.memory, tensors={}))
    return bare == expected and all(torch.equal(remembered[name], value) for name, value in REMEMBERED.items())


class TestUnpack:
    def test_gives_back_every_bit(self) -> None:
        progress, tensors = unpack(DATA)
        assert same(progress)
        assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool])
    def test_a_memory_of_any_type_comes_back(self, dtype: torch.dtype) -> None:
        """bf16, which numpy has not, among them; whole tensors, single numbers and empty ones."""
        kept = {str(shape): torch.ones(shape, dtype=dtype) for shape in ((2, 3), (), (0, 4))}
        memory = unpack(pack(replace(PROGRESS, memory=Memory(Beta(), kept)), TENSORS))[0].memory.tensors
        assert all(memory[name].dtype == dtype and torch.equal(memory[name], value) for name, value in kept.items())

    def test_a_digest_is_of_the_bytes_that_numpy_gives(self) -> None:
        """What every stored checkpoint's digest was made of."""
        expected = hashlib.sha256(b"header")
        for name, value in sorted(TENSORS.items()):
            expected.update(f"{name}/torch.float32/{tuple(value.shape)}".encode())
            expected.update(value.numpy().tobytes())
        assert checkpoint.digest("header", TENSORS) == expected.hexdigest()

    def test_pack_is_a_function(self) -> None:
        assert pack(PROGRESS, dict(reversed(TENSORS.items()))) == DATA

    @settings(max_examples=200)
    @given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
    def test_a_changed_byte_is_noticed_or_harmless(self, place: int, change: int) -> None:
        damaged = bytearray(DATA)
        damaged[place] ^= change
        try:
            progress, tensors = unpack(bytes(damaged))
        except JobFailure as failure:
            assert failure.code in ("checkpoint_damaged", "checkpoint_version")
        else:
            assert same(progress)
            assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())

    @given(st.integers(0, len(DATA) - 1))
    def test_a_torn_file_is_noticed(self, length: int) -> None:
        with pytest.raises(JobFailure) as failure:
            unpack(DATA[:length])
        assert failure.value.code == "checkpoint_damaged"

    def test_the_version_before_is_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checkpoint, "VERSION", 2)
        older = pack(PROGRESS, TENSORS)
        monkeypatch.undo()
        assert older != DATA
        assert same(unpack(older)[0])

    @pytest.mark.parametrize("version", [1, checkpoint.VERSION + 1])
    def test_another_version_says_what_to_do(self, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(checkpoint, "VERSION", version)
        other = pack(PROGRESS, TENSORS)
        monkeypatch.undo()
        with pytest.raises(JobFailure, match=r"reads 2 and 3; resume it with the release that wrote it"):
            unpack(other)


class TestSnapshot:
    def test_is_a_copy_that_later_updates_leave_alone(self) -> None:
        tensors = {name: value.clone() for name, value in TENSORS.items()}
        remembered = {name: value.clone() for name, value in REMEMBERED.items()}
        taken = Snapshot.of(replace(PROGRESS, memory=replace(PROGRESS.memory, tensors=remembered)), tensors)
        for value in (*tensors.values(), *remembered.values()):
            value.add_(1)
        assert taken.pack() == DATA

    def test_an_account_is_kept_beside_the_state_and_is_no_part_of_its_digest(self) -> None:
        told, untold = Snapshot.of(PROGRESS, TENSORS), Snapshot.of(PROGRESS, TENSORS)
        with_account = told.pack({"seconds": 1.5})
        assert (account_of(with_account), account_of(untold.pack())) == ({"seconds": 1.5}, {})
        assert with_account != untold.pack()
        assert told.sha256 == untold.sha256
        assert unpack(with_account)[0].counts == PROGRESS.counts

    @pytest.mark.parametrize("name", [*TENSORS, "memory/old/0"])
    def test_one_bit_of_the_state_is_another_digest(self, name: str) -> None:
        taken = Snapshot.of(PROGRESS, TENSORS)
        flipped = {key: value.clone() for key, value in taken.tensors.items()}
        flipped[name].view(torch.int32).view(-1)[0] ^= 1
        assert Snapshot(PROGRESS, flipped).sha256 != taken.sha256
