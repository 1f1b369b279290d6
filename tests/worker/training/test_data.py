"""The order of the prompts is a function of seed and update."""

from worker.training.data import places_of


class TestPlacesOf:
    def test_every_prompt_once_before_any_twice(self) -> None:
        drawn = [place for update in range(5) for place in places_of(10, 0, update, 4)]
        assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))

    def test_each_round_has_its_own_order(self) -> None:
        assert places_of(10, 0, 0, 10) != places_of(10, 0, 1, 10)

    def test_the_seed_decides(self) -> None:
        assert places_of(10, 0, 3, 4) == places_of(10, 0, 3, 4)
        assert places_of(10, 0, 3, 4) != places_of(10, 1, 3, 4)

    def test_more_than_there_are(self) -> None:
        assert len(places_of(2, 0, 0, 5)) == 5
