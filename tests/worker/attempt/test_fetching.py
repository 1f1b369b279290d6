"""A model of the hub that cannot be fetched now: whose fault that is, and what a worker does about it."""

import errno
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from service.adapters import hub as door
from service.adapters import weights
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.jobs import State
from service.domain.offers import model_word
from service.operations.moves import PUT_OFF
from tests.worker.attempt import test_staging
from tests.worker.attempt.conftest import Workshop
from tests.worker.attempt.test_staging import REVISION, Hub, hub, recipe
from worker.attempt.staging import ModelUnavailable, NotStaged, stage_models
from worker.attempt.stock import Stock

__all__ = ["hub"]
FAR = BaseModelEntry(name="far", source="hub:owner/name", family="sd", revision=REVISION)
download = test_staging.TestHub().download


class TestTheReason:
    @pytest.mark.parametrize(("status", "code"), [(401, "RepoNotFound"), (403, "GatedRepo"), (400, "")])
    def test_that_may_pass_or_is_this_worker_s_is_none_of_the_entry_s(
        self, status: int, code: str, hub: Hub, tmp_path: Path
    ) -> None:
        hub.refuses = status, code
        with pytest.raises(ModelUnavailable, match="HF_TOKEN") as failure:
            stage_models(recipe("hub:owner/name", revision=REVISION), tmp_path, download)
        assert failure.value.code in PUT_OFF
        hub.refuses = None
        stage_models(recipe("hub:owner/name", revision=REVISION), tmp_path, download)

    @pytest.mark.parametrize("code", ["RepoNotFound", "RevisionNotFound"])
    def test_that_there_is_none_such_is_the_entry_s(self, code: str, hub: Hub, tmp_path: Path) -> None:
        hub.refuses = 404, code
        with pytest.raises(NotStaged, match="no such repository or revision; check the name") as failure:
            stage_models(recipe("hub:owner/name", revision=REVISION), tmp_path, download)
        assert (failure.value.code, failure.value.retry) == ("base_unavailable", True)

    def test_is_told_by_the_exit_code(self, tmp_path: Path) -> None:
        def ended(code: int) -> NotStaged:
            def command(*_: Sequence[str] | Mapping[str, str]) -> tuple[int, str]:
                return code, "said so"

            with pytest.raises(NotStaged, match="said so") as failure:
                stage_models(recipe("hub:owner/name", revision=REVISION), tmp_path, command)
            return failure.value

        assert ended(door.LACKING).code == "base_unavailable"
        assert {ended(code).code for code in (1, -9)} == {"model_unavailable"}

    def test_of_a_folder_whose_weights_cannot_be_read_is_this_worker_s(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stale(*_: object) -> None:
            raise OSError(errno.ESTALE, "Stale file handle", str(tmp_path / "model.safetensors"))

        monkeypatch.setattr(weights, "check", stale)
        with pytest.raises(ModelUnavailable, match="cannot be read on this worker \\(Stale file handle\\)"):
            stage_models(recipe(str(tmp_path)), tmp_path, download)


class TestAStock:
    def test_leaves_out_what_was_missed_for_longer_each_time_and_an_hour_at_most(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        now = [0.0]
        stock, word = Stock(Catalogue(bases={"far": FAR}), lambda: now[0]), {model_word(FAR)}
        for seconds in (60, 120, 240, 480, 960, 1920, 3600, 3600):
            assert stock.offered() == word
            with caplog.at_level(logging.WARNING):
                stock.note_missed(FAR, "the hub is away")
                assert [stock.offered(), stock.offered()] == [frozenset()] * 2
            assert [message.count("the hub is away") for message in caplog.messages] == [1], "said once"
            caplog.clear()
            now[0] += seconds - 1
            assert stock.offered() == frozenset()
            now[0] += 1
        stock.note_had(recipe("hub:owner/name", revision=REVISION).model_copy(update={"base": FAR}))
        stock.note_missed(FAR, "the hub is away")
        now[0] += 60
        assert stock.offered() == word, "it was had in between"

    def test_is_not_stopped_by_one_folder_that_nobody_may_look_into(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even root is refused a folder by its rights: so the look itself is."""
        stale, good = (
            BaseModelEntry(name=name, source=str(tmp_path / name), family="sd") for name in ("stale", "good")
        )
        for entry in (stale, good):
            Path(entry.source).mkdir()
        looks = Path.stat

        def stat(path: Path, **how: bool) -> object:
            if path.is_relative_to(stale.source):
                raise OSError(errno.ESTALE, "Stale file handle", str(path))
            return looks(path, **how)

        monkeypatch.setattr(Path, "stat", stat)
        stock = Stock(Catalogue(bases={"stale": stale, "good": good}))
        assert stock.offered() == {model_word(good)}


class TestAWorkerThatCannotFetch:
    def test_leaves_the_jobs_of_that_model_to_others_uncounted_and_takes_the_rest(
        self, workshop: Workshop, hub: Hub
    ) -> None:
        far, near = FAR.model_copy(update={"name": "b"}), workshop.catalogue.bases["b"]
        jobs = []
        for entry in (far, far, near):
            workshop.use_catalogue(Catalogue(bases={"b": entry}))
            jobs.append(workshop.submit())
        workshop.use_catalogue(Catalogue(bases={"b": far, "near": near}))
        hub.refuses = 401, "RepoNotFound"
        worker = workshop.worker()
        worker.wake()
        worker.join()
        first, second, third = map(workshop.job, jobs)
        assert (first.state, first.failures) == (State.QUEUED, 0)
        assert [attempt.cause for attempt in first.attempts] == ["model_unavailable"]
        assert (second.state, second.fence) == (State.QUEUED, 0)
        assert third.state is State.SUCCEEDED
