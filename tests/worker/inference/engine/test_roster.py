"""Who takes the next step, without a device: shares between tenants, order within one, shapes that take turns."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.worker.inference.counting import entry
from worker.inference.engine.roster import QUANTUM, Roster, Run, Shape

PLAIN, GUIDED, OTHER = Shape(entry(), False), Shape(entry(), True), Shape(entry("other"), False)


class Named(Run):
    def __init__(self, name: str, tenant: str, shape: Shape = PLAIN) -> None:
        self.name, self.tenant, self.shape = name, tenant, shape


def roster_of(*runs: Named) -> Roster[Named]:
    roster: Roster[Named] = Roster()
    for run in runs:
        roster.add(run)
    return roster


def call(roster: Roster[Named], places: int = 4) -> list[str]:
    chosen = roster.choose(lambda run: True, lambda run, before: len(before) < places)
    roster.charge(chosen, len(chosen))
    return [run.name for run in chosen]


class TestBetweenTenants:
    def test_a_newcomer_is_in_the_next_call_of_a_crowded_engine(self) -> None:
        roster = roster_of(*(Named(f"a{n}", "a") for n in range(100)))
        for _ in range(5):
            call(roster)
        roster.add(Named("b0", "b"))
        assert all("b0" in call(roster) for _ in range(20))

    def test_places_are_shared_evenly_while_all_want_them(self) -> None:
        roster = roster_of(*(Named(f"{tenant}{n}", tenant) for tenant in "abc" for n in range(9)))
        had = [name[0] for _ in range(300) for name in call(roster)]
        assert all(abs(had.count(tenant) - 400) <= QUANTUM for tenant in "abc")

    def test_more_tenants_than_places_take_turns_of_some_steps(self) -> None:
        roster = roster_of(*(Named(tenant, tenant) for tenant in "abcdef"))
        calls = [call(roster) for _ in range(600)]
        had = [name for called in calls for name in called]
        assert all(abs(had.count(tenant) - 400) <= QUANTUM for tenant in "abcdef")
        changes = sum(set(one) != set(other) for one, other in pairwise(calls))
        assert changes <= 600 / QUANTUM * 4

    def test_what_nobody_else_asks_for_goes_to_who_asks(self) -> None:
        roster = roster_of(Named("b0", "b"), *(Named(f"a{n}", "a") for n in range(9)))
        assert [sorted(call(roster)) for _ in range(3)] == [["a0", "a1", "a2", "b0"]] * 3

    def test_shapes_of_different_tenants_take_turns_by_what_they_cost(self) -> None:
        roster = roster_of(Named("a", "a"), Named("b", "b", GUIDED), Named("c", "c", OTHER))
        had = [name for _ in range(50) for name in call(roster)]
        assert {name: had.count(name) for name in "abc"} == {"a": 20, "b": 10, "c": 20}

    def test_padding_is_paid_by_those_who_ask_for_it(self) -> None:
        pinned = Shape(entry(), False, pinned=8)
        roster = roster_of(Named("a", "a", pinned), Named("b", "b", OTHER))
        had = []
        for _ in range(90):
            (run,) = roster.choose(lambda run: True, lambda run, before: True)
            roster.charge([run], run.shape.pinned or 1)
            had.append(run.name)
        assert (had.count("a"), had.count("b")) == (10, 80)

    def test_being_away_earns_nothing(self) -> None:
        roster = roster_of(Named("a", "a"), late := Named("b0", "b"))
        call(roster)
        roster.remove(late)
        for _ in range(50):
            call(roster)
        roster.add(Named("b1", "b", OTHER))
        assert [call(roster) for _ in range(4)] == [["a"], ["b1"], ["a"], ["b1"]]


class TestWhoIsLeftOut:
    def rounded(self, roster: Roster[Named]) -> list[str]:
        """The names of a call of four; of five the last one stays behind."""
        chosen = roster.choose(lambda run: True, lambda run, before: len(before) < 8)
        roster.leave_out(PLAIN, chosen[4:])
        roster.charge(chosen[:4], 4)
        return [run.name for run in chosen[:4]]

    @pytest.mark.parametrize("tenants", ["aaaaa", "aaaab", "abcde"])
    def test_is_the_first_of_the_next_call(self, tenants: str) -> None:
        roster = roster_of(*(Named(str(n), tenant) for n, tenant in enumerate(tenants)))
        left = ""
        for _ in range(40):
            called = self.rounded(roster)
            assert called[0] == left or not left
            (left,) = set("01234") - set(called)

    def test_stays_behind_no_longer_once_it_is_gone(self) -> None:
        roster = roster_of(*(runs := [Named(str(n), "a") for n in range(5)]))
        self.rounded(roster)
        roster.remove(runs[4])
        roster.add(runs[4])
        assert self.rounded(roster) == ["0", "1", "2", "3"]


class TestWithinATenant:
    def test_the_oldest_come_first_and_stay_until_they_are_done(self) -> None:
        runs = [Named(str(n), "a") for n in range(6)]
        roster = roster_of(*runs)
        assert [call(roster), call(roster)] == [["0", "1", "2", "3"]] * 2
        roster.remove(runs[1])
        assert call(roster) == ["0", "2", "3", "4"]

    def test_its_shapes_take_turns(self) -> None:
        roster = roster_of(
            *(Named(f"{shape.base.name[0]}{n}", "a", shape) for n in range(2) for shape in (PLAIN, OTHER))
        )
        assert [call(roster) for _ in range(3)] == [["c0", "c1"], ["o0", "o1"], ["c0", "c1"]]


class TestChoosing:
    def test_takes_only_what_is_ready_and_fits(self) -> None:
        roster = roster_of(*(Named(str(n), "a") for n in range(6)))
        chosen = roster.choose(lambda run: run.name != "0", lambda run, before: run.name != "2" and len(before) < 2)
        assert [run.name for run in chosen] == ["1", "3"]
        assert roster.choose(lambda run: False, lambda run, before: True) == []

    def test_changes_nothing(self) -> None:
        roster = roster_of(Named("a", "a"), Named("b", "b"))
        for _ in range(3):
            roster.choose(lambda run: True, lambda run, before: True)
        assert sorted(run.name for run in roster) == ["a", "b"]

    @given(some.lists(some.tuples(some.sampled_from("abcd"), some.sampled_from([PLAIN, GUIDED, OTHER])), max_size=12))
    def test_nobody_waits_for_ever_and_no_call_mixes_shapes(self, given: list[tuple[str, Shape]]) -> None:
        runs = [Named(str(n), tenant, shape) for n, (tenant, shape) in enumerate(given)]
        roster, shapes, steps = (
            roster_of(*runs),
            {run.name: run.shape for run in runs},
            dict.fromkeys(map(str, range(12)), 0),
        )
        for _ in range(12 * len(runs)):
            called = call(roster)
            assert len({shapes[name] for name in called}) == 1
            for name in called:
                steps[name] += 1
                if steps[name] == 4:
                    roster.remove(runs[int(name)])
            if not roster:
                break
        assert not roster
