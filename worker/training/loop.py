"""One training, as a generator of events: the child, a notebook and a test drive the same loop. Closing it cancels.

Nothing is written, logged or asked here: what the driver wants to keep, it takes from the events.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from service.domain.errors import JobFailure
from service.domain.recipes import Recipe
from worker.memory import told
from worker.models.counter import Counts
from worker.models.family import Family
from worker.rewards.reward import Reward
from worker.sharpening.update import Step
from worker.training.attention import without_cudnn
from worker.training.checkpoint import Progress, Snapshot, unpack
from worker.training.events import Checkpointed, Event, Finished, Resumed, Stepped, Warned
from worker.training.methods import memory_of, method_of, prompts_at
from worker.training.notices import Ties, beyond_slots, cuts
from worker.training.optimiser import Optimiser, learning_rate
from worker.training.trial import sample, validate
from worker.training.walks import check_walks
from worker.training.world import Images, backward_cost, no_images, world_of

Reason = Literal["completed", "guard", "max_nfe", "max_seconds"]


def train(
    base: Family,
    reward: Reward,
    recipe: Recipe,
    prompts: Sequence[str],
    *,
    images: Images = no_images,
    start: bytes | None = None,
    resume: bytes | None = None,
    checkpoint_now: Callable[[], bool] = lambda: False,
    out_of_time: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Event]:
    """Sharpen `base` on `prompts`; it must carry no trained adapter yet.

    `images`: the prompts' own pictures, for methods that take some. `start`: an exported adapter of the same layout to
    begin with; the reference stays the base. `resume`: the data of a Checkpointed of the same recipe. `checkpoint_now` is
    asked after each step; where it says yes, that step's Stepped is followed by a Checkpointed, and the driver may close
    the generator then. `out_of_time` is asked after each step, and before the first after a resume: yes ends the training
    there, with its adapter.
    Raises JobFailure: nan_loss, nan_latents, nan_pictures, out_of_memory, reward_error, lora_targets, start_adapter, walk_in_noise,
    checkpoint_damaged, checkpoint_version.
    """
    check_walks(base, recipe.method)
    embeds = base.embedded_guidance is not None
    method = method_of(
        recipe,
        base.latent_shape,
        embeds_guidance=embeds,
        free_guidance=base.free_guidance,
        on_gpu=base.device.type == "cuda",
    )
    parameters = base.add_adapter(recipe.lora.rank, recipe.lora.targets, recipe.seed)
    if start is not None:
        begin_with(parameters, base.read_adapter(start))
    optimiser = Optimiser(parameters, recipe.method, recipe.steps)
    if resume is None:
        yield from (Warned(0, sentence) for sentence in (*beyond_slots(recipe), *cuts(base, recipe, prompts)))
        progress = Progress(0, Counts(), backward_cost(base, optimiser.values, prompts[0]), memory_of(recipe.method))
        progress = yield from tried(base, reward, optimiser, recipe, prompts, progress, last=False)
    else:
        progress, tensors = unpack(resume)
        restore(optimiser, tensors)
        yield Resumed(progress.step)

    ties = Ties(recipe, len(prompts))
    reason = ended(recipe, progress) or ("max_seconds" if progress.step and out_of_time() else None)
    while reason is None:
        started, before, update = clock(), base.counter.total, progress.step
        with (
            clear_failures(update + 1),
            without_cudnn(),
            blaming_the_rate(update + 1, recipe.method.rate, after=update),
        ):
            places = prompts_at(recipe.method, len(prompts), recipe.seed, update)
            world = world_of(base, reward, parameters, [prompts[place] for place in places], images, update)
            done = method(world, progress.memory, update, places)
            norm = optimiser.apply(done.gradient, update) if done.gradient else None
        finite(update + 1, recipe.method.rate, done.metrics.loss, norm)
        counts = progress.counts + (base.counter.total - before)
        progress = replace(progress, step=update + 1, counts=counts, memory=done.memory)
        yield stepped(recipe, progress, done, norm, clock() - started)
        yield from (Warned(progress.step, sentence) for sentence in ties.after(learned=done.gradient is not None))
        reason = ended(recipe, progress) or ("max_seconds" if out_of_time() else None)
        progress = yield from tried(base, reward, optimiser, recipe, prompts, progress, last=reason is not None)
        reason = reason or ended(recipe, progress)
        if reason or progress.step % recipe.checkpoint_every == 0 or checkpoint_now():
            yield Checkpointed(progress.step, Snapshot.of(progress, optimiser.tensors()))

    keeps_best = recipe.validation is not None and recipe.validation.keep_best
    kept = optimiser.best if keeps_best else optimiser.average
    adapter = base.export(kept)
    yield Finished(
        step=progress.step,
        kept_step=progress.best.step if keeps_best else progress.step,
        reason=reason,
        adapter=adapter,
        kohya=base.export_kohya(kept),
        sha256=hashlib.sha256(adapter).hexdigest(),
        training_nfe=progress.counts.nfe,
        training_fe=progress.counts.fe(progress.backward_cost),
        decodes=progress.counts.decodes,
        reward_calls=progress.counts.reward_calls,
    )


def ended(recipe: Recipe, progress: Progress) -> Reason | None:
    """Why the training is over, as far as its own state says so: the same after a resume."""
    if progress.step >= recipe.steps:
        return "completed"
    if recipe.max_nfe is not None and progress.counts.nfe >= recipe.max_nfe:
        return "max_nfe"
    patience = recipe.validation.patience if recipe.validation else None
    return "guard" if patience is not None and progress.best.since >= patience else None


def tried(  # noqa: PLR0917 — the loop's own state
    base: Family,
    reward: Reward,
    optimiser: Optimiser,
    recipe: Recipe,
    prompts: Sequence[str],
    progress: Progress,
    *,
    last: bool,
) -> Iterator[Event]:
    """Validation and samples where this step is due for them; returns the progress with the best so far.

    Validation first: it may be what ends the job, and the last step has its samples.
    """
    step = progress.step
    with clear_failures(step), blaming_the_rate(step, recipe.method.rate, after=step):
        if recipe.validation and (last or step % recipe.validation.every == 0):
            seen = validate(base, reward, optimiser, recipe, prompts, step)
            best = progress.best.after(step, seen.reward)
            if best.step == step:
                optimiser.keep_best()
            progress = replace(progress, best=best)
            yield seen
        last = last or ended(recipe, progress) is not None
        if recipe.samples.every and (last or step % recipe.samples.every == 0):
            yield sample(base, optimiser, recipe, prompts, step)
    return progress


def stepped(recipe: Recipe, progress: Progress, done: Step, norm: float | None, seconds: float) -> Stepped:
    metrics, counts = done.metrics, progress.counts
    return Stepped(
        step=progress.step,
        reward_mean=metrics.reward_mean,
        reward_best=metrics.reward_best,
        reward_worst=metrics.reward_worst,
        ties=metrics.ties,
        loss=metrics.loss,
        preference=metrics.preference,
        accuracy=metrics.accuracy,
        beta=progress.memory.beta.value,
        grad_norm=norm,
        learning_rate=learning_rate(recipe.method, progress.step - 1, recipe.steps),
        training_nfe=counts.nfe,
        training_fe=counts.fe(progress.backward_cost),
        decodes=counts.decodes,
        reward_calls=counts.reward_calls,
        seconds=seconds,
    )


@torch.no_grad()
def begin_with(parameters: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy an exported adapter's tensors into the trainable ones."""
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    if shapes != {name: tuple(parameter.shape) for name, parameter in parameters.items()}:
        raise JobFailure(
            "the adapter to begin with has another layout: give this job the same lora.rank and lora.targets",
            code="start_adapter",
        )
    for name, parameter in parameters.items():
        parameter.copy_(values[name])


