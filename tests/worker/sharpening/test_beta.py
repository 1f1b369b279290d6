"""β "auto" against its definition."""

import pytest
import torch

from worker.sharpening.beta import CALIBRATION_UPDATES, Beta, calibrated


class TestCalibrated:
    def test_is_the_reciprocal_of_the_median_gap_seen_so_far(self) -> None:
        first = calibrated(Beta(), 0, torch.tensor([-0.2, 0.0, 1.0]))
        assert first.value == pytest.approx(1 / 0.2)
        second = calibrated(first, 1, torch.tensor([0.1, 0.0]))
        assert second.value == pytest.approx(1 / 0.1)

    def test_is_fixed_after_the_first_updates(self) -> None:
        beta = Beta()
        for update in range(CALIBRATION_UPDATES):
            beta = calibrated(beta, update, torch.tensor([0.5]))
        assert beta == Beta(2.0, fixed=True)
        assert calibrated(beta, CALIBRATION_UPDATES, torch.tensor([9.0])) == beta

    def test_a_given_value_stays(self) -> None:
        assert calibrated(Beta(50.0, fixed=True), 0, torch.tensor([9.0])).value == 50.0
