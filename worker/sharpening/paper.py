"""Algorithm 2 as the paper estimates it, for comparison: `paper: true` of sharpening-rlhf.

  1. n = 3 pictures of the prompt by 25-step rollouts without guidance
  2. one t a prompt; each picture is noised with an ε of its own and walked m = 3 steps of a 50-step DDIM schedule
  3. best and worst by S = Σ R(x̂_0) over the m states, Tweedie previews                                        (Eq. 8)
  4. at each of their m states the target is ε, the noise that was put in; errors are averaged over the m states
  5. L = −log σ(−β (Δ_best − Δ_worst)), Δ = mean ‖ε_θ − ε‖² − mean ‖ε_ref − ε‖²                               (Eq. 11)

Of its code's faults (docs/paper.md) none is inherited that is no part of the method: it runs for n > 1 (1), the
reference is taken at every step (2), states are detached (4), the sampling noise is not used again (5), t is not the
maximum over devices (7), failures of a reward are errors (9). The target ε at self-generated states (3) is the paper's.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worker.sharpening.beta import calibrated
from worker.sharpening.comparison import Comparison
from worker.sharpening.gradient import accumulated
from worker.sharpening.objective import error, preference_loss
from worker.sharpening.preference import compared_metrics
from worker.sharpening.rng import generator
from worker.sharpening.rollout import candidate_seeds, search
from worker.sharpening.selection import preferred
from worker.sharpening.trajectory import starts, walk_from
from worker.sharpening.update import Memory, Step, judged
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
    states, t, noise = walked.states[flat], walked.t[flat], noise[flat]
    prompt = pairs.prompt.repeat_interleave(2).to(world.device)

    def errors(rows: slice) -> Tensor:
        """Mean over the m states of the squared error against ε: [K, 2] for K pairs."""
        both = slice(2 * rows.start, 2 * rows.stop)
        m = states.shape[1]
        x, times = states[both].flatten(0, 1), t[both].flatten()
        words, eps = (part[both].repeat_interleave(m, dim=0) for part in (prompt, noise))
        prediction = world.denoise(x, times, words, settings.loss_guidance)
        return error(prediction, target(world, x, eps, times)).view(-1, 2, m).mean(dim=2)

    size = max(1, settings.micro_batch // (2 * settings.trajectory_length))
    with torch.no_grad(), world.reference():
        reference = torch.cat(
            [errors(slice(first, min(first + size, len(pairs)))) for first in range(0, len(pairs), size)]
        )
    beta = calibrated(memory.beta, update, reference[:, 0] - reference[:, 1])

    def terms(rows: slice) -> tuple[Tensor, ...]:
        delta = errors(rows) - reference[rows]
        logit = -beta.value * (delta[:, 0] - delta[:, 1])
        return preference_loss(logit), logit

    gradient, (loss, logit) = accumulated(world, len(pairs), size, terms)
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
