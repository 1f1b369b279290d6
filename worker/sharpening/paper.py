"""Algorithm 2 as the paper estimates it, for comparison: `paper: true` of sharpening-rlhf.

  1. n = 3 pictures of the prompt by 25-step rollouts without guidance
  2. one t a prompt; each picture is noised with an ε of its own and walked m = 3 steps of a 50-step DDIM schedule
  3. best and worst by S = Σ R(x̂_0) over the m states, Tweedie previews                                        (Eq. 8)
  4. at each of their m states the target is ε, the noise that was put in; errors are averaged over the m states
  5. L = −log σ(−β (Δ_best − Δ_worst)), Δ = mean ‖ε_θ − ε‖² − mean ‖ε_ref − ε‖²                               (Eq. 11)

Of our departures b, c, f and g are made here too; a, e, h and j are not (the states are a walk's, one t, plain errors, ε as the target
throughout), and d is not: each picture has an ε of its own.

Of its code's faults (docs/paper.md) none is inherited that is no part of the method: it runs for n > 1 (1), the
reference is taken at every step (2), states are detached (4), the sampling noise is not used again (5), t is not the
maximum over devices (7), failures of a reward are errors (9). The target ε at self-generated states (3) is the paper's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from worker.sharpening.beta import calibrated
from worker.sharpening.comparison import Comparison
from worker.sharpening.gradient import accumulated, chained, measured
from worker.sharpening.objective import error, preference_loss
from worker.sharpening.preference import compared_metrics
from worker.sharpening.rng import generator
from worker.sharpening.rollout import candidate_seeds, search
from worker.sharpening.selection import preferred
from worker.sharpening.trajectory import starts, walk_from
from worker.sharpening.update import Memory, Metrics, Step, judged
from worker.sharpening.world import Settings, World


def paper_step(settings: Settings, world: World, memory: Memory, update: int, prompts: Sequence[int]) -> Step:
    """One update of the paper's estimator."""
    count, n = len(prompts), settings.candidates
    found = search(world, settings, candidate_seeds(settings, update, count), judged=0)
    rows = torch.arange(count).repeat_interleave(n)
    noise = own_noise(world, settings, update, count)
    walked = walk_from(
        world, settings, found.clean.flatten(0, 1), noise, starts(world, settings, update, count)[rows],
        rows.to(world.device),
    )  # fmt: skip
    rewards = walked.rewards.view(count, n, -1)
    pairs = preferred(rewards.sum(dim=-1), found.seeds)
    seen = replace(judged(rewards[..., -1]), ties=count - len(pairs))
    if not len(pairs):
        return Step(None, memory, seen)
    flat = (pairs.prompt.unsqueeze(1) * n + pairs.place).flatten()  # best, worst, best, worst, … as rows of the walks
    chosen = Walked(
        pairs.prompt.repeat_interleave(2).to(world.device), walked.t[flat], walked.states[flat], noise[flat]
    )  # fmt: skip
    return learnt(world, settings, memory, update, chosen, seen)


@dataclass(frozen=True, slots=True)
class Walked:
    """The walks of K pairs, best and worst in turn: 2K rows of m states each."""

    prompt: Tensor  # int64 [2K]
    t: Tensor  # int64 [2K, m]
    states: Tensor  # x_t [2K, m, C, H, W]
    noise: Tensor  # ε, put in at the first [2K, C, H, W]


def learnt(  # noqa: PLR0917 — an update's parts, in their order
    world: World, settings: Settings, memory: Memory, update: int, chosen: Walked, seen: Metrics
) -> Step:
    """Steps 4 and 5: a pair is 2m states of one call where as many fit; else they are taken one by one (`chained`)."""
    m = chosen.t.shape[1]
    pairs, call = len(chosen.t) // 2, settings.micro_batch
    size, fits = call // (2 * m), 2 * m <= call
    x, times = chosen.states.flatten(0, 1), chosen.t.flatten()  # [K·2·m]
    words, eps = (part.repeat_interleave(m, dim=0) for part in (chosen.prompt, chosen.noise))

    def errors(rows: slice) -> Tensor:
        """The squared error against ε at each of these states: [b]"""
        prediction = world.denoise(x[rows], times[rows], words[rows], settings.loss_guidance)
        return error(prediction, target(world, x[rows], eps[rows], times[rows]))

    def of_pairs(found: Tensor) -> Tensor:
        """Means over the m states, [K, 2], of the errors of K pairs [K·2·m]."""
        return found.view(-1, 2, m).mean(dim=2)

    def together(rows: slice) -> Tensor:
        """The errors of these pairs: [b, 2]"""
        return of_pairs(errors(slice(2 * m * rows.start, 2 * m * rows.stop)))

    with world.reference():
        reference = measured(pairs, size, together) if fits else of_pairs(measured(len(x), call, errors))
    beta = calibrated(memory.beta, update, reference[:, 0] - reference[:, 1])

    def terms(policy: Tensor, rows: slice) -> tuple[Tensor, ...]:
        delta = policy - reference[rows]
        logit = -beta.value * (delta[:, 0] - delta[:, 1])
        return preference_loss(logit), logit

    if fits:
        gradient, (loss, logit) = accumulated(world, pairs, size, lambda rows: terms(together(rows), rows))
    else:
        gradient, (loss, logit) = chained(
            world, len(x), call, errors, lambda found: terms(of_pairs(found), slice(None))
        )  # fmt: skip
    metrics = compared_metrics(seen, Comparison(gradient, loss, logit))
    return Step(gradient, replace(memory, beta=beta), metrics)


def own_noise(world: World, settings: Settings, update: int, prompts: int) -> Tensor:
    """ε [P·n, C, H, W]: each candidate's own, and none that a rollout has used."""
    rows = [
        torch.randn(world.latent_shape, generator=generator(settings.seed, update, prompt, "walk", place))
        for prompt in range(prompts)
        for place in range(settings.candidates)
    ]
    return torch.stack(rows).to(world.device)


def target(world: World, states: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The prediction at a state whose noise is held to be ε: ε itself where the model predicts noise.

    Where it predicts v, the clean latent that goes with (x_t, ε) enters as well.
    """
    signal, spread = world.coefficients(t)
    clean = (states - spread * noise) / signal
    return world.target(clean, noise, t)
