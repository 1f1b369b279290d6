"""One update of Diffusion-Sharpening in its SFT form: Algorithm 1 of arXiv 2502.12146.

For each prompt c, with its group of n clean latents x_0 (its own pictures, filled up by pictures of the frozen base):
  1. draw one t; noise each member: x_t = q(x_0, ε), ε shared by the group
  2. walk m sampler steps from each with the policy as it is, without gradients
  3. judge a member by its trajectory: S = Σ R(x̂_0(x_t), c) over its m states                                 (Eq. 8)
  4. the best one's m states get the denoising loss, averaged                                                 (Eq. 9)
  5. the target at a state is the noise that leads from x_0 to it, and the loss there is weighted by SNR_1/SNR_k
  6. plus the anchor: the squared distance to the base's prediction at the same states

Where we leave the paper, and why (docs/paper.md has the test of each):
  i. Candidates are different pictures, not noisings of one (`among_noisings` is the paper's rule): a deterministic walk
     from a noising leads back to the same x_0, so the rule can only prefer pictures that normally score low.
  j. The consistent target. Step k's state is self-generated; ε, which was put in at step 1, no longer leads from x_0 to
     it. The noise that does is ε̂ + r(ε − ε̂), r = √(SNR_k/SNR_{k−1}); it multiplies the error by the product of r², which
     the weight takes out again.
  k. `states: rollout`, where nobody brought pictures: a member is judged by S over the last m states of the rollout that
     drew it, once, and the best one gets the denoising loss at J fresh levels (`rollout_step`). No walks, and every level is
     learned.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worker.sharpening.denoising import Examples, denoising_gradient, fitted
from worker.sharpening.pool import pooled, replace_prompts
from worker.sharpening.rng import generator
from worker.sharpening.selection import all_places, best, best_alone
from worker.sharpening.trajectory import Trajectories, starts, walk_from
from worker.sharpening.update import Memory, Step, judged
from worker.sharpening.world import Settings, World


def sft_step(  # noqa: PLR0917 — two hyper-parameters, then what every method takes
    settings: Settings, anchor: float, among_noisings: bool, world: World, memory: Memory, update: int,
    prompts: Sequence[int],
) -> Step:  # fmt: skip
    """One update."""
    n = settings.candidates
    memory, groups = members(world, settings, memory, prompts, 1 if among_noisings else n)
    groups = groups.expand(-1, n, -1, -1, -1)
    count = len(prompts)
    clean = groups.flatten(0, 1)
    noise = noisings(world, settings, update, count, own=among_noisings)
    rows = torch.arange(count).repeat_interleave(n)
    walked = walk_from(
        world, settings, clean, noise, starts(world, settings, update, count)[rows], rows.to(world.device)
    )
    rewards = walked.rewards.view(count, n, -1)
    seeds = torch.arange(n).expand(count, n)  # of equals the first member
    chosen = best(rewards.sum(dim=-1), seeds, settings.temperature)
    seen = replace(judged(rewards[..., -1]), ties=count - len(chosen))
    if not len(chosen):
        return Step(None, memory, seen)
    flat = (chosen.prompt.unsqueeze(1) * n + chosen.place).flatten()
    prompt = chosen.prompt.repeat_interleave(chosen.place.shape[1])
    weight = (chosen.weight * chosen.place.shape[1]).flatten()  # so that a prompt's weights have mean 1
    examples = consistent(world, clean[flat], walked, flat, prompt, weight)
    gradient, loss = denoising_gradient(world, settings, examples, anchor)
    return Step(gradient, memory, replace(seen, loss=loss))


def rollout_step(  # noqa: PLR0917 — a hyper-parameter, then what every method takes
    settings: Settings, anchor: float, world: World, memory: Memory, update: int, prompts: Sequence[int]
) -> Step:
    """One update on prompts alone."""
    keep = best_alone if settings.temperature is None else all_places
    memory, pool = pooled(world, settings, memory, prompts, keep, judged=settings.trajectory_length)
    chosen = best(pool.scores, pool.seeds, settings.temperature)
    weighed = replace(chosen, weight=chosen.weight * chosen.place.shape[1])  # so that a prompt's weights have mean 1
    return fitted(settings, anchor, world, memory, update, pool, weighed)


def consistent(  # noqa: PLR0917 — rows of one table
    world: World, clean: Tensor, walked: Trajectories, flat: Tensor, prompt: Tensor, weight: Tensor
) -> Examples:
    """The chosen walks' states as examples: the target is consistent with x_0 at each, the weight is w·SNR_1/SNR_k."""
    states, t = walked.states[flat], walked.t[flat]
    m = states.shape[1]
    x, times, x_0 = states.flatten(0, 1), t.flatten(), clean.repeat_interleave(m, dim=0)
    signal, spread = world.coefficients(times)
    noise = (x - signal * x_0) / spread
    snr = (signal / spread).square().view(-1, m)
    fade = (snr[:, :1] / snr).clamp(max=1).flatten()
    return Examples(
        prompt=prompt.repeat_interleave(m).to(world.device),
        t=times,
        states=x,
        target=world.target(x_0, noise, times),
        weight=weight.repeat_interleave(m).float().to(world.device) * fade.float(),
    )


def members(
    world: World, settings: Settings, memory: Memory, prompts: Sequence[int], size: int
) -> tuple[Memory, Tensor]:
    """Each prompt's group [P, size, C, H, W]: its own pictures first, then as many of the base's as it lacks, drawn once."""
    own = [world.images(place)[:size] for place in range(len(prompts))]
    lacking = [size - len(pictures) for pictures in own]
    for count in sorted(set(lacking) - {0}):
        places = [place for place, lacks in enumerate(lacking) if lacks == count]
        memory, pool = pooled(
            replace_prompts(world, torch.tensor(places)), replace(settings, candidates=count), memory,
            [prompts[place] for place in places], judged=0,
        )  # fmt: skip
        for place, clean in zip(places, pool.clean, strict=True):
            own[place] = torch.cat([own[place].to(clean), clean])
    return memory, torch.stack(own)


def noisings(world: World, settings: Settings, update: int, prompts: int, *, own: bool) -> Tensor:
    """ε [P·n, C, H, W]: one for each member, or one for each prompt's whole group."""
    rows = [
        torch.randn(world.latent_shape, generator=generator(settings.seed, update, prompt, "walk", place if own else 0))
        for prompt in range(prompts)
        for place in range(settings.candidates)
    ]
    return torch.stack(rows).to(world.device)
