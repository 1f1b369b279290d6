"""What a worker offers of its catalogue, and what becomes of jobs whose models it does not have: nothing."""

import logging
from pathlib import Path
from typing import Any

import pytest

from service.adapters import weights
from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.jobs import State
from service.domain.offers import decoder_word, model_word
from tests.eventually import eventually
from tests.worker.attempt.conftest import Workshop
from tests.worker.attempt.test_staging import recipe
from worker.attempt.staging import NotStaged
from worker.attempt.stock import Stock


class TestOffered:
    def base(self, source: Path | str, **said: Any) -> Catalogue:
        return Catalogue(bases={"b": BaseModelEntry(name="b", source=str(source), family="sd", **said)})

    def test_are_folders_while_they_exist_and_the_log_says_which_do_not_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        stock = Stock(catalogue := self.base(tmp_path / "b"))
        with caplog.at_level(logging.WARNING):
            assert [stock.offered() for _ in range(3)] == [frozenset()] * 3
        (told,) = caplog.messages
        assert f"no folder {tmp_path}/b" in told
        (tmp_path / "b").mkdir()
        assert stock.offered() == {model_word(catalogue.bases["b"])}

    @pytest.mark.parametrize("source", ["hub:owner/name", "s3://bucket/b"])
    def test_are_those_that_are_fetched_and_those_that_no_worker_has(self, source: str) -> None:
        """What is wrong with an entry everywhere ends its job with a sentence, as it should."""
        catalogue = self.base(source)
        assert Stock(catalogue).offered() == {model_word(catalogue.bases["b"])}

    def test_is_the_preview_decoder_by_itself(self, tmp_path: Path) -> None:
        entry = self.base(tmp_path, preview_decoder=str(tmp_path / "taesd")).bases["b"]
        stock = Stock(Catalogue(bases={"b": entry}))
        assert stock.offered() == {model_word(entry)}
        (tmp_path / "taesd").mkdir()
        assert stock.offered() == {model_word(entry), decoder_word(entry)}

    def test_is_not_a_folder_with_other_weights_until_they_are_replaced(self, tmp_path: Path) -> None:
        file = tmp_path / "model.safetensors"
        file.write_bytes(b"right")
        catalogue = self.base(tmp_path, revision=weights.digest(tmp_path))
        stock, words = Stock(catalogue), {model_word(catalogue.bases["b"])}
        file.write_bytes(b"wrong!")
        stock.note_other_weights(catalogue.bases["b"])
        assert stock.offered() == frozenset()
        file.write_bytes(b"right")
        assert stock.offered() == words


class TestCheck:
    def catalogue(self, **change: Any) -> Catalogue:
        posted = recipe("/b", "/r")
        assert posted.reward_model is not None
        return Catalogue(bases={"b": posted.base.model_copy(update=change)}, rewards={"r": posted.reward_model})

    @pytest.mark.parametrize("change", [{}, {"licence": "none"}, {"description": "x"}, {"guidance_scale": 2.0}])
    def test_passes_what_means_the_same_bits(self, change: dict[str, Any]) -> None:
        Stock(self.catalogue(**change)).check(recipe("/b", "/r"))

    @pytest.mark.parametrize("change", [{"source": "/other"}, {"revision": "2"}, {"family": "sdxl"}])
    def test_refuses_another_model_of_the_name_which_another_worker_may_have(self, change: dict[str, str]) -> None:
        with pytest.raises(NotStaged, match="another entry") as failure:
            Stock(self.catalogue(**change)).check(recipe("/b", "/r"))
        assert (failure.value.code, failure.value.retry) == ("catalogue_changed", True)

    def test_refuses_what_is_not_there(self) -> None:
        with pytest.raises(NotStaged, match="'r', but this worker has no such entry"):
            Stock(Catalogue(bases={"b": recipe("/b").base}, rewards={"q": self.reward("q")})).check(recipe("/b", "/r"))

    def reward(self, name: str) -> RewardModelEntry:
        return RewardModelEntry(name=name, source="/r", type="clip")


class TestAWorkerThatLacksABase:
    def test_leaves_the_whole_queue_to_others_and_takes_it_up_when_the_folder_comes(self, workshop: Workshop) -> None:
        folder = workshop.folder / "base"
        folder.rename(away := workshop.folder / "away")
        jobs = [workshop.submit() for _ in range(3)]
        worker = workshop.worker()
        worker.wake()
        assert [(workshop.job(job).state, workshop.job(job).fence) for job in jobs] == [(State.QUEUED, 0)] * 3
        away.rename(folder)
        worker.wake()
        worker.join()
        assert {workshop.job(job).state for job in jobs} == {State.SUCCEEDED}

    def test_with_other_weights_hands_one_job_on_and_takes_no_more(self, workshop: Workshop) -> None:
        file = workshop.folder / "base" / "model.safetensors"
        file.write_bytes(b"right")
        pinned = workshop.catalogue.bases["b"].model_copy(update={"revision": weights.digest(file.parent)})
        workshop.use_catalogue(Catalogue(bases={"b": pinned}))
        file.write_bytes(b"wrong!")
        jobs = [workshop.submit() for _ in range(2)]
        worker = workshop.worker()
        worker.wake()
        eventually(lambda: workshop.job(jobs[0]).state is State.QUEUED)
        worker.wake()
        worker.join()
        first, second = map(workshop.job, jobs)
        assert (first.state, [tried.cause for tried in first.attempts]) == (State.QUEUED, ["catalogue_changed"])
        assert (second.state, second.fence) == (State.QUEUED, 0)
