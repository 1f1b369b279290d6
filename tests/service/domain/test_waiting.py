"""Who stands for a fleet, by asking each worker about each need."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.offers import MEMORY, Offered
from service.domain.waiting import foremost, wait_reason

WORDS = ("family:sd", "label:a", "label:b", "model:base:x:0", "model:base:y:0")
OFFERED = st.builds(
    Offered,
    words=st.frozensets(st.sampled_from(WORDS)),
    any_model=st.booleans(),
    memory_gib=st.sampled_from([0.0, 8.0, 80.0]),
)
NEEDS = st.dictionaries(st.sampled_from(WORDS), st.none()).flatmap(
    lambda words: st.sampled_from([words, {**words, MEMORY: 8.0}, {**words, MEMORY: 24.0}])
)


@given(st.lists(OFFERED, max_size=6, unique=True), NEEDS)
def test_the_foremost_say_what_the_whole_fleet_would(workers: list[Offered], needs: dict[str, float | None]) -> None:
    assert (wait_reason(needs, foremost(workers)) is None) == (wait_reason(needs, workers) is None)
    if workers:
        assert wait_reason(needs, foremost(workers)) == wait_reason(needs, workers)


def test_of_many_machines_of_two_kinds_two_stand_for_all() -> None:
    words = frozenset(WORDS[:3])
    kinds = {"small": Offered(words, False, 8.0), "big": Offered(words - {"label:b"}, False, 80.0)}
    weaker = [Offered(words - {word}, False, gib) for word, gib in product(WORDS[:2], (1.0, 7.9))]
    assert foremost([*weaker, *kinds.values()]) == list(kinds.values())


@pytest.mark.parametrize("word", WORDS[3:])
def test_who_stages_no_model_covers_who_has_one(word: str) -> None:
    assert Offered(frozenset(), True, 1.0).covers(Offered(frozenset({word}), False, 1.0))
    assert not Offered(frozenset({word}), False, 1.0).covers(Offered(frozenset(), True, 1.0))
