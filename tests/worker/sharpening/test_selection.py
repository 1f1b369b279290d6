"""The rules of choice, for any scores."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.sharpening.selection import TIE, best, preferred

scores_of_one_prompt = st.lists(st.integers(-50, 50), min_size=2, max_size=8)
SEEDS = torch.tensor([[901, 17, 455, 3, 77, 250, 618, 42]])


def chosen_seeds(scores: list[float], seeds: torch.Tensor) -> list[tuple[int, int]]:
    pairs = preferred(torch.tensor([scores], dtype=torch.float64), seeds)
    return [(seeds[0, high].item(), seeds[0, low].item()) for high, low in pairs.place]


class TestPreferred:
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
        pairs = preferred(torch.tensor([scores], dtype=torch.float64), SEEDS[:, : len(scores)])
        if max(scores) == min(scores):
            assert len(pairs.prompt) == 0
        else:
            assert [scores[place] for place in pairs.place[0]] == [max(scores), min(scores)]

    def test_a_tie_gives_no_pair(self) -> None:
        assert chosen_seeds([0.5, 0.5 + TIE / 2, 0.5], SEEDS[:, :3]) == []
        assert len(chosen_seeds([0.5, 0.5 + 2 * TIE, 0.5], SEEDS[:, :3])) == 1

    def test_equals_are_told_apart_by_the_smaller_seed(self) -> None:
        assert chosen_seeds([1, 1, 0, 0], SEEDS[:, :4]) == [(17, 3)]

    def test_each_prompt_is_judged_by_itself(self) -> None:
        scores = torch.tensor([[0.0, 1.0], [100.0, 100.0], [9.0, 5.0]], dtype=torch.float64)
        pairs = preferred(scores, SEEDS[:, :2].expand(3, 2))
        assert pairs.prompt.tolist() == [0, 2]
        assert pairs.place.tolist() == [[1, 0], [0, 1]]


class TestPathWeights:
    @given(scores_of_one_prompt)
    def test_towards_temperature_zero_it_is_best_against_worst(self, scores) -> None:
        """Eq. 8: whatever the weights are on equals, together they are all of the weight."""
        values = torch.tensor([scores], dtype=torch.float64)
        seeds = SEEDS[:, : len(scores)]
        weighted, pairs = preferred(values, seeds, temperature=1e-4), preferred(values, seeds)
        assert weighted.prompt.tolist() == pairs.prompt.tolist()
        for weight in weighted.weight:
            high, low = values[0] == max(scores), values[0] == min(scores)
            torch.testing.assert_close(weight[high].sum(), torch.tensor(1.0, dtype=torch.float64))
            torch.testing.assert_close(weight[low].sum(), torch.tensor(-1.0, dtype=torch.float64))
            assert weight[~(high | low)].abs().sum() < 1e-6

    def test_towards_temperature_zero_the_best_has_all_the_weight(self) -> None:
        values = torch.tensor([[0.3, 0.9, 0.1]], dtype=torch.float64)
        assert best(values, SEEDS[:, :3], temperature=1e-4).weight.tolist() == [[0, 1, 0]]
        assert best(values, SEEDS[:, :3]).place.tolist() == [[1]]

    @given(scores_of_one_prompt, st.integers(1, 9), st.integers(-9, 9))
    def test_an_increasing_affine_change_of_rewards_changes_no_weight(self, scores, factor, shift) -> None:
        seeds = SEEDS[:, : len(scores)]
        one, two = (
            preferred(torch.tensor([values], dtype=torch.float64), seeds, temperature=0.5).weight
            for values in (scores, [factor * score + shift for score in scores])
        )
        torch.testing.assert_close(one, two)

    def test_weights_grow_exponentially_with_the_score(self) -> None:
        values = torch.tensor([[0.0, 1.0, 3.0]], dtype=torch.float64)
        weight = best(values, SEEDS[:, :3], temperature=2.0).weight[0]
        deviation = values.std(correction=0)
        expected = torch.tensor([1.0, 3.0]).double() / (2 * deviation)
        torch.testing.assert_close((weight[1:] / weight[0]).log(), expected)
