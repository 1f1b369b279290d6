"""What is FLUX's own: guidance as an input, and none at all."""

from collections.abc import Callable

import torch

from tests.worker.models.plain import PROMPTS, SEEDS
from worker.evaluation.draw import draw, noise
from worker.models.base import PipelineFamily

LoadKind = Callable[..., PipelineFamily]


def predicted(family: PipelineFamily, guidance: float) -> torch.Tensor:
    with torch.no_grad():
        return family.predict(noise(family, SEEDS), 500, family.encode(PROMPTS), guidance)


class TestGuidance:
    def test_dev_feeds_it_in_one_forward(self, load_kind: LoadKind) -> None:
        family = load_kind("flux-dev")
        assert draw(family, PROMPTS, SEEDS, guidance=7.0, steps=3).nfe == 3
        assert not torch.equal(predicted(family, 7.0), predicted(family, 2.0))

    def test_to_ask_dev_for_none_is_to_ask_for_its_habit(self, load_kind: LoadKind) -> None:
        """So that rollouts, losses and drawings that leave it at 1 feed the same embedding."""
        family = load_kind("flux-dev")
        assert family.embedded_guidance == 3.5
        assert torch.equal(predicted(family, 1.0), predicted(family, 3.5))

    def test_schnell_ignores_it(self, load_kind: LoadKind) -> None:
        family = load_kind("flux-schnell")
        assert family.embedded_guidance is None
        assert torch.equal(predicted(family, 7.0), predicted(family, 1.0))

    def test_negatives_have_no_meaning(self, load_kind: LoadKind) -> None:
        conditions = load_kind("flux-dev").encode(PROMPTS, ["grey"] * 3)
        assert not conditions.negative
        assert len(conditions[1:]) == 2
