"""Runs the training loop for the parent, from Begin to the last word: loads the models, then tells of a training or a replay.

The loop knows nothing of files, pipes and stops; the parent nothing of tensors. Here is where the two meet.
"""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import cast

import torch

from service.domain.errors import JobFailure
from service.domain.methods import SharpeningSFT
from service.domain.recipes import Recipe
from worker import pipe
from worker.child.account import Account, hardware_of
from worker.child.breath import Breath
from worker.child.failures import fitting
from worker.child.replay import Replay, quiet
from worker.child.teller import AskedToStop, Say, Teller
from worker.models.load import load, pick_device
from worker.rewards.make import make
from worker.training.checkpoint import account_of
from worker.training.events import Event
from worker.training.loop import train
from worker.training.pictures import Pictures
from worker.training.world import Images, no_images


def run(begin: pipe.Begin, say: Say, stop: AskedToStop) -> None:
    """Raises what the models and the loop raise; the caller says Failed."""
    torch.set_num_threads(begin.threads)
    recipe = Recipe.model_validate(begin.recipe)
    prompts = Path(begin.prompts_path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    breath = Breath(say)
    images = own_pictures(begin, recipe, breath)
    device = torch.device("cpu") if recipe.replay else pick_device(begin.device)
    with fitting(f"base model {recipe.base.name!r}"):
        base = load(
            recipe.base.family,
            Path(begin.base_path),
            device=str(device),
            dtype=recipe.dtype,
            resolution=recipe.base.resolution,
            preview_decoder=Path(recipe.base.preview_decoder) if recipe.method.preview == "taesd" else None,
            guidance=recipe.base.guidance_scale,
            parks_text=device.type
            == "cuda",  # elsewhere the device's memory is the machine's, and a copy would add to it
        )
    breath.take()
    breath.with_calls_of(base.denoiser, base.vae.decoder)
    if recipe.gradient_checkpointing or base.recomputes:
        base.enable_gradient_checkpointing()
    folder = Path(begin.reward_model_path) if begin.reward_model_path else None
    with fitting("reward model"):
        reward = make(recipe.reward, folder=folder, device=base.device)
    breath.take()
    checkpoint = Path(begin.checkpoint_path).read_bytes() if begin.checkpoint_path else None
    driver = _driver(begin, recipe, say, stop, base.device, checkpoint)
    if checkpoint is None:
        say(pipe.Ready(_name(base.device), None))
    events = train(
        base,
        reward,
        quiet(recipe) if recipe.replay else recipe,
        prompts,
        images=images,
        start=Path(begin.start_path).read_bytes() if begin.start_path else None,
        resume=checkpoint,
        checkpoint_now=driver.wants_checkpoint,
        out_of_time=driver.is_out_of_time,
    )
    with closing(cast("Generator[Event]", events)):
        driver.tell(events)


def own_pictures(begin: pipe.Begin, recipe: Recipe, breath: Breath) -> Images:
    """The job's own pictures, all decoded once. Raises JobFailure `image_unreadable`."""
    if begin.images_path is None:
        return no_images
    method = recipe.method
    one = isinstance(method, SharpeningSFT) and method.selection_among == "noisings"
    most = 1 if one else method.candidates
    pictures = Pictures.read(Path(begin.images_path), side=recipe.base.resolution, most=most, seed=recipe.seed)
    pictures.check(breath.take)
    return pictures


def _driver(  # noqa: PLR0917 — what a training is told with
    begin: pipe.Begin, recipe: Recipe, say: Say, stop: AskedToStop, device: torch.device, checkpoint: bytes | None
) -> Teller | Replay:
    if recipe.replay is not None:
        if checkpoint is None or begin.goal_path is None:
            raise JobFailure("a certificate needs the checkpoint to begin with and the one to meet", code="no_replay")
        goal = Path(begin.goal_path).read_bytes()
        return Replay(
            say,
            stop,
            to_step=recipe.replay.to_step,
            device=_name(device),
            hardware=hardware_of(device),
            start=checkpoint,
            goal=goal,
        )
    return Teller(
        Path(begin.scratch),
        say,
        stop,
        steps=recipe.steps,
        max_seconds=recipe.max_seconds,
        max_nfe=recipe.max_nfe,
        device=_name(device),
        hardware=hardware_of(device),
        account=Account.read(account_of(checkpoint)) if checkpoint else Account(),
    )


def _name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
