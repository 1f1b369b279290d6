"""Whole attempts, with a child that only speaks: what becomes of the job."""

import hashlib
import random
from pathlib import Path
from time import monotonic

import psutil
import pytest

from service.domain.artifacts import Artifact, Kind
from service.domain.catalogue import Catalogue
from service.domain.errors import Damaged, FenceLost
from service.domain.ids import JobId
from service.domain.jobs import State
from service.domain.principals import LOCAL
from service.domain.recipes import CertificateRequest
from tests.eventually import eventually
from tests.worker.attempt.conftest import Aside, Workshop
from worker.tasks import OFFERS


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
        [("crash", "child_crashed"), ("killed", "child_killed"), ("garbled", "child_killed"), ("full", "disk_full")],
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

    def test_by_another_catalogue_says_so(self, workshop: Workshop) -> None:
        job = workshop.submit()
        workshop.catalogue = Catalogue()
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
        job = workshop.submit(steps=40, every=2, seconds=0.02)
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


class TestADamagedCheckpoint:
    """One byte that is not what it was, in the store or before it got there: the one before is gone on from."""

    def handed_back(self, workshop: Workshop) -> tuple[JobId, list[Artifact]]:
        """A job that waits with a few checkpoints, the newest first."""
        job = workshop.submit(steps=40, every=2, seconds=0.02)
        attempt = workshop.attempt()
        with Aside(target=attempt.run):
            workshop.trains(job, step=7)
            attempt.hand_back()
        newest_first = workshop.artifacts(job, Kind.CHECKPOINT)[::-1]
        assert len(newest_first) == 3
        return job, newest_first

    def told(self, workshop: Workshop, job: JobId) -> list[tuple[int, int]]:
        return [(event.data["step"], event.data["fence"]) for event in workshop.events(job, "job.checkpoint_damaged")]

    def test_in_the_store_is_told_of_and_passed_over(self, workshop_on_each_store: Workshop) -> None:
        workshop = workshop_on_each_store
        job, (newest, before, _) = self.handed_back(workshop)
        workshop.rewrite(newest, flipped)
        workshop.attempt().run()
        (told,) = workshop.events(job, "job.checkpoint_damaged")
        assert (told.step, told.data["step"], told.data["fence"]) == (newest.step, newest.step, 1)
        assert "digest" in told.data["reason"]
        (resumed,) = workshop.events(job, "job.resumed")
        assert resumed.data["step"] == before.step
        assert workshop.job(job).state is State.SUCCEEDED

    def test_that_is_gone_is_passed_over_too(self, workshop_on_each_store: Workshop) -> None:
        workshop = workshop_on_each_store
        job, (newest, before, _) = self.handed_back(workshop)
        workshop.store.delete(newest.key)
        workshop.attempt().run()
        assert self.told(workshop, job) == [(newest.step, 1)]
        assert workshop.events(job, "job.resumed")[0].data["step"] == before.step

    def written_wrong(self, workshop: Workshop, artifact: Artifact) -> None:
        """Stored as it was written, but written wrong."""
        wrong = workshop.rewrite(artifact, lambda data: b"wrong " + data)
        digest = hashlib.sha256(wrong).hexdigest()
        with workshop.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE artifacts SET sha256 = ? WHERE name = ?", (digest, artifact.name))

    def test_that_was_written_wrong_is_refused_by_the_child_and_passed_over(self, workshop: Workshop) -> None:
        job, (newest, before, _) = self.handed_back(workshop)
        self.written_wrong(workshop, newest)
        workshop.attempt().run()
        (told,) = workshop.events(job, "job.checkpoint_damaged")
        assert (told.step, told.data["reason"]) == (newest.step, "the checkpoint's digest does not fit its content")
        assert workshop.events(job, "job.resumed")[0].data["step"] == before.step
        assert len(workshop.job(job).attempts) == 2, "one attempt found it and went on"

    def test_that_is_refused_is_not_the_reason_why_the_next_child_dies(self, workshop: Workshop) -> None:
        job = workshop.submit("killed")
        workshop.attempt().run()
        (checkpoint,) = workshop.artifacts(job, Kind.CHECKPOINT)
        self.written_wrong(workshop, checkpoint)
        workshop.attempt().run()
        assert self.told(workshop, job) == [(0, 1)]
        assert [event.data["code"] for event in workshop.events(job, "job.requeued")] == ["child_killed"] * 2

    def test_of_which_there_are_only_such_means_from_the_start(self, workshop: Workshop) -> None:
        job, checkpoints = self.handed_back(workshop)
        for artifact in checkpoints:
            workshop.rewrite(artifact, flipped)
        workshop.attempt().run()
        assert self.told(workshop, job) == [(artifact.step, 1) for artifact in checkpoints]
        assert workshop.events(job, "job.resumed") == []
        again = [event.step for event in workshop.events(job, "job.step") if event.fence == 2]
        assert again == list(range(1, 41))
        assert workshop.job(job).state is State.SUCCEEDED

    def test_is_noticed_wherever_the_byte_is(self, workshop_on_each_store: Workshop) -> None:
        workshop = workshop_on_each_store
        job = workshop.submit()
        attempt = workshop.attempts.claim("tester", None, OFFERS)
        assert attempt is not None
        path, back = workshop.folder / "state", workshop.folder / "back"
        path.write_bytes(random.randbytes(3000))
        kept = workshop.attempts.keep(job, attempt.job.fence, 1, Kind.CHECKPOINT, "checkpoint-1", path)
        for _ in range(25):
            workshop.rewrite(kept, lambda _: flipped(path.read_bytes()))
            with pytest.raises(Damaged):
                workshop.attempts.read(kept, back)
            assert not back.exists()


