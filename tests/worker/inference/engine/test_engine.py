"""One loop, many requests: the pictures it draws, the calls it counts, and failures that stay alone."""

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.domain.catalogue import BaseModelEntry
from tests.eventually import eventually
from tests.worker.inference.pictures import plain, random_adapter
from tests.worker.inference.random_adapters import worn
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import Draw, Ticket, Worn
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


def load_folder(entry: BaseModelEntry, folder: Path) -> Family:
    return load(entry.family, folder, device="cpu")


def a_draw(base: BaseModelEntry, *adapters: Worn) -> Draw:
    return Draw("local", base, adapters, prompt="a red circle", negative="", count=1, seed=7, steps=3, guidance=2.0)


def an_adapter(sd_folder: Path, seed: int = 0, weight: float = 1.0) -> Worn:
    return worn(random_adapter(sd_folder, seed), reference=f"red-things@{seed + 1}", weight=weight)


def distance(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


class TestAfterItsEnd:
    @pytest.mark.parametrize("way", ["drawn", "aborted"])
    def test_nothing_of_a_request_waits_for_a_garbage_collection(
        self, engine: Engine, base: BaseModelEntry, sd_folder: Path, way: str
    ) -> None:
        """Pictures and latents are large and few, and Python collects by number."""
        draw = replace(a_draw(base, an_adapter(sd_folder)), steps=500 if way == "aborted" else 3)

        def ended() -> weakref.ref[Ticket]:
            ticket, told = engine.submit(draw), threading.Event()
            ticket.add_done_callback(lambda _: told.set())
            if way == "aborted":
                eventually(lambda: ticket.steps_done)
                ticket.abort()
            with suppress(CancelledError):
                ticket.result(60)
            assert told.wait(60)
            return weakref.ref(ticket)

        gc.collect()
        gc.disable()
        try:
            kept = ended()
            eventually(lambda: kept() is None)
        finally:
            gc.enable()


class TestPictures:
    @pytest.mark.parametrize("guidance", [1.0, 2.5])
    @pytest.mark.parametrize("negative", ["", "blue"])
    def test_are_those_of_plain_diffusers(
        self, engine: Engine, base: BaseModelEntry, sd_folder: Path, guidance: float, negative: str
    ) -> None:
        draw = replace(a_draw(base), guidance=guidance, negative=negative)
        expected = plain(sd_folder, guidance=guidance, negative=negative)
        assert distance(engine.submit(draw).result().pictures[0], expected) <= ROUNDING

    def test_with_adapters_side_by_side_are_those_of_plain_diffusers_each(
        self, engine: Engine, base: BaseModelEntry, sd_folder: Path
    ) -> None:
        draws = [a_draw(base), a_draw(base, an_adapter(sd_folder, 0)), a_draw(base, an_adapter(sd_folder, 1))]
        drawn = [ticket.result() for ticket in together(engine, base, draws)]
        expected = [plain(sd_folder), *(plain(sd_folder, random_adapter(sd_folder, seed)) for seed in (0, 1))]
        for ours, theirs in zip(drawn, expected, strict=True):
            assert distance(ours.pictures[0], theirs) <= ROUNDING
            assert ours.steps == ("4x3",)
        assert distance(expected[0], expected[1]) > ROUNDING
        assert distance(expected[1], expected[2]) > ROUNDING

    def test_of_one_request_start_from_seeds_that_count_up(self, engine: Engine, base: BaseModelEntry) -> None:
        drawn = engine.submit(replace(a_draw(base), count=3)).result().pictures
        for place, picture in enumerate(drawn):
            alone = engine.submit(replace(a_draw(base), seed=7 + place)).result().pictures[0]
            assert distance(picture, alone) <= ROUNDING

    def test_of_the_same_request_are_the_same_bits(self, engine: Engine, base: BaseModelEntry) -> None:
        draw = replace(a_draw(base), count=5)
        np.testing.assert_array_equal(engine.submit(draw).result().pictures, engine.submit(draw).result().pictures)


class TestBatchInvariant:
    def test_alone_and_among_others_are_the_same_bits(self, base: BaseModelEntry, sd_folder: Path) -> None:
        engine = Engine(load_folder, batch_invariant=True)
        worn = [an_adapter(sd_folder, 0), an_adapter(sd_folder, 1, weight=0.5)]
        draws = [a_draw(base), a_draw(base, worn[0]), a_draw(base, *worn), replace(a_draw(base, worn[1]), count=3)]
        among = [ticket.result() for ticket in together(engine, base, draws)]
        alone = [engine.submit(draw).result() for draw in draws]
        assert [each.steps for each in among] != [each.steps for each in alone]
        for one, other in zip(among, alone, strict=True):
            np.testing.assert_array_equal(one.pictures, other.pictures)
        engine.close()


def together(engine: Engine, base: BaseModelEntry, draws: list[Draw]) -> list[Ticket]:
    """All of them submitted between two of the engine's steps."""
    leave, entered = threading.Event(), threading.Event()
    held = engine.exclusively(base, lambda served: (entered.set(), leave.wait()))
    entered.wait()
    tickets = [engine.submit(draw) for draw in draws]
    leave.set()
    held.result()
    return tickets


class TestCounting:
    @pytest.mark.parametrize(("guidance", "nfe"), [(1.0, 15), (2.0, 30)])
    def test_nfe_is_what_the_hook_saw(self, engine: Engine, base: BaseModelEntry, guidance: float, nfe: int) -> None:
        drawn = engine.submit(replace(a_draw(base), count=5, guidance=guidance)).result()
        assert (drawn.nfe, drawn.steps) == (nfe, ("4x3",) * 3 + ("4x2,2x1", "4x1,2x1,1x1"))

    def test_padding_is_counted_apart(self, engine: Engine, base: BaseModelEntry) -> None:
        drawn = engine.submit(replace(a_draw(base), count=3)).result()
        assert (drawn.nfe, drawn.steps) == (18, ("4x3",) * 3)
        figures = engine.figures()
        assert (figures.nfe, figures.padding_nfe) == ({"tiny": 18}, 6)
        assert (figures.calls, figures.samples) == ({4: 3}, {4: 9})

    def test_an_adapter_costs_no_call_more(self, engine: Engine, base: BaseModelEntry, sd_folder: Path) -> None:
        drawn = engine.submit(a_draw(base, an_adapter(sd_folder))).result()
        assert drawn.nfe == engine.submit(a_draw(base)).result().nfe
        assert engine.figures().nfe == {"red-things@1": 6, "tiny": 6}

    def test_a_planted_call_shows(self, base: BaseModelEntry) -> None:
        def loose(entry: BaseModelEntry, folder: Path) -> Family:
            family = load_folder(entry, folder)
            family.predict, predict = lambda *given: predict(*given) + 0 * predict(*given), family.predict
            return family

        engine = Engine(loose)
        assert engine.submit(a_draw(base)).result().nfe == 12
        engine.close()
