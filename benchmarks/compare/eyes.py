"""What the frozen CLIP sees, once for all judges: its embedding (score, diversity) and its patches (the preference model).

The same arithmetic as `worker/rewards/clip.py` on 64-pixel pictures, without the detour through PIL.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoTokenizer, CLIPModel

from benchmarks.compare.world import CLIP

BATCH = 128
TOKENS = 12
"""Of the longest prompt of the small world, with start and end, rounded up."""


class Seen(NamedTuple):
    """B pictures: unit embeddings [B, 64] and the vision tower's last states [B, 65, 96], float32."""

    embedding: Tensor
    patches: Tensor


class Said(NamedTuple):
    """A prompt: its unit embedding [64], the text tower's last states [12, 96], and which of them are words, bool [12]."""

    embedding: Tensor
    states: Tensor
    words: Tensor


class Eyes:
    def __init__(self) -> None:
        self._model = CLIPModel.from_pretrained(CLIP, local_files_only=True, dtype=torch.float32).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(CLIP, local_files_only=True)
        self.said = lru_cache(8192)(self._said)

    @torch.no_grad()
    def see(self, pictures: np.ndarray | Tensor) -> Seen:
        """pictures uint8 [B, 64, 64, 3]."""
        parts = [self._see(part) for part in torch.as_tensor(pictures).split(BATCH)]
        return Seen(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def scores(self, seen: Seen, prompts: Sequence[str]) -> Tensor:
        """Cosine of each picture with its prompt, float32 [B]."""
        return (seen.embedding * torch.stack([self.said(prompt).embedding for prompt in prompts])).sum(-1)

    def _see(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        pixels = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
        tower = self._model.vision_model(pixel_values=pixels)
        return normalize(self._model.visual_projection(tower.pooler_output), dim=-1), tower.last_hidden_state

    @torch.no_grad()
    def _said(self, prompt: str) -> Said:
        read = self._tokenizer(prompt, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
        tower = self._model.text_model(input_ids=read.input_ids)
        embedding = normalize(self._model.text_projection(tower.pooler_output), dim=-1)
        return Said(embedding[0], tower.last_hidden_state[0], read.attention_mask[0].bool())


@cache
def eyes() -> Eyes:
    """One pair for the process."""
    return Eyes()
