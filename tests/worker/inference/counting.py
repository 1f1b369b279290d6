"""A base model that is only arithmetic: it counts its calls, tells whom it drew, and waits or fails where it is told to.

Its denoiser is one linear layer, so that adapters can be worn; a picture shows the sample's own noise and prompt.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from zlib import crc32

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from service.domain.catalogue import BaseModelEntry
from worker.inference.engine.requests import Draw, LoraFile, Worn
from worker.models.counter import Counter
from worker.models.ddim import Diffusion
from worker.models.family import Conditions

SIDE = 4


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Linear(SIDE, SIDE)

    def forward(self, latents: Tensor, text: Tensor) -> Tensor:
        return torch.tanh(self.mix(latents[:, 0]) + text)[:, None]


class CountingFamily:
    """The Family that the engine needs. `before_call(texts)` runs before each call of the denoiser, in the engine's thread.

    texts: the prompts of the call's rows, padding included, as they were asked for.
    """

    device, dtype, latent_shape, train_timesteps = torch.device("cpu"), torch.float32, (1, SIDE, SIDE), 1000
    embedded_guidance = None

    def __init__(self) -> None:
        self.denoiser, decoder = Denoiser().requires_grad_(False), nn.Identity()
        self.counter = Counter(self.denoiser, decoder)
        self.process = Diffusion(DDIMScheduler(clip_sample=False, steps_offset=1).config)
        self.calls: list[list[str]] = []
        self.before_call: Callable[[list[str]], None] = lambda texts: None
        self._decoder = decoder
        self._prompts: dict[int, str] = {}

    def encode(self, prompts: Sequence[str], negatives: Sequence[str] | None = None) -> Conditions:
        known = {crc32(prompt.encode()) % 2**20: prompt for prompt in prompts}
        self._prompts |= known
        numbers = torch.tensor(list(known), dtype=torch.float32).view(-1, 1, 1)
        return Conditions({"text": numbers}, {"text": torch.zeros_like(numbers)})

    def truncations(self, prompts: Sequence[str]) -> tuple[str, ...]:
        return ()

    def predict(
        self, latents: Tensor, t: float | Tensor, conditions: Conditions, guidance: float | Sequence[float] = 1.0
    ) -> Tensor:
        text = conditions.positive["text"]
        texts = [self._prompts[round(float(number))] for number in text.flatten()]
        self.before_call(texts)
        self.calls.append(texts)
        return self.denoiser(latents, text / 2**20)

    def decode(self, latents: Tensor) -> Tensor:
        unit = self._decoder(latents).clamp(-3, 3) / 6 + 0.5
        return (unit * 255).round().to(torch.uint8).permute(0, 2, 3, 1).expand(-1, -1, -1, 3)

    decode_preview = decode


def entry(name: str = "counting") -> BaseModelEntry:
    return BaseModelEntry(name=name, source=f"/{name}", family="sd", resolution=16)


def a_draw(prompt: str = "a", *, tenant: str = "local", base: str = "counting", **words: object) -> Draw:
    given = {"adapters": (), "negative": "", "count": 1, "seed": 7, "steps": 4, "guidance": 1.0, **words}
    return Draw(tenant=tenant, base=entry(base), prompt=prompt, **given)  # type: ignore[arg-type]


def a_file(name: str, *, rank: int = 2) -> LoraFile:
    generator = torch.Generator().manual_seed(sum(name.encode()))
    a, b = torch.randn((2, SIDE, rank), generator=generator)
    return LoraFile(f"{name}@1", f"digest-of-{name}", rank, {"mix": (a.T.contiguous(), b)})


def worn(name: str, *, weight: float = 1.0, rank: int = 2) -> Worn:
    """Loaded already."""
    future: Future[LoraFile] = Future()
    future.set_result(file := a_file(name, rank=rank))
    return Worn(future, file.reference, file.sha256, weight)


class Gate:
    """Holds the engine's thread before its next call until it is opened; `reached` tells that it stands there."""

    def __init__(self) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, texts: list[str]) -> None:
        self.reached.set()
        assert self.opened.wait(60)
