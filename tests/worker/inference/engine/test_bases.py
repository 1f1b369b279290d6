"""More base models than are loaded at once: each gets its turn, and nobody waits while another's folder is fetched."""

import threading

import pytest

from service.domain.errors import JobFailure
from tests.eventually import eventually
from tests.worker.inference.counting import a_draw, entry
from tests.worker.inference.engine.conftest import Bench, Shelf
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import Draining, Ticket


def fetched(name: str) -> bool:
    """Whether the thread that fetches this base has ended."""
    return f"fetch-{name}" not in {thread.name for thread in threading.enumerate()}


class TestTurns:
    def test_a_third_base_is_not_starved_by_two_of_two_shapes_under_steady_load(self) -> None:
        bench, kinds = Bench(waiting=400), [("counting", 1.0), ("second", 1.0), ("counting", 2.0), ("second", 2.0)]
        bench.engine.exclusively(entry("second"), lambda served: None).result(60)
        gate = bench.held()
        crowd = [
            bench.engine.submit(a_draw(f"{base} {n}", tenant="a", base=base, guidance=guidance, steps=4 + n % 3))
            for n in range(60)
            for base, guidance in kinds
        ]
        third = bench.engine.submit(a_draw("third", tenant="b", base="third"))
        gate.reached.wait(60)
        eventually(lambda: fetched("third"))
        done = order_of([*crowd, third], gate.opened)
        bench.engine.close()
        assert done.index(len(crowd)) <= 16, "no more than the two calls of the base that leaves"

    @pytest.mark.parametrize("places", [1, 2])
    def test_more_bases_than_places_are_all_drawn(self, places: int) -> None:
        bench = Bench(loaded_bases=places, waiting=400)
        draws = [a_draw(f"p{n}", base=f"b{n % 4}", guidance=1.0 + n % 3, steps=2 + n % 5) for n in range(80)]
        assert [ticket.result(60).pictures.shape[0] for ticket in bench.together(*draws)] == [1] * 80
        bench.engine.close()

    def test_an_idle_base_makes_room_before_one_that_is_wanted(self) -> None:
        bench = Bench(loaded_bases=2)
        for base in ("counting", "idle"):
            bench.engine.submit(a_draw(base=base)).result(60)
        gate = bench.held()
        tickets = [bench.engine.submit(a_draw(base=base)) for base in ("counting", "third")]
        gate.opened.set()
        for ticket in (*tickets, bench.engine.submit(a_draw())):
            ticket.result(60)
        bench.engine.close()
        assert bench.loaded == ["counting", "idle", "third"]


def order_of(tickets: list[Ticket], go: threading.Event) -> list[int]:
    """In which order they are drawn."""
    done: list[int] = []
    for number, ticket in enumerate(tickets):
        ticket.add_done_callback(lambda _, number=number: done.append(number))
    go.set()
    for ticket in tickets:
        ticket.result(60)
    return done


class TestFetching:
    def test_of_one_base_stops_nobody_elses_steps(self) -> None:
        shelf = Shelf("far")
        bench = Bench(fetch=shelf.fetch)
        far = [bench.engine.submit(a_draw(f"far {n}", base="far")) for n in range(3)]
        assert [bench.engine.submit(a_draw()).result(60).nfe for _ in range(3)] == [4, 4, 4]
        assert not any(ticket.done for ticket in far)
        shelf.arrived.set()
        assert [ticket.result(60).nfe for ticket in far] == [4, 4, 4]
        bench.engine.close()
        assert shelf.asked.count("far") == 1
        assert bench.loaded == ["counting", "far"]

    def test_that_fails_is_told_to_all_who_wait_and_tried_again_by_the_next(self) -> None:
        shelf = Shelf("far")
        shelf.failures.append(JobFailure("The base model far cannot be loaded: the hub is away."))
        bench = Bench(fetch=shelf.fetch)
        far = [bench.engine.submit(a_draw(base="far")) for _ in range(2)]
        work = bench.engine.exclusively(entry("far"), lambda served: None)
        shelf.arrived.set()
        for waiting in (*far, work):
            with pytest.raises(JobFailure, match="the hub is away"):
                waiting.result(60)
        assert bench.engine.submit(a_draw(base="far")).result(60).nfe == 4
        bench.engine.close()

    def test_that_fails_when_nobody_waits_any_more_is_no_answer_to_who_comes_later(self) -> None:
        shelf = Shelf("far")
        shelf.failures.append(JobFailure("The base model far cannot be loaded: the hub is away."))
        bench = Bench(fetch=shelf.fetch)
        gone = bench.engine.submit(a_draw(base="far"))
        eventually(lambda: shelf.asked)
        gone.abort()
        shelf.arrived.set()
        eventually(lambda: fetched("far"))
        bench.engine.submit(a_draw()).result(60)
        assert bench.engine.submit(a_draw(base="far")).result(60).nfe == 4
        bench.engine.close()

    def test_is_done_anew_for_a_base_that_had_to_leave(self) -> None:
        shelf = Shelf()
        bench = Bench(fetch=shelf.fetch, loaded_bases=1)
        for base in ("one", "other", "one"):
            bench.engine.submit(a_draw(base=base)).result(60)
        bench.engine.close()
        assert shelf.asked == ["one", "other", "one"]

    def test_keeps_no_engine_from_its_end(self) -> None:
        shelf = Shelf("far")
        engine: Engine = Bench(fetch=shelf.fetch).engine
        far = engine.submit(a_draw(base="far"))
        engine.close()
        with pytest.raises(Draining):
            far.result(0)
        shelf.arrived.set()
