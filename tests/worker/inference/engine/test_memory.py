"""Memory that runs out elsewhere than in a step: previews and pictures, text, base models and stacks of slots."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from service.domain.errors import Unavailable
from tests.worker.inference.counting import CountingFamily, a_draw, a_file, entry, worn
from tests.worker.inference.engine.conftest import Bench, Clock
from worker.inference.engine import slots as slots_module
from worker.inference.engine.requests import LoraFile, OutOfMemory
from worker.inference.engine.resident import REFUSED_SECONDS
from worker.inference.engine.slots import Slots
from worker.inference.engine.slotted import Slotted, SlottedLinear, slotted


def fails(times: int, do: Callable[..., Any]) -> Callable[..., Any]:
    """`do`, for which memory does not suffice the first `times` times."""
    left = [torch.OutOfMemoryError("CUDA out of memory")] * times

    def tried(*given: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return do(*given, **named)

    return tried


@pytest.fixture(params=["encode", "decode"])
def part(request: pytest.FixtureRequest, bench: Bench) -> Iterator[tuple[CountingFamily, str]]:
    yield bench.family, request.param


class TestTextAndPictures:
    def test_are_tried_once_more(self, bench: Bench, part: tuple[CountingFamily, str]) -> None:
        family, name = part
        setattr(family, name, fails(1, getattr(family, name)))
        assert bench.engine.submit(a_draw()).result(60).nfe == 4

    def test_that_do_not_fit_fail_their_own_request_and_say_so(
        self, bench: Bench, part: tuple[CountingFamily, str]
    ) -> None:
        family, name = part
        setattr(family, name, fails(2, getattr(family, name)))
        lost, other = bench.together(a_draw("lost", steps=2), a_draw("other"))
        with pytest.raises(OutOfMemory, match="not enough memory"):
            lost.result(60)
        assert other.result(60).nfe == 4

    def test_have_the_room_of_base_models_that_nobody_draws_with(
        self, bench: Bench, part: tuple[CountingFamily, str]
    ) -> None:
        bench.engine.submit(a_draw(base="idle")).result(60)
        family, name = part
        setattr(family, name, fails(1, getattr(family, name)))
        for base in ("counting", "idle"):
            bench.engine.submit(a_draw(base=base)).result(60)
        assert bench.loaded == ["counting", "idle", "idle"]


class TestPreviews:
    @pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), ValueError("a fault")])
    def test_that_cannot_be_made_are_left_out(self, bench: Bench, error: Exception) -> None:
        def fail(latents: torch.Tensor) -> torch.Tensor:
            raise error

        bench.family.decode_preview = fail  # type: ignore[method-assign]
        seen: list[object] = []
        assert bench.engine.submit(a_draw(partials=2), seen.append).result(60).nfe == 4
        assert seen == []


class TestBases:
    def test_have_the_room_of_those_that_nobody_draws_with(self, bench: Bench) -> None:
        bench.engine.submit(a_draw()).result(60)
        bench.before_load = fails(1, lambda name: None)
        assert bench.engine.submit(a_draw(base="other")).result(60).nfe == 4
        bench.engine.submit(a_draw()).result(60)
        assert bench.loaded == ["counting", "other", "counting"]

    def test_that_do_not_fit_are_an_answer_to_all_who_wait_and_tried_again_after_a_while(self) -> None:
        clock, tries = Clock(), Counter[str]()
        bench = Bench(clock=clock)

        def too_large(name: str) -> None:
            tries[name] += 1
            if name == "large":
                raise torch.OutOfMemoryError("CUDA out of memory")

        bench.before_load = too_large
        *large, other = bench.together(*(a_draw(f"p{n}", base="large") for n in range(12)), a_draw())
        for ticket in large:
            with pytest.raises(Unavailable) as caught:
                ticket.result(60)
            assert caught.value.code == "out_of_memory"
        assert other.result(60).nfe == 4
        assert tries["large"] == 2, "once, and once more with what could be freed"
        clock.later(REFUSED_SECONDS - 7)
        with pytest.raises(Unavailable, match="not enough memory for the base model large") as caught:
            bench.engine.submit(a_draw(base="large")).result(60)
        assert (caught.value.code, caught.value.retry_after, tries["large"]) == ("out_of_memory", 7, 2)
        clock.later(7)
        bench.before_load = lambda name: None
        assert bench.engine.submit(a_draw(base="large")).result(60).nfe == 4
        bench.engine.close()

    def test_that_do_not_fit_are_an_answer_for_work_too(self, bench: Bench) -> None:
        bench.before_load = fails(2, lambda name: None)
        with pytest.raises(OutOfMemory):
            bench.engine.exclusively(entry(), lambda served: None).result(60)


class TestOneSampleAlone:
    def test_has_the_room_of_base_models_that_nobody_draws_with(self, bench: Bench) -> None:
        for base in ("idle", "counting"):
            bench.engine.submit(a_draw(base=base)).result(60)
        bench.family.before_call = fails(1, lambda texts: None)
        for base in ("counting", "idle"):
            assert bench.engine.submit(a_draw(base=base)).result(60).nfe == 4
        assert bench.loaded == ["idle", "counting", "idle"]


class TestStacks:
    """Of a net of two layers, where memory suffices for the first one only."""

    def net(self) -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).requires_grad_(False)

    def both(self, name: str) -> LoraFile:
        pair = a_file(name).layers["mix"]
        return LoraFile(f"{name}@1", name, 2, {"0": pair, "1": pair})

    def test_that_do_not_fit_leave_none_behind(self, monkeypatch: pytest.MonkeyPatch) -> None:
        net = self.net()
        slots, made = Slots(net, count=2, rank=2), []

        def one_fits(plain: nn.Linear, count: int, rank: int) -> Slotted:
            if made:
                raise torch.OutOfMemoryError("CUDA out of memory")
            made.append(plain)
            return slotted(plain, count, rank)

        wearing = ((self.both("x"), 1.0),)
        monkeypatch.setattr(slots_module, "slotted", one_fits)
        with pytest.raises(torch.OutOfMemoryError):
            slots.place([wearing])
        assert ([type(each) for each in net], slots.bytes, slots.loads) == ([nn.Linear, nn.Linear], 0, 0)
        assert not slots.holds(wearing)
        monkeypatch.undo()
        assert slots.place([wearing]) == [1]

    def test_that_fail_while_they_are_filled_leave_nothing_in_the_slot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        net, x = self.net(), torch.randn(1, 3, 4)
        first, second = LoraFile("f@1", "f", 2, {"0": a_file("f").layers["mix"]}), self.both("x")
        slots = Slots(net, count=1, rank=2)
        slots.wear(slots.place([((first, 1.0),)]))
        worn, own = net(x), SlottedLinear._put

        def torn(layer: SlottedLinear, *given: Any) -> None:
            own(layer, *given)
            if layer.plain is plain[1]:
                raise torch.OutOfMemoryError("CUDA out of memory")

        plain = (net[0].plain, net[1])
        monkeypatch.setattr(SlottedLinear, "_put", torn)
        with pytest.raises(torch.OutOfMemoryError):
            slots.place([((second, 1.0),)])
        monkeypatch.undo()
        assert [type(each) for each in net] == [SlottedLinear, nn.Linear]
        assert not slots.holds(((first, 1.0),)), "it had to make room"
        assert float(net[0].a.abs().sum() + net[0].b.abs().sum()) == 0
        slots.wear(slots.place([((first, 1.0),)]))
        torch.testing.assert_close(net(x), worn, atol=0, rtol=0)

    def test_that_are_worn_by_some_layers_only_are_no_company(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each layer gathers its rows anew, and the second one's did not fit: the next call is dressed from the start."""
        net, x = self.net(), torch.randn(1, 3, 4)
        slots = Slots(net, count=2, rank=2)
        one, other = slots.place([((self.both("x"), 1.0),), ((self.both("y"), 1.0),)])
        slots.wear([one])
        worn, own, left = net(x), SlottedLinear.wear, [1, 0]

        def torn(layer: SlottedLinear, index: torch.Tensor | None) -> None:
            if left.pop() == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            own(layer, index)

        with monkeypatch.context() as scarce:
            scarce.setattr(SlottedLinear, "wear", torn)
            with pytest.raises(torch.OutOfMemoryError):
                slots.wear([other])
        slots.wear([one])
        torch.testing.assert_close(net(x), worn, atol=0, rtol=0)

    def test_that_do_not_fit_fail_who_wears_them_alone(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slots_module, "slotted", fails(2, slotted))
        lost, other = bench.together(a_draw("lost", adapters=(worn("x"),)), a_draw("other"))
        with pytest.raises(OutOfMemory):
            lost.result(60)
        assert other.result(60).nfe == 4
        assert bench.engine.submit(a_draw(adapters=(worn("x"),))).result(60).nfe == 4
