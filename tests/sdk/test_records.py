"""Records are read by the wire's names, and outlive a service that says more than they know."""

import dataclasses
from datetime import UTC, datetime

import pytest
import strop
from strop.reading import as_json, read
from strop.v1 import jobs_pb2, models_pb2
from strop.v1.choices_pb2 import Choice

SAID = {
    "id": "job_1",
    "object": "job",
    "kind": "sharpening",
    "parent_id": None,
    "state": "running",
    "created_at": "2026-01-02T03:04:05.678Z",
    "recipe": {"base_model": "shapes"},
    "adapter": None,
    "error": None,
    "stop_reason": None,
    "wait_reason": None,
    "certificate": None,
    "certificates": [
        {"job": "job_2", "from_step": 1, "to_step": 2, "expected_sha256": "a", "found_sha256": "a", "holds": True}
    ],
    "progress": {
        "step": 3, "steps": 9, "reward": 0.5, "training_nfe": 24, "training_fe": 28.5, "training_seconds": 7.5,
        "seconds_left": None,
    },
    "attempts": [{"fence": 1, "worker": "w", "device": "cpu", "started_at": "2026-01-02T03:04:06Z", "ended_at": None}],
    "metadata": {"who": "me"},
}  # fmt: skip


def test_a_job_is_read_whole() -> None:
    job = read(strop.Job, SAID)
    assert (job.id, job.state, job.progress.training_fe) == ("job_1", strop.State.RUNNING, 28.5)
    assert job.created_at == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert job.attempts[0].started_at == datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
    assert isinstance(job.attempts, tuple)


def test_and_written_as_the_rest_face_does() -> None:
    written = as_json(read(strop.Job, SAID))
    assert written["created_at"] == SAID["created_at"]
    assert {**written, "attempts": []} == {**{k: v for k, v in SAID.items() if k != "object"}, "attempts": []}


def test_fields_and_states_of_the_future_do_no_harm() -> None:
    job = read(strop.Job, {**SAID, "state": "dreaming", "colour": "red", "progress": {"step": 1, "mood": 2}})
    assert (job.state, job.progress.step, job.state.ended) == (strop.State.UNKNOWN, 1, False)


def test_what_is_not_there_takes_the_default() -> None:
    assert read(strop.Job, {"id": "job_1", "state": "queued", "attempts": None}) == strop.Job(
        "job_1", strop.State.QUEUED
    )


@pytest.mark.parametrize("said", [{}, {"id": "x"}, [], {"id": "x", "state": "queued", "created_at": "yesterday"}])
def test_what_is_no_job_is_refused_in_a_sentence(said: object) -> None:
    with pytest.raises(strop.StropError, match="is not a job of Strop"):
        read(strop.Job, said)


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        read(strop.Job, SAID).id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (strop.Job, jobs_pb2.Job), (strop.JobError, jobs_pb2.JobError), (strop.Progress, jobs_pb2.Progress),
        (strop.Attempt, jobs_pb2.Attempt), (strop.Event, jobs_pb2.Event), (strop.Model, models_pb2.Model),
        (strop.Choice, Choice),
    ],
)  # fmt: skip
def test_records_have_the_fields_of_the_proto(record: type, message: type) -> None:
    assert {each.name for each in dataclasses.fields(record)} == set(message.DESCRIPTOR.fields_by_name)  # type: ignore[attr-defined]


def test_states_are_those_of_the_proto() -> None:
    named = {each.name.removeprefix("JOB_STATE_").lower() for each in jobs_pb2.JobState.DESCRIPTOR.values}
    assert {str(each) for each in strop.State} - {"unknown"} == named - {"unspecified"}
