"""Minus the kilobytes of the picture as JPEG: DDPO's compressibility (arXiv 2305.13301, §5.1). Blind to the prompt."""

from collections.abc import Sequence
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor


class JpegCompressibility:
    def __init__(self, quality: int = 95) -> None:
        self._quality = quality

    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        return torch.tensor([-self._kilobytes(picture) for picture in pictures])

    def _kilobytes(self, picture: Tensor) -> float:
        file = BytesIO()
        Image.fromarray(picture.numpy()).save(file, "JPEG", quality=self._quality)
        return file.tell() / 1000
