"""One loop, one request at a time: the bits it promises, the calls it counts, and failures that stay alone."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import JobFailure, Unavailable
from tests.worker.inference.pictures import plain, random_adapter
from worker.inference.engine import Adapter, AdapterCorrupt, Draw, Drawn, Engine, QueueFull, split
from worker.models.family import Family
from worker.models.load import load

ROUNDING = 1
"""Of 255: the most by which a picture may differ from plain diffusers' in any value."""


@pytest.fixture
def base(sd_folder: Path) -> BaseModelEntry:
    return BaseModelEntry(name="tiny", source=str(sd_folder), family="sd", resolution=64)


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(load_folder)
    yield engine
    engine.close()


def load_folder(entry: BaseModelEntry) -> Family:
    return load(entry.family, Path(entry.source), device="cpu")


def a_draw(base: BaseModelEntry, adapter: Adapter | None = None) -> Draw:
    return Draw(base, adapter, prompt="a red circle", negative="", count=1, seed=7, steps=3, guidance=2.0)


def an_adapter(sd_folder: Path, seed: int = 0) -> Adapter:
    data = random_adapter(sd_folder, seed)
    return Adapter(f"red-things@{seed + 1}", hashlib.sha256(data).hexdigest(), data)


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


class TestPictures:
    @pytest.mark.parametrize("guidance", [1.0, 2.5])
    @pytest.mark.parametrize("negative", ["", "blue"])
    def test_are_those_of_plain_diffusers(
        self, engine: Engine, base: BaseModelEntry, sd_folder: Path, guidance: float, negative: str
    ) -> None:
        draw = replace(a_draw(base), guidance=guidance, negative=negative)
        assert distance(engine.submit(draw).result().pictures[0], plain(sd_folder, draw)) <= ROUNDING

    def test_with_an_adapter_are_those_of_plain_diffusers_too(
        self, engine: Engine, base: BaseModelEntry, sd_folder: Path
    ) -> None:
        draw = a_draw(base, an_adapter(sd_folder))
        worn = engine.submit(draw).result().pictures[0]
        assert distance(worn, plain(sd_folder, draw)) <= ROUNDING
        assert distance(worn, engine.submit(a_draw(base)).result().pictures[0]) > ROUNDING

    def test_do_not_depend_on_what_was_drawn_before(
        self, engine: Engine, base: BaseModelEntry, sd_folder: Path
    ) -> None:
        draws = [a_draw(base), a_draw(base, an_adapter(sd_folder, 0)), a_draw(base, an_adapter(sd_folder, 1))]
        first = [engine.submit(draw).result().pictures for draw in draws]
        again = [engine.submit(draw).result().pictures for draw in reversed(draws)]
        for one, other in zip(first, reversed(again), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_of_one_request_start_from_seeds_that_count_up(self, engine: Engine, base: BaseModelEntry) -> None:
        together = engine.submit(replace(a_draw(base), count=3)).result().pictures
        for place, picture in enumerate(together):
            alone = engine.submit(replace(a_draw(base), seed=7 + place)).result().pictures[0]
            assert distance(picture, alone) <= ROUNDING

    def test_of_the_same_request_are_the_same_bits(self, engine: Engine, base: BaseModelEntry) -> None:
        draw = replace(a_draw(base), count=5)
        np.testing.assert_array_equal(engine.submit(draw).result().pictures, engine.submit(draw).result().pictures)


class TestCounting:
    @pytest.mark.parametrize(("guidance", "nfe"), [(1.0, 15), (2.0, 30)])
    def test_nfe_is_what_the_hook_saw(self, engine: Engine, base: BaseModelEntry, guidance: float, nfe: int) -> None:
        drawn = engine.submit(replace(a_draw(base), count=5, guidance=guidance)).result()
        assert (drawn.nfe, drawn.steps) == (nfe, "4x3,1x3")

    def test_an_adapter_costs_no_call_more(self, engine: Engine, base: BaseModelEntry, sd_folder: Path) -> None:
        worn = engine.submit(a_draw(base, an_adapter(sd_folder))).result()
        assert worn.nfe == engine.submit(a_draw(base)).result().nfe

    def test_a_planted_call_shows(self, base: BaseModelEntry) -> None:
        def loose(entry: BaseModelEntry) -> Family:
            family = load_folder(entry)
            sampler = family.sampler(3)
            family.predict, predict = lambda *given: predict(*given) + 0 * predict(*given), family.predict
            assert sampler
            return family

        engine = Engine(loose)
        assert engine.submit(a_draw(base)).result().nfe == 12
        engine.close()

    def test_words_beyond_the_encoder_are_told(self, engine: Engine, base: BaseModelEntry) -> None:
        assert engine.submit(a_draw(base)).result().warnings == ()
        long = replace(a_draw(base), prompt="a red circle left of a blue square")
        assert "will not see" in engine.submit(long).result().warnings[0]

    @pytest.mark.parametrize(("count", "calls"), [(1, [1]), (3, [2, 1]), (8, [8]), (10, [8, 2]), (15, [8, 4, 2, 1])])
    def test_calls_are_few_and_of_few_sizes(self, count: int, calls: list[int]) -> None:
        assert split(count) == calls


class TestFailures:
    def test_a_base_that_cannot_be_loaded_fails_its_request_alone(
        self, engine: Engine, base: BaseModelEntry, tmp_path: Path
    ) -> None:
        broken = base.model_copy(update={"source": str(tmp_path)})
        with pytest.raises(JobFailure):
            engine.submit(a_draw(broken)).result()
        assert engine.submit(a_draw(base)).result().nfe == 6

    def test_an_adapter_that_does_not_fit_is_named_and_leaves_nothing_on(
        self, engine: Engine, base: BaseModelEntry
    ) -> None:
        before = engine.submit(a_draw(base)).result().pictures
        with pytest.raises(AdapterCorrupt, match="red-things@9"):
            engine.submit(a_draw(base, Adapter("red-things@9", "0" * 64, b"no safetensors"))).result()
        np.testing.assert_array_equal(engine.submit(a_draw(base)).result().pictures, before)


class TestQueue:
    def test_is_bounded(self, base: BaseModelEntry) -> None:
        entered, leave = threading.Event(), threading.Event()

        def slow(entry: BaseModelEntry) -> Family:
            entered.set()
            leave.wait()
            return load_folder(entry)

        engine = Engine(slow, waiting=2)
        taken: list[Future[Drawn]] = [engine.submit(a_draw(base))]
        entered.wait()
        taken += [engine.submit(a_draw(base)) for _ in range(2)]
        with pytest.raises(QueueFull) as caught:
            engine.submit(a_draw(base))
        assert caught.value.retry_after >= 1
        leave.set()
        assert [each.result().nfe for each in taken] == [6, 6, 6]
        engine.close()

    def test_takes_nothing_after_its_close(self, base: BaseModelEntry) -> None:
        engine = Engine(load_folder)
        engine.close()
        assert not engine.alive
        with pytest.raises(Unavailable):
            engine.submit(a_draw(base))
