"""The order of the prompts is a function of seed and update."""

from collections import Counter

from worker.training.data import prompts_of

PROMPTS = [f"prompt {number}" for number in range(10)]


class TestPromptsOf:
    def test_every_prompt_once_before_any_twice(self) -> None:
        drawn = [prompt for update in range(5) for prompt in prompts_of(PROMPTS, 0, update, 4)]
        assert sorted(drawn[:10]) == sorted(drawn[10:]) == sorted(PROMPTS)

    def test_each_round_has_its_own_order(self) -> None:
        assert prompts_of(PROMPTS, 0, 0, 10) != prompts_of(PROMPTS, 0, 1, 10)

    def test_the_seed_decides(self) -> None:
        assert prompts_of(PROMPTS, 0, 3, 4) == prompts_of(PROMPTS, 0, 3, 4)
        assert prompts_of(PROMPTS, 0, 3, 4) != prompts_of(PROMPTS, 1, 3, 4)

    def test_more_than_there_are(self) -> None:
        assert Counter(prompts_of(PROMPTS[:2], 0, 0, 5)).total() == 5
