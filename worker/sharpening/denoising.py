"""The ordinary denoising loss on chosen states, weighted, with an anchor to the reference: positive-only training.

L = Σ w (‖ε_θ − target‖² + anchor · ‖ε_θ − ε_ref‖²), both mean squares over elements. Without the anchor positive-only
training drifts from the base until it collapses (FACTS of the small worlds: docs/experiments.md).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.sharpening.comparison import renoised
from worker.sharpening.gradient import accumulated
from worker.sharpening.objective import error
from worker.sharpening.pool import Pool
from worker.sharpening.selection import Chosen
from worker.sharpening.update import Memory, Step, judged
from worker.sharpening.world import Settings, World


@dataclass(frozen=True, slots=True)
class Examples:
    """R states with what the model should say there."""

    prompt: Tensor  # int64 [R]
    t: Tensor  # int64 [R]
    states: Tensor  # x_t [R, C, H, W]
    target: Tensor  # [R, C, H, W]
    weight: Tensor  # float32 [R]

    def __len__(self) -> int:
        return len(self.t)


def denoising_gradient(
    world: World, settings: Settings, examples: Examples, anchor: float
) -> tuple[tuple[Tensor, ...], float]:
    """(∇θ of the mean over the R rows of w·(error + anchor · distance), that mean)"""

    def terms(rows: slice) -> tuple[Tensor, ...]:
        x, t, prompt = examples.states[rows], examples.t[rows], examples.prompt[rows]
        prediction = world.denoise(x, t, prompt, settings.loss_guidance)
        loss = error(prediction, examples.target[rows])
        if anchor:
            with torch.no_grad(), world.reference():
                base = world.denoise(x, t, prompt, settings.loss_guidance)
            loss = loss + anchor * error(prediction, base)
        return (examples.weight[rows] * loss,)

    gradient, (loss,) = accumulated(world, len(examples), settings.micro_batch, terms)
    return gradient, loss.mean().item()


def fitted(  # noqa: PLR0917 — an update's parts, in their order
    settings: Settings, anchor: float, world: World, memory: Memory, update: int, pool: Pool, chosen: Chosen
) -> Step:
    """The denoising loss on the chosen pictures of a pool, each at J levels of its own; a prompt's weights have mean 1."""
    seen = replace(judged(pool.rewards[..., -1]), ties=len(pool.scores) - len(chosen))
    if not len(chosen):
        return Step(None, memory, seen)
    states = renoised(world, settings, update, pool.clean, pool.kept(chosen))
    c = states.clean.shape[1]
    clean = states.clean.flatten(0, 1)
    prompt, t, noise = (part.repeat_interleave(c, dim=0) for part in (states.prompt, states.t, states.noise))
    examples = Examples(
        prompt, t, world.renoise(clean, noise, t), world.target(clean, noise, t), states.weight.flatten()
    )
    gradient, loss = denoising_gradient(world, settings, examples, anchor)
    return Step(gradient, memory, replace(seen, loss=loss))
