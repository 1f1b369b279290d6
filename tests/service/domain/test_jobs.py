"""The transition table, and what offers fit."""

import itertools

import pytest

from service.domain.errors import InvalidTransition
from service.domain.jobs import OWNED, TERMINAL, TRANSITIONS, State, after_lost_attempt, check_transition
from service.domain.offers import Offers
from service.domain.recipes import RECIPE_FORMAT


def test_every_state_has_its_line() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(State, State)))
def test_the_check_is_the_table(before: State, after: State) -> None:
    if after in TRANSITIONS[before]:
        check_transition(before, after)
    else:
        with pytest.raises(InvalidTransition):
            check_transition(before, after)


@pytest.mark.parametrize("state", sorted(OWNED))
@pytest.mark.parametrize("attempts_left", [True, False])
def test_a_lost_attempt_leads_where_the_table_allows(state: State, attempts_left: bool) -> None:
    after = after_lost_attempt(state, attempts_left=attempts_left)
    check_transition(state, after)
    assert after not in OWNED


def test_only_a_failed_job_leaves_its_end() -> None:
    assert {state for state in TERMINAL if TRANSITIONS[state]} == {State.FAILED}


def test_offers_as_words() -> None:
    offers = Offers(frozenset({"sd"}), frozenset({"clip"}), frozenset({"eu"}))
    formats = {f"recipe:{number}" for number in range(1, RECIPE_FORMAT + 1)}
    assert offers.words() == {"family:sd", "reward:clip", "label:eu"} | formats
