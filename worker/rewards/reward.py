"""What a reward is to the worker: a function of a batch of pictures and their prompts, checked at the border."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from service.domain.errors import JobFailure


class Reward(Protocol):
    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        """uint8 [B, H, W, 3] on the CPU → float32 [B] on the CPU; higher is better. Row i depends on row i alone."""


class Checked:
    """A reward that never returns nonsense: words, NaN or a wrong count end the job with a sentence."""

    def __init__(self, name: str, reward: Reward) -> None:
        self._name, self._reward = name, reward

    @torch.no_grad()
    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        given = self._reward(pictures, prompts)
        try:
            scores = torch.as_tensor(given, dtype=torch.float32).cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise JobFailure(
                f'the reward "{self._name}" gave {str(given)[:80]!r}, which are no numbers; it must give one a picture',
                code="reward_error",
            ) from error
        if scores.shape != (len(prompts),):
            raise JobFailure(
                f'the reward "{self._name}" gave {list(scores.shape)} numbers for {len(prompts)} pictures; '
                "it must give one for each",
                code="reward_error",
            )
        wrong = torch.nonzero(~scores.isfinite()).flatten().tolist()
        if wrong:
            raise JobFailure(
                f'the reward "{self._name}" gave {scores[wrong[0]].item()} for the prompt {prompts[wrong[0]][:80]!r}; '
                "it must be finite: leave that prompt out, or look at the reward model",
                code="reward_error",
            )
        return scores
