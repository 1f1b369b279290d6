"""Whole attempts, with a child that only speaks: what becomes of the job."""

from pathlib import Path
from time import monotonic

import psutil
import pytest

from service.domain.artifacts import Kind
from service.domain.catalogue import Catalogue
from service.domain.errors import FenceLost
from service.domain.jobs import State
from service.domain.principals import LOCAL
from tests.eventually import eventually
from tests.worker.attempt.conftest import Aside, Workshop


class TestFinish:
    def test_makes_an_adapter_and_tells_every_step(self, workshop: Workshop) -> None:
        job = workshop.submit(steps=6, every=2)
        workshop.attempt().run()
        done = workshop.job(job)
        assert (done.state, done.adapter) == (State.SUCCEEDED, f"{job}@1")
        assert [event.step for event in workshop.events(job, "job.step")] == [1, 2, 3, 4, 5, 6]
        assert (done.progress.step, done.progress.training_nfe, done.progress.reward) == (6, 60, 0.5)
        assert done.progress.training_seconds == 1.5
        assert {artifact.name for artifact in workshop.artifacts(job)} >= {
            "checkpoint-2.safetensors",
            "pytorch_lora_weights.safetensors",
            "manifest.json",
        }

    def test_tells_of_a_checkpoint_only_once_it_exists(self, workshop: Workshop) -> None:
        job = workshop.submit()
        workshop.attempt().run()
        kept = {artifact.step: artifact for artifact in workshop.artifacts(job, Kind.CHECKPOINT)}
        for event in workshop.events(job, "job.checkpoint"):
            assert event.step is not None
            assert kept[event.step].created_at <= event.created_at

    def test_leaves_no_scratch_behind(self, workshop: Workshop) -> None:
        workshop.submit()
        workshop.attempt().run()
        assert list(workshop.folder.glob("scratch/worker-*/job_*")) == []

    def test_outlives_many_leases(self, workshop: Workshop) -> None:
        workshop.use_lease(2.0)
        job = workshop.submit(seconds=0.6, steps=5)
        began = monotonic()
        workshop.attempt().run()
        assert monotonic() - began > 2.0 * 1.2
        assert workshop.job(job).state is State.SUCCEEDED

    @pytest.mark.parametrize("play", ["parting", "escape"])
    def test_is_not_hindered_by_what_the_child_leaves_behind(self, workshop: Workshop, play: str) -> None:
        job = workshop.submit(play)
        workshop.attempt().run()
        assert workshop.job(job).state is State.SUCCEEDED

    def test_keeps_what_the_child_printed_within_bounds(self, workshop: Workshop) -> None:
        job = workshop.submit("chatty")
        workshop.attempt().run()
        logged = [line for event in workshop.events(job, "job.log") for line in event.data["lines"]]
        assert logged[:2] == ["line 0", "line 1"]
        assert logged[-1] == "line 999"
        assert len(logged) == 250


