"""Replays in this process, on the tiny base: what a certificate claims."""

import hashlib
from typing import Any

import pytest
import torch
import torch.utils.checkpoint

from service.domain.errors import JobFailure
from service.domain.recipes import Replay
from tests.worker.child.conftest import Told, Train
from worker import pipe
from worker.child.teller import Teller
from worker.training.checkpoint import Snapshot, account_of, unpack


def replay(train: Train, start: bytes, goal: bytes, **change: Any) -> Told:
    """The certificate of a job whose checkpoints are `start` and `goal`."""
    wanted = Replay(
        checkpoint_step=unpack(start)[0].step,
        checkpoint_fence=1,
        to_step=unpack(goal)[0].step,
        expected_sha256=hashlib.sha256(goal).hexdigest(),
    )
    return train(checkpoint=start, goal=goal, replay=wanted, parent_id="job_" + "0" * 26, **change)


LOWEST, HALF = 1, 1 << 22
"""Bits of a float32: the last of its fraction, and the first, which is worth half of the number's power of two."""


def planted(data: bytes, bit: int) -> bytes:
    """The same checkpoint but for one bit of the adapter's largest number: whole in itself, and wrong."""
    progress, tensors = unpack(data)
    adapter = [tensor.view(-1) for name, tensor in tensors.items() if name.startswith("adapter/")]
    numbers = max(adapter, key=lambda tensor: float(tensor.abs().max()))
    numbers.view(torch.int32)[numbers.abs().argmax()] ^= bit
    return Snapshot.of(progress, tensors).pack(account_of(data))


def made_on(device: str, data: bytes) -> bytes:
    """The same state, with an account of another device."""
    account = account_of(data)
    progress, tensors = unpack(data)
    return Snapshot.of(progress, tensors).pack(account | {"hardware": account["hardware"] | {"device": device}})


class TestAReplay:
    def test_from_one_checkpoint_meets_the_digest_of_the_next_and_leaves_no_file(self, train: Train) -> None:
        job = train()
        told = replay(train, job.data(2), job.data(4))
        assert told.end.found_sha256 == job.files("checkpoint")[4].sha256
        assert [said for said in told.said if isinstance(said, pipe.FileMade)] == []
        assert told.steps() == [3, 4]
        assert told.end.training_nfe == job.nfe(4) - job.nfe(2), "its own cost: steps 3 and 4"

    @pytest.mark.parametrize(
        "change",
        [
            {"checkpoint_every": 1},
            {"samples": {"every": 1, "num_inference_steps": 2}},
            {"max_seconds": 1e-3},
            {"max_nfe": 1},
            {"validation": {"every": 3, "num_inference_steps": 2}},
        ],
        ids=["checkpoint_every", "samples", "max_seconds", "max_nfe", "validation"],
    )
    def test_is_not_disturbed_by_what_else_its_recipe_says(self, train: Train, change: dict[str, Any]) -> None:
        whole = {name: value for name, value in change.items() if name == "validation"}
        job = train(**whole)
        assert replay(train, job.data(2), job.data(4), **change).end.found_sha256 == job.files("checkpoint")[4].sha256

    @pytest.mark.parametrize(
        "ends", [{}, {"max_nfe": 40}, {"max_seconds": 3.0}], ids=["completed", "max_nfe", "max_seconds"]
    )
    def test_meets_the_last_checkpoint_however_the_job_ended(
        self, train: Train, monkeypatch: pytest.MonkeyPatch, ends: dict[str, Any]
    ) -> None:
        """A last step is validated whatever its number; a replay must know that it is the last."""
        monkeypatch.setattr(Teller, "seconds", property(lambda teller: float(teller._step)))  # a second a step
        validated = {"validation": {"every": 100, "num_inference_steps": 2}}
        job = train(**validated, **ends, checkpoint_every=1, steps=5)
        last = max(job.files("checkpoint"))
        assert (job.end.reason == "completed") == (last == 5) == (ends == {})
        told = replay(train, job.data(last - 1), job.data(last), **validated, steps=5)
        assert told.end.found_sha256 == job.files("checkpoint")[last].sha256

    @pytest.mark.parametrize("where", ["start", "goal"])
    def test_notices_one_planted_bit_on_either_side(self, train: Train, where: str) -> None:
        job = train()
        start, goal = job.data(2), job.data(4)
        if where == "start":
            start = planted(
                start, HALF
            )  # two updates may round the lowest bit away, and then rightly nothing is noticed
        else:
            goal = planted(goal, LOWEST)
        assert replay(train, start, goal).end.found_sha256 != hashlib.sha256(goal).hexdigest()

    def test_compares_states_not_clocks(self, train: Train) -> None:
        """The job took its time on another machine, as its account says: the bits are what is claimed."""
        job = train()
        progress, tensors = unpack(job.data(4))
        account = account_of(job.data(4)) | {"seconds": 1e6, "hardware": None}
        goal = Snapshot.of(progress, tensors).pack(account)
        assert replay(train, job.data(2), goal).end.found_sha256 == hashlib.sha256(goal).hexdigest()

    def test_runs_on_the_cpu_whatever_the_worker_trains_on(self, train: Train) -> None:
        job = train()
        told = replay(train, job.data(2), job.data(4), device="cuda")
        assert told.end.found_sha256 == job.files("checkpoint")[4].sha256
        assert pipe.Ready("cpu", 2) in told.said

    @pytest.mark.parametrize("which", ["start", "goal"])
    def test_of_what_a_gpu_made_is_refused_with_the_reason(self, train: Train, which: str) -> None:
        job = train()
        start, goal = (made_on("cuda: NVIDIA H100", job.data(step)) if name == which else job.data(step)
                       for name, step in (("start", 2), ("goal", 4)))  # fmt: skip
        with pytest.raises(JobFailure, match=r"made on cuda: NVIDIA H100.* the same kind of CPU only") as failure:
            replay(train, start, goal)
        assert failure.value.code == "not_trained_on_cpu"

    def test_on_another_cpu_says_that_this_may_be_why(self, train: Train) -> None:
        job = train()
        same, other = (
            [said.data["lines"] for said in told.said if isinstance(said, pipe.Report) and said.type == "job.log"]
            for told in (
                replay(train, job.data(2), goal) for goal in (job.data(4), made_on("cpu: another", job.data(4)))
            )
        )
        assert same == []
        assert "than the job's (cpu: another" in other[0][0]

    def test_whose_goal_lies_beyond_the_end_says_so(self, train: Train) -> None:
        job = train()
        with pytest.raises(JobFailure) as failure:
            replay(train, job.data(2), job.data(6), steps=4)
        assert failure.value.code == "replay_too_short"

    def test_without_its_checkpoint_is_refused(self, train: Train) -> None:
        wanted = Replay(checkpoint_step=2, checkpoint_fence=1, to_step=4, expected_sha256="0" * 64)
        with pytest.raises(JobFailure) as failure:
            train(replay=wanted)
        assert failure.value.code == "no_replay"
