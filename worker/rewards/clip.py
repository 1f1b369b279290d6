"""Cosine similarity of picture and prompt under a CLIPModel in transformers' folder format, with its own processor."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel

from service.domain.errors import JobFailure
from worker.memory import is_out_of_memory

CACHED_PROMPTS = 65_536


class Clip:
    """fp32 on the CPU, fp16 on a GPU. Texts are encoded once, one at a time: their bits do not depend on company."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        try:
            model = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=dtype)
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            raise JobFailure(
                f"the reward model in {folder.name} cannot be loaded as CLIP: {error}", code="reward_unloadable"
            ) from error
        self._model = model.to(device).eval()  # what fails here is the device, not the folder
        self._device = device
        self._text = lru_cache(CACHED_PROMPTS)(self._encode)

    @torch.no_grad()
    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        pixels = self._processor(list(pictures.numpy()), return_tensors="pt").pixel_values
        seen = self._model.get_image_features(pixels.to(self._device, self._model.dtype)).pooler_output
        said = torch.stack([self._text(prompt) for prompt in prompts])
        return (normalize(seen.float(), dim=-1) * said).sum(dim=-1).cpu()

    @torch.no_grad()
    def _encode(self, prompt: str) -> Tensor:
        tokens = self._tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt").to(self._device)
        return normalize(self._model.get_text_features(**tokens).pooler_output[0].float(), dim=-1)
