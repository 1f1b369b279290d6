"""The exact oracle of the small world as a reward: a perfect judge, for tests and comparisons."""

from collections.abc import Sequence

import torch
from torch import Tensor

from service.domain.errors import JobFailure
from worker.shapes.oracle import judge
from worker.shapes.scene import parse


class SceneOracle:
    """The share of a scene's facts that the picture shows; with `exact`, 1 where all of them are there, else 0."""

    def __init__(self, exact: bool = False) -> None:
        self._exact = exact

    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        try:
            seen = [judge(picture, parse(prompt)) for picture, prompt in zip(pictures.numpy(), prompts, strict=True)]
        except ValueError as error:
            raise JobFailure(f'the reward "scene" judges the small world only: {error}', code="reward_error") from error
        return torch.tensor([float(one.exact if self._exact else one.partial) for one in seen])
