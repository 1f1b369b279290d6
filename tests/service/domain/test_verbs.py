"""Verbs lead along the transition table only, and say in every other state what to do instead."""

import pytest

from service.domain.errors import InvalidTransition
from service.domain.jobs import TRANSITIONS, State
from service.domain.verbs import VERBS, Verb


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
class TestEachVerb:
    def test_leads_along_the_table(self, verb: Verb) -> None:
        assert all(to in TRANSITIONS[state] for state, to in verb.moves.items())

    def test_knows_every_state_once(self, verb: Verb) -> None:
        told = [*verb.moves, *verb.asked, *verb.remedies]
        assert sorted(told) == sorted(State)

    def test_changes_nothing_where_it_was_asked_for(self, verb: Verb) -> None:
        assert [verb.leads(state) for state in verb.asked] == [None] * len(verb.asked)

    def test_is_refused_elsewhere_with_its_code_and_the_remedy(self, verb: Verb) -> None:
        for state, remedy in verb.remedies.items():
            with pytest.raises(InvalidTransition) as refused:
                verb.leads(state)
            assert refused.value.code == verb.code
            assert refused.value.message.endswith(remedy)


def test_what_a_verb_leads_to_it_says_it_was_asked_for_unless_the_job_goes_on() -> None:
    """Asking twice is no error exactly where the second means the same."""
    for verb in VERBS.values():
        assert {to for to in verb.moves.values() if to is not State.QUEUED} <= verb.asked
