"""One training, as a generator of events: the child, a notebook and a test drive the same loop. Closing it cancels.

Nothing is written, logged or asked here: what the driver wants to keep, it takes from the events.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from service.domain.errors import JobFailure
from service.domain.recipes import Recipe
from worker.evaluation.draw import draw
from worker.models.counter import Counts
from worker.models.family import Family
from worker.rewards.reward import Reward
from worker.sharpening.beta import Beta
from worker.sharpening.step import step as sharpen
from worker.training.checkpoint import Progress, pack, unpack
from worker.training.data import prompts_of
from worker.training.events import Checkpointed, Event, Finished, Resumed, Sampled, Stepped, Warned
from worker.training.optimiser import Optimiser, learning_rate
from worker.training.world import backward_cost, settings_of, world_of

SHOWN_PROMPTS = 4


def train(
    base: Family,
    reward: Reward,
    recipe: Recipe,
    prompts: Sequence[str],
    *,
    resume: bytes | None = None,
    checkpoint_now: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Sharpen `base` on `prompts`; it must carry no trained adapter yet.

    `resume`: the data of a Checkpointed of the same recipe. `checkpoint_now` is asked after each step; where it says
    yes, that step's Stepped is followed by a Checkpointed, and the driver may close the generator then.
    Raises JobFailure: nan_loss, nan_latents, out_of_memory, reward_error, lora_targets, checkpoint_damaged,
    checkpoint_version.
    """
    method, settings = recipe.method, settings_of(recipe, base.latent_shape)
    parameters = base.add_adapter(recipe.lora.rank, recipe.lora.targets, recipe.seed)
    optimiser = Optimiser(parameters, method, recipe.steps)
    if resume is None:
        yield from (Warned(0, sentence) for sentence in base.truncations(prompts))
        beta = Beta() if method.beta == "auto" else Beta(method.beta, fixed=True)
        progress = Progress(0, Counts(), backward_cost(base, optimiser.values, prompts[0]), beta)
        if recipe.samples.every:
            yield sample(base, optimiser, recipe, prompts, 0)
    else:
        progress, tensors = unpack(resume)
        restore(optimiser, tensors)
        yield Resumed(progress.step)

    for update in range(progress.step, recipe.steps):
        started, before = clock(), base.counter.total
        with clear_failures(update + 1):
            chosen = prompts_of(prompts, recipe.seed, update, method.prompts_per_step)
            world = world_of(base, reward, optimiser.values, chosen, method.rollout_steps)
            done = sharpen(world, settings, progress.beta, update=update, prompts=len(chosen))
            norm = optimiser.apply(done.gradient, update) if done.gradient else None
        finite(update + 1, done.metrics.loss, norm)
        counts = progress.counts + (base.counter.total - before)
        progress = Progress(update + 1, counts, progress.backward_cost, done.beta)
        yield Stepped(
            step=progress.step,
            reward_mean=done.metrics.reward_mean,
            reward_best=done.metrics.reward_best,
            reward_worst=done.metrics.reward_worst,
            ties=done.metrics.ties,
            loss=done.metrics.loss,
            preference=done.metrics.preference,
            accuracy=done.metrics.accuracy,
            beta=done.beta.value,
            grad_norm=norm,
            learning_rate=learning_rate(method, update, recipe.steps),
            training_nfe=counts.nfe,
            training_fe=counts.fe(progress.backward_cost),
            decodes=counts.decodes,
            reward_calls=counts.reward_calls,
            seconds=clock() - started,
        )
        last = progress.step == recipe.steps
        if recipe.samples.every and (last or progress.step % recipe.samples.every == 0):
            yield sample(base, optimiser, recipe, prompts, progress.step)
        if last or progress.step % recipe.checkpoint_every == 0 or checkpoint_now():
            data = pack(progress, optimiser.tensors())
            yield Checkpointed(progress.step, data, hashlib.sha256(data).hexdigest())

    adapter = base.export(optimiser.average)
    counts = progress.counts
    yield Finished(
        step=progress.step,
        adapter=adapter,
        sha256=hashlib.sha256(adapter).hexdigest(),
        training_nfe=counts.nfe,
        training_fe=counts.fe(progress.backward_cost),
        decodes=counts.decodes,
        reward_calls=counts.reward_calls,
    )


def sample(base: Family, optimiser: Optimiser, recipe: Recipe, prompts: Sequence[str], step: int) -> Sampled:
    """The recipe's sample pictures, drawn with the average as it is now."""
    wanted, shown = recipe.samples, tuple(recipe.samples.prompts or prompts[:SHOWN_PROMPTS])
    seeds = tuple(range(len(shown)))
    with clear_failures(step), lent(optimiser.parameters, optimiser.average):
        drawn = draw(base, shown, seeds, guidance=wanted.guidance, steps=wanted.num_inference_steps)
    return Sampled(step, drawn.pictures, shown, seeds, wanted.guidance, wanted.num_inference_steps, drawn.nfe)


@contextmanager
def lent(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> Iterator[None]:
    """The parameters hold other values inside the block, and their own bits again after it."""
    own = {name: parameter.data for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        parameter.data = values[name]
    try:
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = own[name]


def restore(optimiser: Optimiser, tensors: Mapping[str, Tensor]) -> None:
    try:
        optimiser.restore(tensors)
    except (KeyError, RuntimeError) as error:
        raise JobFailure(
            f"the checkpoint is of another base model or LoRA layout: {error}", code="checkpoint_damaged"
        ) from error


def finite(step: int, *numbers: float | None) -> None:
    if not all(math.isfinite(number) for number in numbers if number is not None):
        raise JobFailure(
            f"the loss is not a number any more at step {step}: lower method.learning_rate, "
            "or train in fp32; the last checkpoint is from before that",
            code="nan_loss",
        )


@contextmanager
def clear_failures(step: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise JobFailure(
            f"the device's memory ran out at step {step}: lower method.micro_batch, or take a larger device",
            code="out_of_memory",
        ) from error
