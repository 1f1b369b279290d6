"""What counts as a standstill, by a clock that only the test moves; and faults of the loop itself, which leave nobody waiting."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.eventually import eventually
from tests.worker.inference.counting import Gate, a_draw, entry
from tests.worker.inference.engine.conftest import Bench, Clock
from worker.inference.engine.requests import LoraFile, Worn
from worker.inference.engine.roster import Roster
from worker.inference.engine.served import Served


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bench(clock: Clock) -> Iterator[Bench]:
    bench = Bench(clock=clock)
    yield bench
    bench.engine.close()


def stalled(bench: Bench) -> float:
    return bench.engine.figures().stalled_seconds


def rest(bench: Bench) -> None:
    """Until the engine's thread has seen that there is nothing to do, which is a moment after the last answer."""
    eventually(lambda: bench.engine._tally._since is None)


class TestAStandstill:
    def test_is_a_device_on_which_every_step_fails(self, bench: Bench, clock: Clock) -> None:
        def broken(texts: list[str]) -> None:
            clock.later(10)
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        bench.family.before_call = broken
        for _ in range(5):
            with pytest.raises(RuntimeError, match="CUDA error"):
                bench.engine.submit(a_draw()).result(60)
            rest(bench)
            clock.later(1000)  # without requests, which is nobody's standstill
        gate = bench.held()
        ticket = bench.engine.submit(a_draw())
        gate.reached.wait(60)
        assert 50 <= stalled(bench) < 1000 + 50
        gate.opened.set()
        ticket.result(60)
        eventually(lambda: stalled(bench) == 0)

    def test_is_also_one_with_many_at_once(self, bench: Bench, clock: Clock) -> None:
        seen: list[float] = []

        def broken(texts: list[str]) -> None:
            clock.later(10)
            seen.append(stalled(bench))
            raise RuntimeError("CUDA error")

        bench.family.before_call = broken
        for ticket in bench.together(*(a_draw(f"p{n}") for n in range(8))):
            with pytest.raises(RuntimeError, match="CUDA error"):
                ticket.result(60)
        assert seen == sorted(seen)
        assert seen[-1] >= 80

    def test_is_a_request_whose_adapter_does_not_come(self, bench: Bench, clock: Clock) -> None:
        coming: Future[LoraFile] = Future()
        ticket = bench.engine.submit(a_draw(adapters=(Worn(coming, "x@1", "0"),)))
        clock.later(300)
        assert (bench.engine.figures().waiting, stalled(bench)) == (1, 300)
        ticket.abort()
        eventually(lambda: stalled(bench) == 0)

    def test_is_a_call_that_hangs_though_nobody_waits_for_it_any_more(self, bench: Bench, clock: Clock) -> None:
        gate = bench.held()
        ticket = bench.engine.submit(a_draw())
        gate.reached.wait(60)
        ticket.abort()
        clock.later(200)
        assert stalled(bench) == 200
        gate.opened.set()

    def test_ends_with_a_step_or_the_load_of_a_base(self, bench: Bench, clock: Clock) -> None:
        gates = Gate(), Gate()
        left = list(gates)

        def hold(texts: list[str]) -> None:
            left.pop(0)(texts)

        bench.family.before_call = hold
        ticket = bench.engine.submit(a_draw(steps=2))
        gates[0].reached.wait(60)
        clock.later(7)
        assert stalled(bench) == 7
        gates[0].opened.set()
        gates[1].reached.wait(60)
        assert stalled(bench) == 0
        gates[1].opened.set()
        ticket.result(60)
        seen: list[float] = []
        bench.before_load = lambda name: (clock.later(100), seen.append(stalled(bench)))
        bench.families["other"] = bench.family
        bench.family.before_call = lambda texts: seen.append(stalled(bench))
        bench.engine.submit(a_draw(base="other", steps=1)).result(60)
        assert seen == [100, 0]


class TestNoStandstill:
    def test_is_work_that_has_the_base_for_itself_for_long(self, bench: Bench, clock: Clock) -> None:
        def work(served: Served) -> float:
            clock.later(500)
            return stalled(bench)

        assert bench.engine.exclusively(entry(), work).result(60) == 0
        bench.engine.submit(a_draw()).result(60)
        rest(bench)
        assert bench.engine.exclusively(entry(), work).result(60) == 0

    def test_but_who_comes_meanwhile_waits_from_then_on(self, bench: Bench, clock: Clock) -> None:
        def work(served: Served) -> float:
            clock.later(500)
            tickets.append(bench.engine.submit(a_draw()))
            clock.later(70)
            return stalled(bench)

        tickets = []  # type: ignore[var-annotated]
        assert bench.engine.exclusively(entry(), work).result(60) == 70
        tickets[0].result(60)

    def test_is_an_idle_engine(self, bench: Bench, clock: Clock) -> None:
        bench.engine.submit(a_draw()).result(60)
        rest(bench)
        clock.later(1000)
        assert stalled(bench) == 0


class TestAFaultOfTheLoop:
    def test_fails_all_that_was_taken_and_the_next_are_drawn(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = bench.held()
        tickets = [bench.engine.submit(a_draw())]
        gate.reached.wait(60)
        tickets.append(bench.engine.submit(a_draw()))
        faults, own = [KeyError("a fault")], Roster.choose

        def choose(roster: Roster, *given: object) -> object:  # type: ignore[type-arg]
            if faults:
                raise faults.pop()
            return own(roster, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(Roster, "choose", choose)
        gate.opened.set()
        for ticket in tickets:
            with pytest.raises(KeyError, match="a fault"):
                ticket.result(60)
        assert bench.engine.submit(a_draw()).result(60).nfe == 4
        assert bench.engine.figures().failed == 2

    def test_loses_nothing_that_came_after_it(self, bench: Bench) -> None:
        gate = bench.held()
        running = bench.engine.submit(a_draw())
        gate.reached.wait(60)
        bench.engine.evict([])  # type: ignore[arg-type]  # what has no hash cannot be remembered
        later, work = bench.engine.submit(a_draw()), bench.engine.exclusively(entry(), lambda served: "done")
        gate.opened.set()
        with pytest.raises(TypeError, match="unhashable"):
            running.result(60)
        assert (later.result(60).nfe, work.result(60)) == (4, "done")

    def test_fails_work_that_waits_too(self, bench: Bench) -> None:
        entered, leave = threading.Event(), threading.Event()
        bench.engine.exclusively(entry(), lambda served: (entered.set(), leave.wait(60)))
        entered.wait(60)
        work = bench.engine.exclusively(entry(), lambda served: None)
        bench.engine.evict([])  # type: ignore[arg-type]
        leave.set()
        with pytest.raises(TypeError, match="unhashable"):
            work.result(60)