class TestFailure:
    def test_that_the_child_tells_ends_the_job_with_code_and_sentence(self, workshop: Workshop) -> None:
        job = workshop.submit("oom")
        workshop.attempt().run()
        failed = workshop.job(job)
        assert failed.state is State.FAILED
        assert failed.error is not None
        assert (failed.error.code, failed.error.message) == ("out_of_memory", "the GPU is full: lower candidates")

    def test_by_a_loss_that_is_no_number_names_the_step_and_keeps_the_last_good_checkpoint(
        self, workshop: Workshop
    ) -> None:
        job = workshop.submit("nan")
        workshop.attempt().run()
        failed = workshop.job(job)
        assert failed.state is State.FAILED, "the same steps again would end the same way"
        assert failed.error is not None
        assert (failed.error.code, failed.error.message[-6:]) == ("nan_loss", "step 3")
        assert [artifact.step for artifact in workshop.artifacts(job, Kind.CHECKPOINT)] == [2]
        assert workshop.artifacts(job, Kind.ADAPTER) == []

    @pytest.mark.parametrize(
        ("play", "code"),
        [("crash", "child_crashed"), ("killed", "child_killed"), ("garbled", "child_killed")],
    )
    def test_that_may_pass_is_tried_again_until_the_limit(self, workshop: Workshop, play: str, code: str) -> None:
        job = workshop.submit(play)
        for fence in (1, 2, 3):
            workshop.attempt().run()
            assert workshop.job(job).fence == fence
        failed = workshop.job(job)
        assert failed.state is State.FAILED
        assert failed.error is not None
        assert failed.error.code == code
        assert len(failed.attempts) == 3

    def test_by_a_crash_names_the_last_words_and_keeps_the_traceback(self, workshop: Workshop) -> None:
        job = workshop.submit("crash")
        workshop.attempt().run()
        (requeued,) = workshop.events(job, "job.requeued")
        assert "RuntimeError: out of ideas" in requeued.data["message"]
        assert any("Traceback" in line for event in workshop.events(job, "job.log") for line in event.data["lines"])

    def test_by_silence_is_stuck(self, workshop: Workshop) -> None:
        job = workshop.submit("silent")
        workshop.attempt(step_timeout=0.5).run()
        (attempt,) = workshop.job(job).attempts
        assert (workshop.job(job).state, attempt.cause) == (State.QUEUED, "stuck")

    def test_is_none_while_the_child_gives_signs_of_life_which_are_no_events(self, workshop: Workshop) -> None:
        job = workshop.submit("breathing", steps=1)
        workshop.attempt(step_timeout=0.7).run()
        done = workshop.job(job)
        assert (done.state, [attempt.cause for attempt in done.attempts]) == (State.SUCCEEDED, ["succeeded"])
        assert {event.type for event in workshop.events(job)} == {
            "job.queued", "job.started", "job.ready", "job.step", "job.finalizing", "job.succeeded",
        }  # fmt: skip

    def test_by_another_catalogue_than_that_of_an_older_releases_job_says_so(self, workshop: Workshop) -> None:
        """Newer ones say which models they need, and are not claimed."""
        job = workshop.submit()
        workshop.catalogue = Catalogue()
        for _ in range(3):
            workshop.attempt().run()
        failed = workshop.job(job)
        assert failed.state is State.FAILED
        assert failed.error is not None
        assert failed.error.code == "catalogue_changed"

    def test_keeps_the_events_and_the_last_checkpoint(self, workshop: Workshop) -> None:
        job = workshop.submit("killed")
        for _ in range(3):
            workshop.attempt().run()
        assert [(kept.step, kept.fence) for kept in workshop.artifacts(job, Kind.CHECKPOINT)] == [(0, 3)]
        assert workshop.events(job, "job.checkpoint")


class TestResume:
    def test_goes_on_from_the_newest_checkpoint_of_any_fence(self, workshop: Workshop) -> None:
        job = workshop.submit(steps=40, every=2, waits=5)
        attempt = workshop.attempt()
        with Aside(target=attempt.run):
            workshop.trains(job, step=5)
            attempt.hand_back()
        handed_back = workshop.job(job)
        assert (handed_back.state, handed_back.attempts[0].cause) == (State.QUEUED, "handed_back")
        workshop.attempt().run()
        (resumed,) = workshop.events(job, "job.resumed")
        assert resumed.data["step"] >= 5
        steps = [event.step for event in workshop.events(job, "job.step")]
        assert steps == list(range(1, 41)), "after a hand-back no step is run twice"


STUBBORN = ("silent", "deaf", "numb", "flood", "shout")
"""Children that do not stop when they are asked, and what the kernel lets them of SIGTERM."""


