"""Memory that runs out, failures that stay alone, aborts and ends, over arithmetic that counts."""

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace

import numpy as np
import pytest
import torch

from service.domain.errors import JobFailure
from tests.worker.inference.counting import a_draw, entry
from tests.worker.inference.engine.conftest import Bench
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import (
    Draining,
    Drawn,
    LoraFile,
    NotANumber,
    OutOfMemory,
    QueueFull,
    Worn,
)
from worker.inference.engine.running import Running
from worker.models.family import Conditions

Make = Callable[..., Engine]


def out_of_memory_above(most: int) -> Callable[[list[str]], None]:
    def fail(texts: list[str]) -> None:
        if len(texts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return fail


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What each full collection that the engine asks for has found."""
    found: list[int] = []
    own = gc.collect
    monkeypatch.setattr("worker.inference.engine.limits.gc.collect", lambda: found.append(own()))
    return found


class TestOutOfMemory:
    def test_splits_the_call_and_goes_on(self, bench: Bench) -> None:
        bench.family.before_call = out_of_memory_above(2)
        draws = [a_draw(f"p{n}", seed=n) for n in range(8)]
        drawn = [ticket.result(60) for ticket in bench.together(*draws)]
        assert {each.steps for each in drawn} == {("2x4",)}
        assert {each.nfe for each in drawn} == {4}
        for each, draw in zip(drawn, draws, strict=True):
            assert np.array_equal(each.pictures, bench.alone(replace(draw, batch_size=2)))
        figures = bench.engine.figures()
        assert (figures.splits, figures.calls) == (2, {2: 16})

    def test_has_nothing_collected_which_would_hold_everybody_up(self, bench: Bench, collected: list[int]) -> None:
        bench.family.before_call = out_of_memory_above(2)
        for ticket in bench.together(*(a_draw(f"p{n}") for n in range(8))):
            ticket.result(60)
        assert bench.engine.figures().splits == 2
        assert collected == []

    def test_has_all_that_makes_room_collected_at_once(self, collected: list[int]) -> None:
        bench = Bench(loaded_bases=3)
        for base in ("idle", "another", "counting"):
            bench.engine.submit(a_draw(base=base)).result(60)
        failures = [out_of_memory_above(0)]
        bench.family.before_call = lambda texts: failures.pop()(texts) if failures else None
        assert bench.engine.submit(a_draw()).result(60).nfe == 4
        bench.engine.close()
        assert len(collected) == 1

    def test_larger_calls_are_tried_again_after_a_calm_while(self, bench: Bench) -> None:
        bench.family.before_call = out_of_memory_above(2)
        for ticket in bench.together(*(a_draw(f"p{n}", steps=3) for n in range(4))):
            ticket.result(60)
        bench.family.before_call = lambda texts: None
        bench.engine.submit(a_draw(steps=70)).result(60)
        (first, *_) = [ticket.result(60) for ticket in bench.together(*(a_draw(f"q{n}") for n in range(4)))]
        assert first.steps == ("4x4",)

    def test_of_one_alone_fails_it_alone(self, bench: Bench) -> None:
        bench.family.before_call = lambda texts: out_of_memory_above(0)(texts) if "huge" in texts else None
        huge, other = bench.together(a_draw("huge"), a_draw("other"))
        with pytest.raises(OutOfMemory):
            huge.result(60)
        assert other.result(60).nfe == 4

    def test_of_a_pinned_size_says_to_pin_a_smaller_one(self, bench: Bench) -> None:
        bench.family.before_call = out_of_memory_above(2)
        with pytest.raises(OutOfMemory, match="pin a smaller batch_size"):
            bench.engine.submit(a_draw(batch_size=4)).result(60)
        assert bench.engine.submit(a_draw(batch_size=2)).result(60).steps == ("2x4",)


class TestFailures:
    def test_of_a_sample_in_a_shared_call_stay_its_own(self, bench: Bench) -> None:
        def fail(texts: list[str]) -> None:
            if "bad" in texts:
                raise ValueError("cannot draw that")

        bench.family.before_call = fail
        bad, *good = bench.together(a_draw("bad"), *(a_draw(f"good{n}") for n in range(5)))
        with pytest.raises(ValueError, match="cannot draw that"):
            bad.result(60)
        for ticket in good:
            assert ticket.result(60).nfe == 4
        assert (bench.engine.figures().failed, bench.engine.figures().finished) == (1, 5)

    def test_of_a_base_that_cannot_be_loaded_stay_its_own(self, bench: Bench) -> None:
        broken, good = bench.together(a_draw(base="broken"), a_draw())
        with pytest.raises(JobFailure, match="no such folder"):
            broken.result(60)
        assert good.result(60).nfe == 4

    def test_of_one_of_a_requests_pictures_on_its_way_in_stay_its_own(self, bench: Bench) -> None:
        own, encoded = bench.family.encode, list[str]()

        def encode(prompts: Sequence[str], negatives: Sequence[str] | None = None) -> Conditions:
            encoded.extend(prompts)
            if prompts == ["two"] and encoded.count("two") == 2:
                raise ValueError("cannot read that")
            return own(prompts, negatives)

        bench.family.encode = encode  # type: ignore[method-assign]
        two, other = bench.together(a_draw("two", count=2), a_draw("other"))
        with pytest.raises(ValueError, match="cannot read that"):
            two.result(60)
        assert other.result(60).nfe == 4

    def test_of_an_answer_that_does_not_fit_into_memory_are_told(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = Running.drawn

        def drawn(request: Running) -> Drawn:
            if request.draw.prompt == "large":
                raise MemoryError
            return own(request)

        monkeypatch.setattr(Running, "drawn", drawn)
        large, other = bench.together(a_draw("large", count=2), a_draw("other", steps=9))
        with pytest.raises(OutOfMemory):
            large.result(60)
        assert other.result(60).nfe == 9
        assert (bench.engine.figures().failed, bench.engine.figures().finished) == (1, 1)

    def test_of_numbers_that_overflow_are_told(self, bench: Bench) -> None:
        nan = LoraFile("nan@1", "nan", 1, {"mix": (torch.full((1, 4), torch.inf), torch.zeros(4, 1))})
        done: Future[LoraFile] = Future()
        done.set_result(nan)
        bad, good = bench.together(a_draw("bad", adapters=(Worn(done, "nan@1", "nan"),)), a_draw("good"))
        with pytest.raises(NotANumber) as caught:
            bad.result(60)
        assert caught.value.errors[0].path == "adapters"
        assert "nan@1" in caught.value.errors[0].message
        assert np.array_equal(good.result(60).pictures, bench.alone(a_draw("good", batch_size=2)))

    def test_of_a_vae_that_gives_no_numbers_are_told_and_not_drawn_black(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def overflow(latents: torch.Tensor) -> torch.Tensor:
            raise JobFailure("the VAE gives pictures that are not numbers", code="nan_pictures")

        with monkeypatch.context() as patch:
            patch.setattr(bench.family, "decode", overflow)
            with pytest.raises(NotANumber) as caught:
                bench.engine.submit(a_draw()).result(60)
        assert "dtype" in caught.value.errors[0].remedy
        assert bench.engine.submit(a_draw()).result(60).nfe == 4


class TestAbort:
    def test_no_step_begins_after_the_one_that_runs(self, bench: Bench) -> None:
        gate = bench.held()
        gone = bench.engine.submit(a_draw("gone", steps=50))
        gate.reached.wait(60)
        stays = bench.engine.submit(a_draw("stays"))
        gone.abort()
        gone.abort()
        gate.opened.set()
        assert stays.result(60).nfe == 4
        with pytest.raises(CancelledError):
            gone.result(60)
        assert sum("gone" in call for call in bench.family.calls) == 1
        assert bench.engine.figures().aborted == 1

    def test_of_one_that_waits_takes_it_out_of_the_queue(self) -> None:
        bench = Bench(waiting=1)
        gate = bench.held()
        first = bench.engine.submit(a_draw())
        gate.reached.wait(60)
        waits = bench.engine.submit(a_draw())
        with pytest.raises(QueueFull) as caught:
            bench.engine.submit(a_draw())
        assert caught.value.retry_after >= 1
        waits.abort()
        again = bench.engine.submit(a_draw())
        gate.opened.set()
        assert [first.result(60).nfe, again.result(60).nfe] == [4, 4]
        bench.engine.close()


class TestEnd:
    def test_draining_finishes_what_was_taken_and_takes_no_more(self, bench: Bench) -> None:
        gate = bench.held()
        tickets = [bench.engine.submit(a_draw(f"p{n}")) for n in range(12)]
        gate.reached.wait(60)
        assert bench.engine.drain(timeout=0) is False
        assert not bench.engine.alive
        with pytest.raises(Draining):
            bench.engine.submit(a_draw())
        with pytest.raises(Draining):
            bench.engine.exclusively(entry(), lambda served: None)
        gate.opened.set()
        assert bench.engine.drain(timeout=60) is True
        assert [ticket.result(0).nfe for ticket in tickets] == [4] * 12

    def test_closing_finishes_what_has_begun_and_answers_what_waits(self, bench: Bench) -> None:
        gate = bench.held()
        running = bench.engine.submit(a_draw())
        gate.reached.wait(60)
        coming: Future[LoraFile] = Future()
        waits = bench.engine.submit(a_draw(adapters=(Worn(coming, "x@1", "0"),)))
        bench.closes_behind(gate)
        assert running.result(0).nfe == 4
        with pytest.raises(Draining):
            waits.result(0)
