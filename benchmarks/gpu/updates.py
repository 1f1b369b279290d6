"""What an update costs on a GPU: the training loop as it is, on the real shapes, under a real CLIP's work."""

import gc
import time
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any

import torch

from benchmarks.contest import finished
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.recipes import Recipe
from worker.models.base import TRAINED, PipelineFamily
from worker.rewards.reward import Reward
from worker.training.events import Stepped
from worker.training.loop import train

CATALOGUE = Path(__file__).parents[2] / "catalogue.toml"
GIB = 2**30
PROMPTS = tuple(f"a photograph of number {number}" for number in range(64))
ROWS = (1, 8)
Row = dict[str, Any]


def entry(name: str) -> BaseModelEntry:
    return Catalogue.parse(CATALOGUE.read_text(encoding="utf-8"), root=PurePosixPath("/")).bases[name]


def recipe_of(name: str, targets: list[str], method: dict[str, Any], updates: int) -> Recipe:
    """The catalogue's base by the defaults but for `method`, with nothing drawn or kept beside the training."""
    recipe = Recipe.model_validate(
        {
            "base_model": name, "base": entry(name).model_dump(), "prompts": PROMPTS, "prompts_sha256": "",
            "prompt_count": len(PROMPTS), "reward": {"type": "jpeg-compressibility"},
            "method": method,
            "lora": {"targets": targets}, "steps": updates, "samples": {"every": 0}, "checkpoint_every": 100_000,
        }
    )  # fmt: skip
    return recipe.model_copy(update={"method": recipe.method.at(recipe.base)})


def measure(
    name: str, family: PipelineFamily, reward: Reward, method: dict[str, Any], *, updates: int, seconds: float
) -> Row:
    """Updates until there are so many or the time is up. The first one warms up and is not counted, if there is another.

    The family has no adapter before, and none after.
    """
    forget()
    recipe = recipe_of(name, [target for target, layers in family.groups.items() if layers], method, updates)
    until = time.monotonic() + seconds
    events = train(family, reward, recipe, PROMPTS, out_of_time=lambda: time.monotonic() > until)
    steps = [event for event in events if isinstance(event, Stepped)]
    family.drop_adapter(TRAINED)
    taken = [step.seconds for step in steps[1:] or steps]
    last, before = steps[-1], steps[-2] if len(steps) > 1 else None
    row = {
        "name": f"an update of {recipe.method.type}", "base": name, "method": method, "updates": len(taken), "warmed": len(steps) > 1,
        "seconds": round(median(taken), 3), "first_loss": round(steps[0].loss, 4),
        **{
            count: getattr(last, count) - (getattr(before, count) if before else 0)
            for count in ("training_nfe", "training_fe", "decodes", "reward_calls")
        },
        **peak(), "catalogue_gib": entry(name).memory_gib,
    }  # fmt: skip
    print(
        f"{name:12} {recipe.method.type:18} {row['seconds']:8.2f} s an update of {row['training_nfe']} NFE, "
        f"{row['decodes']} decodes; first loss {row['first_loss']}; {row['peak_gib']} GiB, {row['reserved_gib']} reserved, "
        f"{row['catalogue_gib']} in the catalogue", flush=True,
    )  # fmt: skip
    return row


@torch.no_grad()
def parts(name: str, family: PipelineFamily, reward: Reward, turns: int) -> list[Row]:
    """Where the time goes: a picture through the denoiser at several sizes of a call, through the VAE, through the reward."""
    conditions = family.encode(PROMPTS[:1])
    made = []
    for rows in ROWS:
        latents = torch.randn(rows, *family.latent_shape, device=family.device)
        worn = conditions[torch.zeros(rows, dtype=torch.long, device=family.device)]
        seconds = _median(lambda latents=latents, worn=worn: family.predict(latents, 500, worn), turns)
        made.append(_part(name, f"denoiser, {rows} rows a call", seconds / rows))
    latents = torch.randn(1, *family.latent_shape, device=family.device)
    pictures = family.decode(latents)
    made.append(_part(name, "VAE's decoder", _median(lambda: family.decode(latents), turns)))
    return [*made, _part(name, "reward", _median(lambda: reward(pictures, PROMPTS[:1]), turns))]


def _part(name: str, part: str, seconds: float) -> Row:
    print(f"{name:12} {part:24} {seconds * 1000:8.2f} ms a picture", flush=True)
    return {"name": f"{part}, a picture", "base": name, "seconds": round(seconds, 6)}


def _median(run: Any, turns: int) -> float:
    taken = []
    for _ in range(turns + 1):
        before = time.perf_counter()
        run()
        finished()
        taken.append(time.perf_counter() - before)
    return median(taken[1:])


def forget() -> None:
    """What the last base held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> dict[str, float]:
    """Of torch's tensors since `forget`, and of what was asked of the driver for them. CUDA's own half GiB comes on top."""
    return {
        "peak_gib": round(torch.cuda.max_memory_allocated() / GIB, 2),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / GIB, 2),
    }