class TestCancel:
    @pytest.mark.parametrize("play", ["finish", *STUBBORN])
    def test_ends_the_job_and_the_child_within_the_grace(self, workshop: Workshop, play: str) -> None:
        job = workshop.submit(play, steps=10_000, every=10_000)
        with Aside(target=workshop.attempt().run):
            eventually(lambda: workshop.events(job, "job.ready"))
            child = workshop.child()
            workshop.jobs.cancel(LOCAL, job)
            began = monotonic()
            workshop.reaches(job, State.CANCELLED)
            assert monotonic() - began < 5
            assert not psutil.pid_exists(child.pid), "it was gone, and waited for, before the job's end was told"
        assert workshop.job(job).attempts[0].cause == "cancelled"

    def test_of_a_job_that_crashes_meanwhile_is_still_a_cancel(self, workshop: Workshop) -> None:
        job = workshop.submit("crash")
        attempt = workshop.attempt()
        workshop.jobs.cancel(LOCAL, job)
        attempt.run()
        assert workshop.job(job).state is State.CANCELLED


class TestPause:
    def test_leaves_a_checkpoint_of_its_last_step_from_which_the_job_goes_on(self, workshop: Workshop) -> None:
        job = workshop.submit(steps=60, every=10_000, waits=3)
        with Aside(target=workshop.attempt().run):
            workshop.trains(job, step=3)
            workshop.jobs.pause(LOCAL, job)
            paused = workshop.reaches(job, State.PAUSED)
        (checkpoint,) = workshop.artifacts(job, Kind.CHECKPOINT)
        assert checkpoint.step == paused.progress.step
        workshop.jobs.resume(LOCAL, job)
        workshop.attempt().run()
        assert workshop.job(job).state is State.SUCCEEDED
        assert [event.step for event in workshop.events(job, "job.step")] == list(range(1, 61))

    @pytest.mark.parametrize("play", STUBBORN)
    def test_of_a_child_that_will_not_stop_is_a_pause_too(self, workshop: Workshop, play: str) -> None:
        job = workshop.submit(play)
        with Aside(target=workshop.attempt().run):
            eventually(lambda: workshop.events(job, "job.ready"))
            workshop.jobs.pause(LOCAL, job)
            workshop.reaches(job, State.PAUSED)
        assert workshop.job(job).attempts[0].cause == "paused"


class TestHandBack:
    def test_rings_so_that_another_worker_takes_the_job_at_once(self, workshop: Workshop) -> None:
        workshop.submit(steps=10_000)
        attempt = workshop.attempt()
        with Aside(target=attempt.run):
            assert workshop.child()
            attempt.hand_back()
        assert workshop.bell.rings == 1

    @pytest.mark.parametrize("play", STUBBORN)
    def test_of_a_child_that_will_not_stop_hands_its_job_on_too(self, workshop: Workshop, play: str) -> None:
        job = workshop.submit(play)
        attempt = workshop.attempt(hand_back=0.3)
        with Aside(target=attempt.run):
            eventually(lambda: workshop.events(job, "job.ready"))
            attempt.hand_back()
        assert (workshop.job(job).state, workshop.job(job).attempts[0].cause) == (State.QUEUED, "handed_back")


class TestFence:
    def test_lost_to_another_ends_the_child_and_writes_nothing(self, workshop: Workshop) -> None:
        job = workshop.submit(steps=10_000, seconds=0.02)
        attempt = workshop.attempt()
        with Aside(target=attempt.run):
            workshop.trains(job)
            with workshop.database.engine.begin() as connection:
                connection.exec_driver_sql("UPDATE jobs SET fence = fence + 1")
        assert workshop.job(job).state is State.RUNNING, "the new owner's job is left alone"
        with pytest.raises(FenceLost):
            workshop.attempts.control(job, workshop.job(job).attempts[0].fence)
        assert list(workshop.folder.glob("scratch/worker-*/job_*")) == []


class TestWriting:
    def test_waits_for_a_store_that_is_away_for_a_moment(self, workshop: Workshop, tmp_path: Path) -> None:
        job = workshop.submit(steps=2)
        (tmp_path / "store").write_text("a file in the store's place: nothing can be stored")
        attempt = workshop.attempt()
        with Aside(target=attempt.run):
            eventually(lambda: workshop.events(job, "job.step"))
            (tmp_path / "store").unlink()
        assert workshop.job(job).state is State.SUCCEEDED
