"""Agreement on the order of candidates, against sums made by hand, and of a family with itself."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from tests.worker import tiny_families
from worker.evaluation.preview import Agreement, agreement, preview_agreement
from worker.models.load import load


def brightness(pictures: Tensor, prompts: Sequence[str]) -> Tensor:
    return pictures.float().flatten(1).mean(dim=1)


class TestAgreement:
    def test_it_counts_the_same_best_and_worst(self) -> None:
        by_vae = np.array([[1, 2, 3], [3, 2, 1], [1, 3, 2], [0, 1, 2]])
        by_preview = np.array([[10, 20, 30], [3, 1, 2], [1, 2, 3], [2, 1, 0]])
        found = agreement(by_vae, by_preview)
        assert (found.prompts, found.best, found.worst) == (4, 0.5, 0.5)
        assert found.correlation == pytest.approx((1 + 0.5 + 0.5 - 1) / 4)

    def test_prompts_without_an_order_are_left_out(self) -> None:
        found = agreement(np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]))
        assert (found.prompts, found.best) == (1, 1.0)

    def test_no_order_at_all_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="no order"):
            agreement(np.ones((3, 2)), np.ones((3, 2)))


class TestPreviewAgreement:
    def test_the_vae_agrees_with_itself(self, sd_folder: Path) -> None:
        family = load("sd", sd_folder, device="cpu")
        found = preview_agreement(family, brightness, ["a", "b", "c"], candidates=4, steps=2)
        assert found == Agreement(3, 1.0, 1.0, pytest.approx(1.0))
        assert family.counter.total.nfe == 3 * 4 * 2

    def test_another_decoder_is_heard(self, sd_folder: Path, tmp_path: Path) -> None:
        family = load("sd", sd_folder, device="cpu", preview_decoder=tiny_families.preview_decoder(tmp_path))
        assert preview_agreement(family, brightness, ["a", "b", "c"], candidates=4, steps=2).correlation < 1
