"""The two controls that learn from renders in place of the base's own pictures, by the ordinary denoising loss on a LoRA.

more-pretraining: scenes and captions as the base was trained on (captions that place badly): is the base converged?
sft-on-renders: true renders of the train prompts, captions right: what data of that quality, which nobody has, would do.
Same LoRA layout, optimiser, average and counting as every other row. A few dozen lines of loop, not a method of the service.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from benchmarks.compare.updates import Done, Kept, Update
from examples.shapes import autoencoder
from examples.shapes.data import mirrored, miscaptioned, pictures, random_scene
from examples.shapes.unet import DROPPED, MISREAD, WEB
from service.domain.methods import Trained
from worker.models.counter import Counts
from worker.models.family import Family
from worker.shapes.scene import parse
from worker.shapes.splits import prompts
from worker.sharpening.objective import error
from worker.sharpening.rng import generator
from worker.training.optimiser import Optimiser

PICTURES = 4_096


def train(
    family: Family, recipe: Mapping[str, Any], resume: bytes | None, wanted: Any
) -> Iterator[Update | Kept | Done]:
    """The events of `updates.py`. recipe: renders, pictures_per_step, learning_rate, rank, targets, steps, seed."""
    steps, seed, rows = recipe["steps"], recipe["seed"], recipe["pictures_per_step"]
    parameters = family.add_adapter(recipe["rank"], recipe["targets"], seed)
    optimiser = Optimiser(parameters, Trained(learning_rate=recipe["learning_rate"]), steps)
    latents, captions = data(family, recipe["renders"], seed)
    step, counts, cost = 0, Counts(), backward_cost(family, optimiser.values)
    if resume is not None:
        with_header, tensors = header(resume), safetensors.torch.load(resume)
        step, counts = with_header["step"], Counts(**with_header["counts"])
        optimiser.restore(tensors)
    while step < steps:
        before = family.counter.total
        loss = denoising_loss(family, latents, captions, generator(seed, step, 0, "denoising"), rows)
        optimiser.apply(torch.autograd.grad(loss, optimiser.values), step)
        counts, step = counts + (family.counter.total - before), step + 1
        yield Update(step, counts.nfe, counts.fe(cost), 0, 0)
        if step == steps or wanted():
            yield Kept(step, kept(step, counts, optimiser.tensors()), family.export(optimiser.average))
    yield Done(step, family.export(optimiser.average))


def denoising_loss(family: Family, latents: Tensor, captions: list[str], chance: torch.Generator, rows: int) -> Tensor:
    """Mean squared error of ε at noise levels of which three quarters lie above the middle, as in pre-training."""
    picked = torch.randint(len(latents), (rows,), generator=chance)
    half = family.train_timesteps // 2
    low = torch.where(torch.rand(rows, generator=chance) < 0.5, 0, half)
    t = low + ((family.train_timesteps - low) * torch.rand(rows, generator=chance)).long()
    dropped = (torch.rand(rows, generator=chance) < DROPPED).tolist()
    said = ["" if drop else captions[place] for place, drop in zip(picked.tolist(), dropped, strict=True)]
    clean, noise = latents[picked], torch.randn((rows, *family.latent_shape), generator=chance)
    prediction = family.predict(family.renoise(clean, noise, t), t, family.encode(said))
    return error(prediction, family.target(clean, noise, t)).mean()


def data(family: Any, renders: str, seed: int) -> tuple[Tensor, list[str]]:
    """Scaled latents [n, 8, 8, 8] and a caption of each."""
    rng = np.random.default_rng(seed + 77)
    if renders == "web":
        scenes = [random_scene(rng) for _ in range(PICTURES)]
        captions = [mirrored(miscaptioned(scene, MISREAD, rng), WEB.mirrored, rng).prompt for scene in scenes]
    else:
        texts = prompts("train")
        captions = [texts[place % len(texts)] for place in range(PICTURES)]
        scenes = [parse(caption) for caption in captions]
    vae = family.pipeline.vae
    parts = [scenes[start : start + 256] for start in range(0, PICTURES, 256)]
    with torch.random.fork_rng():  # the encoder draws from its posterior
        torch.manual_seed(seed)
        encoded = torch.cat([autoencoder.encode(vae, pictures(part, rng)) for part in parts])
    return encoded * vae.config.scaling_factor, captions


def backward_cost(family: Family, values: tuple[Tensor, ...]) -> float:
    nothing, empty = torch.zeros((1, *family.latent_shape)), family.encode([""])
    return family.counter.backward_cost(lambda: family.predict(nothing, 0, empty), values)


def kept(step: int, counts: Counts, tensors: Mapping[str, Tensor]) -> bytes:
    return safetensors.torch.save(dict(tensors), metadata={"run": json.dumps({"step": step, "counts": asdict(counts)})})


def header(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")
    found: dict[str, Any] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["run"])
    return found
