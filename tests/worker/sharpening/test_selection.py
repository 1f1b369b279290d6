"""The rules of choice, for any scores."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.sharpening.selection import TIE, best_and_worst

scores_of_one_prompt = st.lists(st.integers(-50, 50), min_size=2, max_size=8)
SEEDS = torch.tensor([[901, 17, 455, 3, 77, 250, 618, 42]])


def chosen_seeds(scores: list[float], seeds: torch.Tensor) -> list[tuple[int, int]]:
    pairs = best_and_worst(torch.tensor([scores], dtype=torch.float64), seeds)
    return [
        (seeds[0, best].item(), seeds[0, worst].item()) for best, worst in zip(pairs.best, pairs.worst, strict=True)
    ]


class TestBestAndWorst:
    @given(scores_of_one_prompt, st.randoms())
    def test_permuting_candidates_with_their_seeds_changes_no_choice(self, scores, random) -> None:
        order = random.sample(range(len(scores)), len(scores))
        shuffled = [scores[place] for place in order]
        assert chosen_seeds(scores, SEEDS[:, : len(scores)]) == chosen_seeds(shuffled, SEEDS[:, order])

    @given(scores_of_one_prompt, st.integers(1, 9), st.integers(-9, 9))
    def test_an_increasing_affine_change_of_rewards_changes_no_choice(self, scores, factor, shift) -> None:
        seeds = SEEDS[:, : len(scores)]
        assert chosen_seeds(scores, seeds) == chosen_seeds([factor * score + shift for score in scores], seeds)

    @given(scores_of_one_prompt)
    def test_best_and_worst_are_the_extremes(self, scores) -> None:
        pairs = best_and_worst(torch.tensor([scores], dtype=torch.float64), SEEDS[:, : len(scores)])
        if max(scores) == min(scores):
            assert len(pairs.prompt) == 0
        else:
            assert (scores[pairs.best], scores[pairs.worst]) == (max(scores), min(scores))

    def test_a_tie_gives_no_pair(self) -> None:
        assert chosen_seeds([0.5, 0.5 + TIE / 2, 0.5], SEEDS[:, :3]) == []
        assert len(chosen_seeds([0.5, 0.5 + 2 * TIE, 0.5], SEEDS[:, :3])) == 1

    def test_equals_are_told_apart_by_the_smaller_seed(self) -> None:
        assert chosen_seeds([1, 1, 0, 0], SEEDS[:, :4]) == [(17, 3)]

    def test_each_prompt_is_judged_by_itself(self) -> None:
        scores = torch.tensor([[0.0, 1.0], [100.0, 100.0], [9.0, 5.0]], dtype=torch.float64)
        pairs = best_and_worst(scores, SEEDS[:, :2].expand(3, 2))
        assert pairs.prompt.tolist() == [0, 2]
        assert (pairs.best.tolist(), pairs.worst.tolist()) == ([1, 0], [0, 1])
