"""One update of Diffusion-Sharpening in its RLHF form: Algorithm 2 of arXiv 2502.12146.

The algorithm, for each prompt c of the update:
  1. draw n pictures of c by the sampler, without gradients; each is one candidate
  2. judge a candidate by its trajectory: S = Σ R(x̂_0(x_t), c) over m states                                   (Eq. 8)
       states rollout: the last m states of its own rollout
       states renoised: noise the picture to one t, walk m sampler steps from there; those states
  3. best = arg max S, worst = arg min S; a gap ≤ 1e-6 gives no pair
       path-weights: all n, with weights softmax(S/λ) − softmax(−S/λ); λ → 0 is best and worst
  4. noise the chosen to the same t with the same ε, at J levels
  5. L = −log σ(−β (Δ_best − Δ_worst)), Δ = (‖ε_θ − ε‖² − ‖ε_ref − ε‖²) / u, averaged over all of them        (Eq. 11)
  6. the gradient of L with respect to θ, the adapter, is what this function returns
`paper_step` in paper.py is the same update as the paper estimates it; sft.py is Algorithm 1.

Where we leave the paper, and why (docs/paper.md has the test of each):
  a. The states are those that the rollout passed through, not those of m sampler steps from one re-noising: they cost
     no denoiser call, and best and worst differ in x̂_0, which is what the reward sees.
  b. The reward gap stands outside log σ in Eq. 11, where its gradient is 0: left out.
  c. Reference and policy are compared at the same states, each by itself, so the logit at θ = ref is 0; in the paper's
     code the reference has the first state only.
  d. t and ε are shared within a pair (as Diffusion-DPO does) and ε is fresh: less noise in the gradient.
  e. A pair is used at J levels spread over the schedule, each with its own log σ: the rollout is the expensive part.
  f. Search first, then recompute: only the chosen are ever differentiated. The gradient is the same.
  g. Rollouts may use guidance, and so may the prediction in L: without it training learns what guidance gives anyway.
  h. u is the reference's own error on the pair: Δ is a Gaussian's log-ratio with the variance that the reference has
     there. Errors of ε span a factor of 70 from t = 950 to t = 50; with u = 1 the loss listens to the finest noise,
     when what a picture shows is long decided. With u, β means the same at every t, in every model, for ε and for v.

Notation (code, paper)                          Shapes
  candidates  n      trajectory_length  m         P prompts   n candidates   m states   K ≤ P chosen prompts   c chosen of each
  scores      S      levels             J         J levels    Q = K·J        C, H, W of a latent   B rows of one call
  clean       x̂_0    reference          ε_ref
  beta        β      parameters         θ         temperature λ
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worker.sharpening.preference import prefer
from worker.sharpening.rng import generator
from worker.sharpening.rollout import Candidates, candidate_seeds, search
from worker.sharpening.selection import preferred
from worker.sharpening.trajectory import starts, walk_from
from worker.sharpening.update import Memory, Step, judged
from worker.sharpening.world import Settings, World


def step(settings: Settings, world: World, memory: Memory, update: int, prompts: Sequence[int]) -> Step:
    """One update. Everything random in it is a function of (settings.seed, update)."""
    found = candidates(world, settings, update, len(prompts))
    chosen = preferred(found.scores, found.seeds, settings.temperature)
    seen = replace(judged(found.rewards[..., -1]), ties=len(prompts) - len(chosen))
    return prefer(world, settings, memory, update, found.clean, chosen, seen)


def candidates(world: World, settings: Settings, update: int, prompts: int) -> Candidates:
    """Steps 1 and 2: n pictures of each prompt, with the rewards of the m states that they are judged on."""
    seeds = candidate_seeds(settings, update, prompts)
    if settings.states == "rollout":
        return search(world, settings, seeds, judged=settings.trajectory_length)
    found = search(world, settings, seeds, judged=0)
    return replace(found, rewards=rejudged(world, settings, update, found.clean))


def rejudged(world: World, settings: Settings, update: int, clean: Tensor) -> Tensor:
    """R at the m states of one walk from each of `clean` [P, n, C, H, W], with (t, ε) shared by a prompt's: [P, n, m]"""
    prompts, n = clean.shape[:2]
    noise = [
        torch.randn(world.latent_shape, generator=generator(settings.seed, update, prompt, "walk"))
        for prompt in range(prompts)
    ]
    rows = torch.arange(prompts).repeat_interleave(n)
    walked = walk_from(
        world, settings, clean.flatten(0, 1), torch.stack(noise)[rows].to(world.device),
        starts(world, settings, update, prompts)[rows], rows.to(world.device),
    )  # fmt: skip
    return walked.rewards.view(prompts, n, -1)
