"""Samplers over rows that stand at different steps of different schedules: DDIM, Euler, DPM-Solver++ 2M, flow-match Euler.

Each is the arithmetic of diffusers' scheduler of that name, in its order and in fp32, with a coefficient a row where
diffusers has one for the whole batch; the coefficients come from that scheduler's own tables, made once for each number of
steps. All are deterministic: of a sample's past only the last clean estimate is kept, which DPM-Solver++ needs.

    m  the network's prediction (ε, v or velocity)     x   the state, [N, C, H, W]     x̂₀  the clean estimate, the preview
    α, σ  √ᾱ and √(1−ᾱ); Euler's and DPM-Solver's own σ is √((1−ᾱ)/ᾱ)                    ′   of the next step

| name | next state | source |
|---|---|---|
| ddim | α′ x̂₀ + σ′ ε | arXiv 2010.02502, Eq. 12 with η = 0 |
| euler | x + (σ′ − σ) (x − x̂₀)/σ; the network sees x/√(σ² + 1) | arXiv 2206.00364, Alg. 1 without churn |
| dpmpp-2m | (σ′/σ) x − α′(e^−h − 1) (x̂₀ + (x̂₀ − x̂₀ before)/2r) | arXiv 2211.01095, Alg. 2; first order at both ends |
| flow-euler | x + (σ′ − σ) v | arXiv 2403.03206 |
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, pairwise
from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch import Tensor

from service.domain.catalogue import Family as FamilyName
from service.domain.errors import FieldError, InvalidRequest
from worker.inference.engine.requests import SchedulerName
from worker.models.ddim import Diffusion
from worker.models.flow import Flow

UNET: tuple[SchedulerName, ...] = ("ddim", "euler", "dpmpp-2m")
OF_FAMILY: dict[FamilyName, tuple[SchedulerName, ...]] = {
    "sd": UNET,
    "sdxl": UNET,
    "sd3": ("flow-euler",),
    "flux": ("flow-euler",),
}
"""What each family's process can be walked by; the first is its own."""

