"""What an attempt does with stored checkpoints: a damaged one is passed over, old ones go, a certificate replays one."""

import hashlib
import random

import pytest

from service.domain.artifacts import Artifact, Kind
from service.domain.errors import Damaged
from service.domain.ids import JobId
from service.domain.jobs import State
from service.domain.principals import LOCAL
from service.domain.recipes import CertificateRequest
from tests.worker.attempt.conftest import Aside, Workshop
from worker.tasks import OFFERS


class TestADamagedCheckpoint:
    """One byte that is not what it was, in the store or before it got there: the one before is gone on from."""

    def handed_back(self, workshop: Workshop) -> tuple[JobId, list[Artifact]]:
        """A job that waits with a few checkpoints, the newest first."""
        job = workshop.submit(steps=40, every=2, waits=7)
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
