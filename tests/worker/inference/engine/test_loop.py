"""The engine over arithmetic that counts: fairness, padding, adapters, previews, work that is alone."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest

from service.domain.errors import InvalidRequest
from tests.worker.inference.counting import a_draw, a_file, entry, worn
from tests.worker.inference.drawing import drawn
from tests.worker.inference.engine.conftest import Bench, Clock
from worker.inference.engine import schedulers
from worker.inference.engine.engine import Engine
from worker.inference.engine.figures import EXCLUSIVE
from worker.inference.engine.requests import (
    AdapterCorrupt,
    AdapterRefused,
    Draw,
    LoraFile,
    Partial,
    QueueFull,
    Ticket,
    Worn,
)
from worker.inference.engine.served import Served

Make = Callable[..., Engine]


@pytest.fixture
def long() -> Iterator[Bench]:
    """An engine with a long queue."""
    bench = Bench(waiting=200)
    yield bench
    bench.engine.close()


class TestFairness:
    def test_a_tenants_hundred_requests_delay_anothers_one_by_no_step(self, long: Bench) -> None:
        bench = long
        gate = bench.held()
        crowd = [bench.engine.submit(a_draw(f"a{n}", tenant="a", steps=6)) for n in range(100)]
        gate.reached.wait(60)
        one = bench.engine.submit(a_draw("b", tenant="b", steps=6))
        called = len(bench.family.calls) + 1  # the one that stands at the gate
        finished = Future[int]()
        one.add_done_callback(lambda _: finished.set_result(len(bench.family.calls)))
        gate.opened.set()
        assert one.result(60).nfe == 6
        assert finished.result(60) - called == 6
        for ticket in crowd:
            ticket.result(60)

    def test_the_fifth_of_a_tenants_requests_waits_for_no_whole_picture(self, bench: Bench) -> None:
        """Four go in a call; of five each goes at least every second time."""
        gate = bench.held()
        long = [bench.engine.submit(a_draw(f"a{n}", steps=60)) for n in range(4)]
        gate.reached.wait(60)
        short = bench.engine.submit(a_draw("b", steps=4))
        called = len(bench.family.calls) + 1
        finished = Future[int]()
        short.add_done_callback(lambda _: finished.set_result(len(bench.family.calls)))
        gate.opened.set()
        assert short.result(60).steps == ("4x4",)
        assert finished.result(60) - called <= 2 * 4
        assert [ticket.result(60).nfe for ticket in long] == [60] * 4
        assert bench.engine.figures().padding_nfe <= 4, "only at the end, when three are left"

    def test_a_tenants_full_queue_keeps_nobody_else_out(self, bench: Bench) -> None:
        gate = bench.held()
        crowd = [bench.engine.submit(a_draw("a0", tenant="a", steps=6))]
        gate.reached.wait(60)
        crowd += [bench.engine.submit(a_draw(f"a{n}", tenant="a", steps=6)) for n in range(1, 17)]
        with pytest.raises(QueueFull):
            bench.engine.submit(a_draw("a17", tenant="a"))
        one = bench.engine.submit(a_draw("b", tenant="b", steps=6))
        called = len(bench.family.calls) + 1
        finished = Future[int]()
        one.add_done_callback(lambda _: finished.set_result(len(bench.family.calls)))
        gate.opened.set()
        assert one.result(60).nfe == 6
        assert finished.result(60) - called == 6
        assert [ticket.result(60).nfe for ticket in crowd] == [6] * 17

    def test_nor_do_many_tenants_full_queues_keep_out_anothers_first_request(self) -> None:
        bench = Bench(waiting=2)
        gate = bench.held()
        tickets = [bench.engine.submit(a_draw())]
        gate.reached.wait(60)
        tickets += [bench.engine.submit(a_draw(tenant=f"t{n % 8}")) for n in range(16)]
        tickets.append(bench.engine.submit(a_draw(tenant="late")))
        with pytest.raises(QueueFull):
            bench.engine.submit(a_draw(tenant="late"))
        gate.opened.set()
        assert [ticket.result(60).nfe for ticket in tickets] == [4] * 18
        bench.engine.close()

    def test_who_pins_a_large_size_pays_for_its_padding(self, bench: Bench) -> None:
        alone, other = a_draw("a", tenant="a", batch_size=8, steps=64), a_draw("b", tenant="b", steps=64)
        calls = Future[int]()

        def watch(tickets: list[Ticket]) -> None:
            tickets[1].add_done_callback(lambda _: calls.set_result(len(bench.family.calls)))

        tickets = bench.together(alone, other, watch=watch)
        assert 64 + 8 <= calls.result(60) <= 64 + 10
        assert tickets[0].result(60).nfe == 64

    def test_nor_with_an_adapter_for_every_request_and_few_slots(self, long: Bench) -> None:
        bench = long
        gate = bench.held()
        crowd = [bench.engine.submit(a_draw(f"a{n}", tenant="a", adapters=(worn(f"x{n}"),))) for n in range(100)]
        gate.reached.wait(60)
        one = bench.engine.submit(a_draw("b", tenant="b", adapters=(worn("y"),)))
        called = len(bench.family.calls) + 1
        finished = Future[int]()
        one.add_done_callback(lambda _: finished.set_result(len(bench.family.calls)))
        gate.opened.set()
        one.result(60)
        assert finished.result(60) - called == 4
        for ticket in crowd:
            ticket.result(60)

    def test_requests_join_and_leave_between_steps(self, bench: Bench) -> None:
        long, short = bench.together(a_draw("long", steps=5), a_draw("short", steps=2))
        assert (long.result(60).steps, short.result(60).steps) == (("2x2,1x3",), ("2x2",))
        assert bench.family.calls == [["long", "short"]] * 2 + [["long"]] * 3

    def test_a_base_that_wants_room_gets_it_when_anothers_samples_are_done(self) -> None:
        bench = Bench(loaded_bases=1, waiting=200)
        crowd = [a_draw(f"a{n}", tenant="a", steps=3 + n % 4) for n in range(30)]
        done: list[int] = []

        def watch(tickets: list[Ticket]) -> None:
            for number, ticket in enumerate(tickets):
                ticket.add_done_callback(lambda _, number=number: done.append(number))

        for ticket in bench.together(*crowd, a_draw("b", tenant="b", base="other"), watch=watch):
            ticket.result(60)
        bench.engine.close()
        assert bench.loaded == ["counting", "other", "counting"]
        assert done.index(30) <= 8, "no more than the call that ran when it came"


class TestGuidance:
    """Of a family that was distilled to do without the second forward."""

    def draws(self, *guidances: float, tenant: str = "local") -> list[Draw]:
        flux = entry("flux").model_copy(update={"family": "flux"})
        own = {"tenant": tenant, "scheduler": "ddim"}
        return [replace(a_draw("f", guidance=each), base=flux, **own) for each in guidances]  # type: ignore[arg-type]

    def test_makes_no_two_shapes_of_a_family_that_has_none(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(schedulers.OF_FAMILY, "flux", ("ddim",))
        tickets = bench.together(*self.draws(1.0, 3.5))
        assert [ticket.result(60).steps for ticket in tickets] == [("2x4",)] * 2

    @pytest.mark.parametrize(("guidance", "said"), [(1.0, "it needs a guidance_scale above 1"), (2.0, "")])
    def test_too_small_for_a_negative_prompt_is_told(self, bench: Bench, guidance: float, said: str) -> None:
        drawn = bench.engine.submit(a_draw(guidance=guidance, negative="blue")).result(60)
        assert drawn.warnings == ((f"negative_prompt has no effect: {said}",) if said else ())

    def test_that_a_family_has_not_is_told_to_who_sends_a_negative_prompt(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(schedulers.OF_FAMILY, "flux", ("ddim",))
        (draw,) = self.draws(3.5)
        told = bench.engine.submit(replace(draw, negative="blue")).result(60).warnings
        assert told == ("negative_prompt has no effect: flux has no classifier-free guidance",)


class TestPadding:
    def test_repeats_a_row_and_costs_the_request_nothing(self, bench: Bench) -> None:
        drawn = bench.engine.submit(a_draw(count=3)).result(60)
        assert (drawn.nfe, drawn.steps) == (12, ("4x4",) * 3)
        assert bench.family.calls == [["a"] * 4] * 4
        assert (bench.engine.figures().padding_nfe, bench.engine.figures().nfe) == (4, {"counting": 12})

    def test_a_pinned_size_is_kept_and_shared_with_those_who_pin_it(self, bench: Bench) -> None:
        draws = [a_draw("p", batch_size=8), a_draw("q", batch_size=8, steps=2), a_draw("r")]
        pinned, shorter, free = (ticket.result(60) for ticket in bench.together(*draws))
        assert (pinned.steps, shorter.steps, free.steps) == (("8x4",), ("8x2",), ("1x4",))
        assert bench.family.calls[0][:2] == ["p", "q"]

    def test_another_size_is_refused(self, bench: Bench) -> None:
        with pytest.raises(InvalidRequest) as caught:
            bench.engine.submit(a_draw(batch_size=3))
        assert (caught.value.errors[0].path, caught.value.code) == ("batch_size", "unsupported_batch_size")

    def test_another_processs_sampler_is_refused(self, bench: Bench) -> None:
        with pytest.raises(InvalidRequest) as caught:
            bench.engine.submit(a_draw(scheduler="flow-euler"))
        assert caught.value.errors[0].path == "scheduler"


class TestAdapters:
    def test_samples_join_when_the_load_is_done_and_nobody_waits_for_them(self, bench: Bench) -> None:
        coming: Future[LoraFile] = Future()
        late = bench.engine.submit(a_draw("late", adapters=(Worn(coming, "x@1", "digest-of-x"),)))
        assert bench.engine.submit(a_draw("early")).result(60).nfe == 4
        assert not late.done
        coming.set_result(a_file("x"))
        assert np.array_equal(late.result(60).pictures, bench.alone(a_draw("late", adapters=(worn("x"),))))

    def test_that_do_not_come_fail_their_request_alone(self, bench: Bench) -> None:
        coming: Future[LoraFile] = Future()
        lost, other = bench.together(a_draw("lost", adapters=(Worn(coming, "x@1", "0"),)), a_draw("other"))
        coming.set_exception(AdapterCorrupt("The adapter x@1 is damaged."))
        with pytest.raises(AdapterCorrupt, match="x@1"):
            lost.result(60)
        assert other.result(60).nfe == 4

    def test_above_the_slots_rank_are_refused_by_name_with_the_remedy(self, bench: Bench) -> None:
        with pytest.raises(AdapterRefused) as caught:
            bench.engine.submit(a_draw(adapters=(worn("x", rank=3), worn("y")))).result(60)
        assert "x@1 + y@1 has rank 5" in caught.value.errors[0].message
        assert "STROP_SLOT_RANK" in caught.value.errors[0].remedy

    def test_more_than_the_slots_go_in_turns_and_come_out_the_same(self, bench: Bench) -> None:
        draws = [a_draw(f"p{n}", adapters=(worn(f"x{n}"),), batch_size=8) for n in range(7)]
        drawn = [ticket.result(60) for ticket in bench.together(*draws)]
        assert all(len(set(call)) <= 4 for call in bench.family.calls)
        for each, draw in zip(drawn, draws, strict=True):
            assert np.array_equal(each.pictures, bench.alone(draw))

    def test_are_counted_by_name(self, bench: Bench) -> None:
        for adapters in ((worn("x"),), (worn("x"), worn("y", weight=0.5)), ()):
            bench.engine.submit(a_draw(adapters=adapters)).result(60)
        assert bench.engine.figures().nfe == {"x@1": 4, "x@1+y@1": 4, "counting": 4}
        assert bench.engine.figures().slot_loads == 2

    def test_evicted_leave_the_slots_once_nobody_wears_them(self, bench: Bench) -> None:
        gate = bench.held()
        running = bench.engine.submit(a_draw(adapters=(worn("x"),)))
        gate.reached.wait(60)
        bench.engine.evict("digest-of-x")
        gate.opened.set()
        assert np.array_equal(running.result(60).pictures, bench.alone(a_draw(adapters=(worn("x"),))))
        held = bench.engine.exclusively(entry(), lambda served: served.slots.holds(((a_file("x"), 1.0),)))
        assert not held.result(60)


class TestPreviews:
    def test_come_evenly_spaced_and_change_no_bit(self, bench: Bench) -> None:
        seen: list[Partial] = []
        draw = a_draw(count=2, steps=9, partials=2)
        drawn = bench.engine.submit(draw, seen.append).result(60)
        assert [(each.index, each.number, each.of) for each in seen] == [(0, 1, 2), (1, 1, 2), (0, 2, 2), (1, 2, 2)]
        assert all(each.picture.shape == (4, 4, 3) for each in seen)
        assert np.array_equal(drawn.pictures, bench.alone(replace(draw, partials=0)))

    def test_nobody_looks_at_are_not_decoded(self, bench: Bench) -> None:
        bench.engine.submit(a_draw(partials=3)).result(60)
        assert bench.family.counter.total.decodes == 1

    def test_a_watcher_that_fails_harms_nobody(self, bench: Bench) -> None:
        assert bench.engine.submit(a_draw(partials=1), lambda partial: 1 / 0).result(60).nfe == 4  # type: ignore[arg-type, return-value]


class TestExclusively:
    def test_has_the_base_for_itself_between_steps_and_changes_no_bit(self, bench: Bench) -> None:
        gate = bench.held()
        ticket = bench.engine.submit(a_draw(adapters=(worn("x"),)))
        gate.reached.wait(60)

        def look(served: Served) -> list[str]:
            with served.plain() as family:
                return [type(each).__name__ for each in family.denoiser.modules()]

        between = bench.engine.exclusively(entry(), look)
        gate.opened.set()
        assert between.result(60) == ["Denoiser", "Linear"]
        assert np.array_equal(ticket.result(60).pictures, bench.alone(a_draw(adapters=(worn("x"),))))

    def test_what_it_raises_is_its_own(self, bench: Bench) -> None:
        with pytest.raises(ZeroDivisionError):
            bench.engine.exclusively(entry(), lambda served: 1 / 0).result(60)
        assert bench.engine.submit(a_draw()).result(60).nfe == 4

    def test_gets_no_more_of_the_time_than_the_samples_beside_it(self) -> None:
        clock = Clock()
        bench = Bench(clock=clock)
        gate, order = bench.held(), []  # type: ignore[var-annotated]
        ticket = bench.engine.submit(a_draw(steps=40))
        gate.reached.wait(60)

        def step(texts: list[str]) -> None:
            clock.later(1)
            order.append("step")

        def portion(served: Served) -> None:
            clock.later(6)
            order.append("portion")

        works = [bench.engine.exclusively(entry(), portion) for _ in range(3)]
        bench.family.before_call = step
        gate.opened.set()
        for work in works:
            work.result(60)
        ticket.result(60)
        assert order[:15] == ["portion", *["step"] * 6] * 2 + ["portion"]
        bench.engine.close()

    def test_waits_for_nobody_where_nobody_draws(self) -> None:
        clock = Clock()
        bench = Bench(clock=clock)
        works = [bench.engine.exclusively(entry(), lambda served: clock.later(6)) for _ in range(3)]
        for work in works:
            work.result(60)
        bench.engine.close()

    def test_is_counted_apart(self, bench: Bench) -> None:
        wearing = ((a_file("x"), 1.0),)
        bench.engine.exclusively(
            entry(),
            lambda served: drawn(served, ["p"], [1], guidance=1.0, steps=3, scheduler="ddim", wearings=[wearing]),
        ).result(60)
        figures = bench.engine.figures()
        assert (figures.nfe, figures.slot_loads) == ({EXCLUSIVE: 24}, 1), "in calls of eight rows"
        assert figures.slot_bytes > 0

    def test_given_up_while_it_waits_is_not_done_and_harms_nobody(self, bench: Bench) -> None:
        gate = bench.held()
        running = bench.engine.submit(a_draw())
        gate.reached.wait(60)
        work = bench.engine.exclusively(entry(), lambda served: 1 / 0)
        assert work.cancel()
        bench.closes_behind(gate)
        assert running.result(0).nfe == 4


class TestFigures:
    def test_of_slots_are_those_of_the_bases_that_are_loaded(self) -> None:
        bench = Bench(loaded_bases=1)
        bench.engine.submit(a_draw(adapters=(worn("x"),))).result(60)
        assert bench.engine.figures().slot_bytes == 4 * (5 * 4 * 4 * 2), "a and b of five slots, rank 4, four features"
        bench.engine.submit(a_draw(base="other")).result(60)
        assert bench.engine.figures().slot_bytes == 0
        bench.engine.close()

    def test_tell_what_waits_runs_and_stalls(self, bench: Bench) -> None:
        assert bench.engine.submit(a_draw()).result(60)
        gate = bench.held()
        first = bench.engine.submit(a_draw())
        gate.reached.wait(60)
        other = bench.engine.submit(a_draw())
        figures = bench.engine.figures()
        assert (figures.waiting, figures.running, figures.finished) == (1, 1, 1)
        assert figures.stalled_seconds > 0
        assert figures.step_seconds > 0
        gate.opened.set()
        assert first.result(60).seconds_running > 0
        assert other.result(60).seconds_waiting > 0
