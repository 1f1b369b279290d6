"""One update of Diffusion-Sharpening in its RLHF form: Algorithm 2 of arXiv 2502.12146.

The algorithm, for each prompt c of the update:
  1. draw n pictures of c by the sampler, without gradients; each is one candidate
  2. judge a candidate by its trajectory: S = Σ R(x̂_0(x_t), c) over the last m states of its own rollout     (Eq. 8)
  3. best = arg max S, worst = arg min S; a gap ≤ 1e-6 gives no pair
  4. noise both to the same t with the same ε, at J levels
  5. L = −log σ(−β (Δ_best − Δ_worst)), Δ = (‖ε_θ − ε‖² − ‖ε_ref − ε‖²) / u, averaged over all of them        (Eq. 11)
  6. the gradient of L with respect to θ, the adapter, is what this function returns

Where we leave the paper, and why (docs/paper.md has the test of each):
  a. The states are those that the rollout passed through, not those of m sampler steps from one re-noising: they cost
     no denoiser call, and best and worst differ in x̂_0, which is what the reward sees.
  b. The reward gap stands outside log σ in Eq. 11, where its gradient is 0: left out.
  c. Reference and policy are compared at the same states, each by itself, so the logit at θ = ref is 0; in the paper's
     code the reference has the first state only.
  d. t and ε are shared within a pair (as Diffusion-DPO does) and ε is fresh: less noise in the gradient.
  e. A pair is used at J levels spread over the schedule, each with its own log σ: the rollout is the expensive part.
  f. Search first, then recompute: only best and worst are ever differentiated. The gradient is the same.
  g. Rollouts may use guidance, and so may the prediction in L: without it training learns what guidance gives anyway.
  h. u is the reference's own error on the pair: Δ is a Gaussian's log-ratio with the variance that the reference has
     there. Errors of ε span a factor of 70 from t = 950 to t = 50; with u = 1 the loss listens to the finest noise,
     when what a picture shows is long decided. With u, β means the same at every t, in every model, for ε and for v.

Notation (code, paper)                          Shapes
  candidates  n      trajectory_length  m         P prompts   n candidates   m states   K ≤ P pairs   J levels   Q = K·J
  scores      S      timesteps_per_pair J         C, H, W of a latent        B rows of one call
  clean       x̂_0    reference          ε_ref
  beta        β      parameters         θ
"""

from dataclasses import dataclass, replace

from torch import Tensor

from worker.sharpening.beta import Beta, calibrated
from worker.sharpening.comparison import Comparison, compare, reference_errors, renoised
from worker.sharpening.rollout import Candidates, candidate_seeds, search
from worker.sharpening.selection import Pairs, best_and_worst
from worker.sharpening.world import Settings, World


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of finished pictures: the mean reward, and the mean over prompts of the highest and of the lowest.

    Of the pairs, None where there is none: the loss, the median |β·(Δ_best − Δ_worst)|, the share with the right sign.
    """

    reward_mean: float
    reward_best: float
    reward_worst: float
    ties: int
    loss: float | None = None
    preference: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    gradient: tuple[Tensor, ...] | None  # None: every prompt was a tie, and there is nothing to learn
    beta: Beta
    metrics: Metrics


def step(world: World, settings: Settings, beta: Beta, *, update: int, prompts: int) -> Step:
    """One update on `prompts` prompts. Everything random in it is a function of (settings.seed, update)."""
    found = search(world, settings, candidate_seeds(settings, update, prompts))
    pairs = best_and_worst(found.scores, found.seeds)
    seen = measure_search(found, pairs)
    if not len(pairs.prompt):
        return Step(None, beta, seen)
    states = renoised(world, settings, update, found, pairs)
    reference = reference_errors(world, settings, states)
    beta = calibrated(beta, update, reference)
    compared = compare(world, settings, states, reference, beta.value)
    return Step(compared.gradient, beta, measure_comparison(seen, compared))


def measure_search(found: Candidates, pairs: Pairs) -> Metrics:
    finished = found.rewards[..., -1]
    return Metrics(
        reward_mean=finished.mean().item(),
        reward_best=finished.amax(dim=1).mean().item(),
        reward_worst=finished.amin(dim=1).mean().item(),
        ties=len(finished) - len(pairs.prompt),
    )


def measure_comparison(seen: Metrics, compared: Comparison) -> Metrics:
    return replace(
        seen,
        loss=compared.loss.mean().item(),
        preference=compared.logit.abs().median().item(),
        accuracy=(compared.logit > 0).double().mean().item(),
    )