def restore(optimiser: Optimiser, tensors: Mapping[str, Tensor]) -> None:
    try:
        optimiser.restore(tensors)
    except (KeyError, RuntimeError) as error:
        raise JobFailure(
            f"the checkpoint is of another base model or LoRA layout: {error}", code="checkpoint_damaged"
        ) from error


def finite(step: int, rate: float, *numbers: float | None) -> None:
    if not all(math.isfinite(number) for number in numbers if number is not None):
        raise diverged("the loss is not a number any more", step, rate)


@contextmanager
def blaming_the_rate(step: int, rate: float, *, after: int) -> Iterator[None]:
    """What the untrained base drew with numbers in it, an adapter of `after` updates draws with none: its weights ran away."""
    try:
        yield
    except JobFailure as failure:
        if after == 0 or failure.code not in {"nan_latents", "nan_pictures"}:
            raise
        raise diverged("the model's pictures are not numbers any more", step, rate) from failure


def diverged(what: str, step: int, rate: float) -> JobFailure:
    return JobFailure(
        f"{what} at step {step}: lower method.learning_rate (it was {rate:g}), or train in fp32; what was stored before that is kept",
        code="nan_loss",
    )


def clear_failures(step: int) -> AbstractContextManager[None]:
    return told(
        f"ran out at step {step}: send gradient_checkpointing: true, lower method.micro_batch, or take a larger one"
    )
