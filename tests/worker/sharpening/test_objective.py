"""The loss on errors alone."""

import math

import pytest
import torch

from worker.sharpening.objective import error, preference_logit, preference_loss

PAIR = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
REFERENCE = torch.tensor([[0.4, 0.6], [0.02, 0.01]])


class TestPreferenceLogit:
    def test_is_zero_where_the_policy_is_the_reference(self) -> None:
        assert preference_logit(REFERENCE, REFERENCE, PAIR, beta=100.0).tolist() == [0, 0]

    def test_is_positive_where_the_best_became_likelier_than_the_worst(self) -> None:
        better = REFERENCE + torch.tensor([-0.1, 0.1])
        assert (preference_logit(better, REFERENCE, PAIR, beta=2.0) > 0).all()
        assert preference_logit(better, REFERENCE, PAIR, beta=2.0)[0].item() == pytest.approx(2 * (0.1 + 0.1) / 0.5)

    def test_has_no_unit(self) -> None:
        """ε-errors, v-errors and another noise level differ by a factor; the preference does not."""
        policy = REFERENCE * torch.tensor([0.9, 1.2])
        torch.testing.assert_close(
            preference_logit(7 * policy, 7 * REFERENCE, PAIR, beta=3.0),
            preference_logit(policy, REFERENCE, PAIR, beta=3.0),
        )


class TestPreferenceLoss:
    def test_log_2_at_indifference_and_falling(self) -> None:
        losses = preference_loss(torch.tensor([-1.0, 0.0, 1.0])).tolist()
        assert losses[1] == pytest.approx(math.log(2))
        assert losses[0] > losses[1] > losses[2]


class TestError:
    def test_is_the_mean_over_a_latents_elements(self) -> None:
        prediction = torch.zeros(2, 2, 3, 3)
        assert error(prediction, prediction + torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)).tolist() == [1, 4]