Columns = Sequence[Tensor]
"""Coefficients, each [N, 1, 1, 1]."""
Step = Callable[[Columns, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(coefficients, x, m, x̂₀ of the step before) → (next state, x̂₀)"""


@dataclass(frozen=True, slots=True)
class Walk:
    """One schedule: what each of its steps needs, as numbers that fp32 holds exactly."""

    step: Step
    timesteps: tuple[float, ...]
    rows: tuple[tuple[float, ...], ...] = field(repr=False)
    divisors: tuple[float, ...] = ()
    """What the network's input is divided by at each step; () where it is the state itself."""
    first: float = 1.0
    """Standard deviation of the first state."""


def check(family: FamilyName, name: SchedulerName | None) -> SchedulerName:
    """The scheduler to use. Raises InvalidRequest where the family's process cannot be walked by that one."""
    known = OF_FAMILY[family]
    if name is None:
        return known[0]
    if name not in known:
        wrong = FieldError(
            "scheduler",
            f"{name} does not walk the process of base models of the family {family}",
            f"choose {' or '.join(known)}, or leave scheduler out",
        )
        raise InvalidRequest(errors=(wrong,), code="unsupported_scheduler")
    return name


def walk(process: Diffusion | Flow, name: SchedulerName, steps: int) -> Walk:
    """The schedule of a family's process in so many steps. Raises InvalidRequest where it cannot be divided into them."""
    make: Callable[[Any, int], Walk] = {
        "ddim": _ddim,
        "euler": _euler,
        "dpmpp-2m": _dpmpp_2m,
        "flow-euler": _flow_euler,
    }[name]
    try:
        made = make(process, steps)
    except (IndexError, ValueError) as error:  # diffusers' own tables end there, as at 1,000 steps with an offset
        raise _indivisible(name, steps) from error
    if not all(map(math.isfinite, chain.from_iterable(made.rows))):  # two steps at one noise level
        raise _indivisible(name, steps)
    return made


def _indivisible(name: SchedulerName, steps: int) -> InvalidRequest:
    wrong = FieldError(
        "num_inference_steps",
        f"{name} cannot divide this base model's schedule into {steps} steps",
        "ask for fewer, or for another scheduler",
    )
    return InvalidRequest(errors=(wrong,), code="unsupported_steps")


def inputs(walks: Sequence[Walk], places: Sequence[int], states: Tensor) -> Tensor:
    """What the network sees: each state divided as its schedule says."""
    if not any(each.divisors for each in walks):
        return states
    divisors = [each.divisors[place] if each.divisors else 1.0 for each, place in zip(walks, places, strict=True)]
    return (states / torch.tensor(divisors, device=states.device).view(-1, 1, 1, 1)).to(states.dtype)


def advance(
    walks: Sequence[Walk], places: Sequence[int], states: Tensor, predictions: Tensor, before: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """One step of every row from its own place: (next states, clean estimates), in the dtype of the predictions."""
    kinds = list(dict.fromkeys(each.step for each in walks))
    if len(kinds) == 1:
        return _of_one_kind(walks, places, states, predictions, before)
    following, clean = torch.empty_like(predictions), torch.empty_like(predictions)
    for kind in kinds:
        rows = [row for row, each in enumerate(walks) if each.step is kind]
        following[rows], clean[rows] = _of_one_kind(
            [walks[row] for row in rows],
            [places[row] for row in rows],
            states[rows],
            predictions[rows],
            [before[row] for row in rows],
        )
    return following, clean


def _of_one_kind(
    walks: Sequence[Walk], places: Sequence[int], states: Tensor, predictions: Tensor, before: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    numbers = torch.tensor([walk.rows[place] for walk, place in zip(walks, places, strict=True)], device=states.device)
    columns = [column.view(-1, 1, 1, 1) for column in numbers.unbind(1)]
    past = torch.stack([torch.zeros_like(states[0]) if each is None else each for each in before]).float()
    following, clean = walks[0].step(columns, states.float(), predictions.float(), past)
    return following.to(predictions.dtype), clean.to(predictions.dtype)


def _x0_of_epsilon(alpha: Tensor, sigma: Tensor, x: Tensor, m: Tensor) -> Tensor:
    return (x - sigma * m) / alpha


def _x0_of_v(alpha: Tensor, sigma: Tensor, x: Tensor, m: Tensor) -> Tensor:
    return alpha * x - sigma * m


def _ddim_epsilon(c: Columns, x: Tensor, m: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma, alpha_next, sigma_next = c
    clean = _x0_of_epsilon(alpha, sigma, x, m)
    return alpha_next * clean + sigma_next * m, clean


def _ddim_v(c: Columns, x: Tensor, m: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    alpha, sigma, alpha_next, sigma_next = c
    clean, epsilon = _x0_of_v(alpha, sigma, x, m), alpha * m + sigma * x
    return alpha_next * clean + sigma_next * epsilon, clean


def _ddim(process: Diffusion, steps: int) -> Walk:
    scheduler, timesteps = process.scheduler, process.sampler(steps).timesteps
    stride = process.train_timesteps // steps
    rows = []
    for t in timesteps:
        now = scheduler.alphas_cumprod[t]
        then = scheduler.alphas_cumprod[t - stride] if t >= stride else scheduler.final_alpha_cumprod
        rows.append(_numbers(now**0.5, (1 - now) ** 0.5, then**0.5, (1 - then) ** 0.5))
    return Walk(_ddim_v if process.predicts_v else _ddim_epsilon, timesteps, tuple(rows))


def _euler_epsilon(c: Columns, x: Tensor, m: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    sigma, way, _, _ = c
    clean = x - sigma * m
    return x + (x - clean) / sigma * way, clean


def _euler_v(c: Columns, x: Tensor, m: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    sigma, way, out, squares = c
    clean = m * out + x / squares
    return x + (x - clean) / sigma * way, clean


def _euler(process: Diffusion, steps: int) -> Walk:
    scheduler = EulerDiscreteScheduler.from_config(process.scheduler.config, timestep_type="discrete")
    _divide(scheduler, steps)
    rows, divisors = [], []
    for sigma, following in pairwise(scheduler.sigmas):
        root = (sigma**2 + 1) ** 0.5
        rows.append(_numbers(sigma, following - sigma, -sigma / root, sigma**2 + 1))
        divisors.append(float(root))
    step = _euler_v if process.predicts_v else _euler_epsilon
    first = float(scheduler.init_noise_sigma)
    return Walk(step, tuple(scheduler.timesteps.tolist()), tuple(rows), tuple(divisors), first)


def _dpmpp(
    x0: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], c: Columns, x: Tensor, m: Tensor, past: Tensor
) -> tuple[Tensor, Tensor]:
    alpha, sigma, ratio, pull, half_pull, slope = c
    clean = x0(alpha, sigma, x, m)
    return ratio * x - pull * clean - half_pull * (slope * (clean - past)), clean


_dpmpp_epsilon, _dpmpp_v = partial(_dpmpp, _x0_of_epsilon), partial(_dpmpp, _x0_of_v)


def _dpmpp_2m(process: Diffusion, steps: int) -> Walk:
    scheduler = DPMSolverMultistepScheduler.from_config(
        process.scheduler.config, algorithm_type="dpmsolver++", solver_type="midpoint", solver_order=2
    )
    _divide(scheduler, steps)
    words = scheduler.config
    alphas, sigmas = scheduler._sigma_to_alpha_sigma_t(scheduler.sigmas)
    lambdas = [torch.log(alpha) - torch.log(sigma) for alpha, sigma in zip(alphas, sigmas, strict=True)]
    careful_end = words.euler_at_final or (words.lower_order_final and steps < 15) or words.final_sigmas_type == "zero"
    rows = []
    for place in range(steps):
        h = lambdas[place + 1] - lambdas[place]
        pull = alphas[place + 1] * (torch.exp(-h) - 1.0)
        first_order = place == 0 or (place == steps - 1 and careful_end)
        slope = torch.zeros(()) if first_order else 1.0 / ((lambdas[place] - lambdas[place - 1]) / h)
        rows.append(_numbers(alphas[place], sigmas[place], sigmas[place + 1] / sigmas[place], pull, 0.5 * pull, slope))
    step = _dpmpp_v if process.predicts_v else _dpmpp_epsilon
    return Walk(step, tuple(map(float, scheduler.timesteps.tolist())), tuple(rows))


def _flow(c: Columns, x: Tensor, m: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    sigma, way = c
    return x + way * m, x - sigma * m


def _flow_euler(process: Flow, steps: int) -> Walk:
    sampler = process.sampler(steps)
    rows = [_numbers(sigma, following - sigma) for sigma, following in pairwise(sampler.sigmas)]
    return Walk(_flow, sampler.timesteps, tuple(rows))


def _divide(scheduler: EulerDiscreteScheduler | DPMSolverMultistepScheduler, steps: int) -> None:
    with warnings.catch_warnings():  # diffusers hands torch tensors to numpy in a way that numpy 2 has deprecated
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        scheduler.set_timesteps(steps)


def _numbers(*values: Tensor) -> tuple[float, ...]:
    return tuple(map(float, values))
