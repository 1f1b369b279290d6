"""What counts as a standstill, by a clock that only the test moves; and faults of the loop itself, which leave nobody waiting."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
import torch

from tests.eventually import eventually
from tests.worker.inference.counting import Gate, a_draw, entry, worn
from tests.worker.inference.engine.conftest import Bench, Clock, Shelf
from worker.inference.engine.figures import FORGIVEN_SECONDS
from worker.inference.engine.requests import AdapterRefused, LoraFile, OutOfMemory, Worn
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


class TestALostDevice:
    """CUDA answers every call after the one that broke it with the same error, within milliseconds."""

    ERRORS = (
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …"),
        RuntimeError("CUDA error: device-side assert triggered"),
    )

    @pytest.mark.parametrize("error", ERRORS)
    @pytest.mark.parametrize("part", ["encode", "predict", "decode"])
    def test_is_told_also_while_nobody_asks_and_until_it_draws_again(
        self, bench: Bench, error: Exception, part: str
    ) -> None:
        def broken(*given: object, **named: object) -> None:
            raise error

        own = getattr(bench.family, part)
        setattr(bench.family, part, broken)
        with pytest.raises(RuntimeError, match="CUDA error"):
            bench.engine.submit(a_draw()).result(60)
        rest(bench)
        assert bench.engine.figures().device_lost == str(error).split("\n", maxsplit=1)[0]
        setattr(bench.family, part, own)
        bench.engine.submit(a_draw()).result(60)
        assert bench.engine.figures().device_lost == ""

    def test_is_seen_by_work_that_has_a_base_for_itself(self, bench: Bench) -> None:
        def broken(served: Served) -> None:
            raise self.ERRORS[0]

        with pytest.raises(torch.AcceleratorError):
            bench.engine.exclusively(entry(), broken).result(60)
        assert "illegal memory access" in bench.engine.figures().device_lost

    @pytest.mark.parametrize(
        "words", ["out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"]
    )
    def test_is_not_one_without_memory(self, bench: Bench, words: str) -> None:
        def full(texts: list[str]) -> None:
            raise RuntimeError(f"CUDA error: {words}")

        bench.family.before_call = full
        with pytest.raises(OutOfMemory):
            bench.engine.submit(a_draw()).result(60)
        assert bench.engine.figures().device_lost == ""


class TestFaultsInARow:
    def test_are_counted_until_a_request_is_drawn_or_they_are_forgiven(self, bench: Bench, clock: Clock) -> None:
        own = bench.family.decode

        def broken(latents: torch.Tensor) -> torch.Tensor:
            raise ValueError("a fault")

        def fail(times: int) -> int:
            bench.family.decode = broken  # type: ignore[method-assign]
            for _ in range(times):
                with pytest.raises(ValueError, match="a fault"):
                    bench.engine.submit(a_draw()).result(60)
            bench.family.decode = own  # type: ignore[method-assign]
            return bench.engine.figures().faults_in_a_row

        assert fail(3) == 3
        bench.engine.submit(a_draw()).result(60)
        assert bench.engine.figures().faults_in_a_row == 0
        fail(2)
        clock.later(FORGIVEN_SECONDS)
        assert bench.engine.figures().faults_in_a_row == 0
        assert fail(1) == 3, "nothing was drawn meanwhile"

    def test_are_one_where_one_cause_fails_many(self, bench: Bench) -> None:
        def broken(name: str) -> None:
            raise ValueError("a fault")

        bench.engine.exclusively(entry(), lambda served: None).result(60)
        bench.before_load = broken
        for ticket in bench.together(*(a_draw(f"p{n}", base="other") for n in range(8))):
            with pytest.raises(ValueError, match="a fault"):
                ticket.result(60)
        assert bench.engine.figures().faults_in_a_row == 1

    def test_are_not_refusals(self, bench: Bench) -> None:
        for _ in range(2):
            with pytest.raises(AdapterRefused):
                bench.engine.submit(a_draw(adapters=(worn("x", rank=9),))).result(60)
        assert bench.engine.figures().faults_in_a_row == 0


class TestNoStandstill:
    def test_is_the_fetch_of_the_only_base_that_is_asked_for(self, clock: Clock) -> None:
        shelf = Shelf("far")
        bench = Bench(clock=clock, fetch=shelf.fetch)
        far = bench.engine.submit(a_draw(base="far"))
        eventually(lambda: shelf.asked and bench.engine._tally._since is None)
        clock.later(3600)
        assert (bench.engine.figures().waiting, stalled(bench)) == (1, 0)
        bench.before_load = lambda name: (clock.later(50), seen.append(stalled(bench)))
        seen: list[float] = []
        shelf.arrived.set()
        assert far.result(60).nfe == 4
        assert seen == [50], "its load is one"
        bench.engine.close()

    def test_is_a_fetch_but_who_waits_for_something_else_counts(self, clock: Clock) -> None:
        shelf, coming = Shelf("far"), Future[LoraFile]()
        bench = Bench(clock=clock, fetch=shelf.fetch)
        bench.engine.submit(a_draw()).result(60)
        tickets = [bench.engine.submit(a_draw(base="far"))]
        eventually(lambda: bench.engine._tally._since is None)
        clock.later(3600)
        tickets.append(bench.engine.submit(a_draw(adapters=(Worn(coming, "x@1", "0"),))))
        clock.later(70)
        assert stalled(bench) == 70
        tickets[1].abort()
        eventually(lambda: stalled(bench) == 0)
        shelf.arrived.set()
        assert tickets[0].result(60).nfe == 4
        bench.engine.close()

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