def flipped(data: bytes) -> bytes:
    """One byte, anywhere, is another."""
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ random.randrange(1, 256)]) + data[place + 1 :]


class TestACertificate:
    """The worker's side: what is staged, and that nothing is delivered."""

    def asked(self, workshop: Workshop) -> tuple[JobId, JobId, list[Artifact]]:
        """(parent, certificate, the parent's checkpoints, oldest first); the certificate waits."""
        parent = workshop.submit(steps=6, every=2)
        workshop.attempt().run()
        certificate = workshop.jobs.certify(LOCAL, parent, CertificateRequest(from_step=2))[0].id
        return parent, certificate, workshop.artifacts(parent, Kind.CHECKPOINT)

    def test_holds_where_the_replay_meets_the_next_checkpoint(self, workshop_on_each_store: Workshop) -> None:
        workshop = workshop_on_each_store
        parent, certificate, _ = self.asked(workshop)
        workshop.attempt().run()
        done = workshop.job(certificate)
        assert (done.state, done.adapter, done.progress.training_nfe) == (State.SUCCEEDED, None, 20)
        assert workshop.artifacts(certificate) == []
        (certified,) = workshop.events(parent, "job.certified")
        assert (certified.data["from_step"], certified.data["to_step"], certified.data["holds"]) == (2, 4, True)

    def test_does_not_hold_where_the_stored_one_is_another(self, workshop: Workshop) -> None:
        parent = workshop.submit(steps=6, every=2)
        workshop.attempt().run()
        second = workshop.artifacts(parent, Kind.CHECKPOINT)[1]
        wrong = hashlib.sha256(workshop.rewrite(second, flipped)).hexdigest()
        with workshop.database.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE artifacts SET sha256 = ? WHERE name = ?", (wrong, second.name))
        workshop.jobs.certify(LOCAL, parent, CertificateRequest(from_step=2))
        workshop.attempt().run()
        (certified,) = workshop.events(parent, "job.certified")
        assert (certified.data["expected_sha256"], certified.data["holds"]) == (wrong, False)

    @pytest.mark.parametrize("place", [0, 1], ids=["to begin with", "to meet"])
    @pytest.mark.parametrize("damage", ["flipped", "gone"])
    def test_fails_with_the_reason_where_a_checkpoint_cannot_be_had(
        self, workshop: Workshop, place: int, damage: str
    ) -> None:
        """It does not fall back: to replay from another checkpoint, or from the start, is another claim."""
        _, certificate, checkpoints = self.asked(workshop)
        if damage == "flipped":
            workshop.rewrite(checkpoints[place], flipped)
        else:
            workshop.store.delete(checkpoints[place].key)
        workshop.attempt().run()
        failed = workshop.job(certificate)
        assert failed.state is State.FAILED
        assert failed.error is not None
        assert failed.error.code == "checkpoint_damaged"
        assert len(failed.attempts) == 1

    def test_that_is_paused_begins_again(self, workshop: Workshop) -> None:
        _, certificate, _ = self.asked(workshop)
        attempt = workshop.attempt()
        workshop.jobs.pause(LOCAL, certificate)
        attempt.run()
        assert workshop.job(certificate).state is State.PAUSED
        workshop.jobs.resume(LOCAL, certificate)
        workshop.attempt().run()
        assert workshop.job(certificate).state is State.SUCCEEDED


class TestThinning:
    def test_keeps_the_last_few_checkpoints_and_their_files(self, workshop: Workshop) -> None:
        job = workshop.submit(steps=12, every=2)
        workshop.attempt().run()
        kept = workshop.artifacts(job, Kind.CHECKPOINT)
        assert [artifact.step for artifact in kept] == [8, 10, 12]
        stored = {key for key in workshop.store.list(f"jobs/{job}/") if "checkpoint" in key}
        assert stored == {artifact.key for artifact in kept}
        assert [event.step for event in workshop.events(job, "job.checkpoint")] == [2, 4, 6, 8, 10, 12]

    def test_spares_the_best(self, workshop: Workshop) -> None:
        """The fake child says that its second checkpoint is the best."""
        job = workshop.submit(steps=12, every=2, best=4)
        workshop.attempt().run()
        assert [artifact.step for artifact in workshop.artifacts(job, Kind.CHECKPOINT)] == [4, 8, 10, 12]


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
        job = workshop.submit(steps=60, every=10_000, seconds=0.02)
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
