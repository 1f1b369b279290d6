"""Samplers row by row against diffusers' schedulers: rows of different schedules, places and step counts in one call."""

from itertools import product

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from torch import Tensor

from service.domain.errors import InvalidRequest
from worker.inference.engine import schedulers
from worker.inference.engine.requests import SchedulerName
from worker.inference.engine.schedulers import Walk
from worker.models.ddim import Diffusion
from worker.models.flow import Flow

BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
REFERENCES = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpmpp-2m": DPMSolverMultistepScheduler}
STEPS = (1, 2, 5, 16, 30)
SHAPE = (4, 6, 6)


def network(latents: Tensor, t: float) -> Tensor:
    """Not a denoiser, but as sensitive to its input and its time as one."""
    return torch.tanh(latents * 1.3 + t / 500)


def by_diffusers(scheduler: object, steps: int, noise: Tensor, **words: float) -> list[Tensor]:
    """The states of one sample, the first included, as a pipeline walks them."""
    scheduler.set_timesteps(steps, **words)  # type: ignore[attr-defined]
    states = [noise * scheduler.init_noise_sigma] if hasattr(scheduler, "init_noise_sigma") else [noise]  # type: ignore[attr-defined]
    for t in scheduler.timesteps:  # type: ignore[attr-defined]
        scaled = scheduler.scale_model_input(states[-1], t) if hasattr(scheduler, "scale_model_input") else states[-1]  # type: ignore[attr-defined]
        states.append(scheduler.step(network(scaled, float(t)), t, states[-1]).prev_sample)  # type: ignore[attr-defined]
    return states


def together(walks: list[Walk], noises: Tensor) -> list[list[Tensor]]:
    """The states of every sample. Each call takes all that are not done; the second half joins two calls later."""
    states = [[noise * walk.first] for walk, noise in zip(walks, noises, strict=True)]
    before: list[Tensor | None] = [None] * len(walks)
    for call in range(100):
        late = call < 2
        rows = [
            row
            for row, walk in enumerate(walks)
            if len(states[row]) <= len(walk.timesteps) and not (late and row >= len(walks) // 2)
        ]
        if not rows:
            break
        chosen, places = [walks[row] for row in rows], [len(states[row]) - 1 for row in rows]
        now = torch.stack([states[row][-1] for row in rows])
        seen = schedulers.inputs(chosen, places, now)
        times = [walk.timesteps[place] for walk, place in zip(chosen, places, strict=True)]
        predictions = torch.stack([network(each, t) for each, t in zip(seen, times, strict=True)])
        following, clean = schedulers.advance(chosen, places, now, predictions, [before[row] for row in rows])
        for at, row in enumerate(rows):
            states[row].append(following[at])
            before[row] = clean[at]
    return states


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, under numpy 2
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_each_row_walks_as_diffusers_walks_it_alone(spacing: str, prediction: str) -> None:
    config = DDIMScheduler(**BETAS, timestep_spacing=spacing, prediction_type=prediction, clip_sample=False).config
    process = Diffusion(config)
    names: list[tuple[SchedulerName, int]] = list(product(REFERENCES, STEPS))  # type: ignore[arg-type]
    noises = torch.randn((len(names), *SHAPE), generator=torch.Generator().manual_seed(0))
    ours = together([schedulers.walk(process, name, steps) for name, steps in names], noises)
    for (name, steps), noise, states in zip(names, noises, ours, strict=True):
        theirs = by_diffusers(REFERENCES[name].from_config(config), steps, noise)
        assert len(states) == steps + 1
        torch.testing.assert_close(torch.stack(states), torch.stack(theirs), atol=0, rtol=0, msg=f"{name} {steps}")


@pytest.mark.parametrize("dynamic", [False, True])
def test_flow_rows_walk_as_diffusers_walks_them_alone(dynamic: bool) -> None:
    config = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=dynamic).config
    process = Flow(config, tokens=256)
    noises = torch.randn((len(STEPS), *SHAPE), generator=torch.Generator().manual_seed(0))
    ours = together([schedulers.walk(process, "flow-euler", steps) for steps in STEPS], noises)
    words = {"mu": process._mu} if dynamic else {}
    for steps, noise, states in zip(STEPS, noises, ours, strict=True):
        theirs = by_diffusers(FlowMatchEulerDiscreteScheduler.from_config(config), steps, noise, **words)
        torch.testing.assert_close(torch.stack(states), torch.stack(theirs), atol=0, rtol=0, msg=str(steps))


@pytest.mark.parametrize("name", REFERENCES)
def test_the_preview_of_a_perfect_prediction_is_the_picture(name: SchedulerName) -> None:
    process = Diffusion(DDIMScheduler(**BETAS, clip_sample=False).config)
    clean, noise = torch.randn((2, 1, *SHAPE), generator=torch.Generator().manual_seed(0))
    walk = schedulers.walk(process, name, 10)
    t = torch.tensor([round(walk.timesteps[4])])
    state = process.renoise(clean, noise, t) * (walk.divisors[4] if walk.divisors else 1.0)
    _, preview = schedulers.advance([walk], [4], state, noise, [None])
    torch.testing.assert_close(preview, clean, atol=1e-4, rtol=1e-4)


def test_low_precision_keeps_its_dtype_and_reckons_in_fp32() -> None:
    process = Diffusion(DDIMScheduler(**BETAS, clip_sample=False).config)
    walks = [schedulers.walk(process, name, 10) for name in REFERENCES]  # type: ignore[arg-type]
    x, m = torch.randn((2, 3, *SHAPE), generator=torch.Generator().manual_seed(0)).bfloat16()
    following, clean = schedulers.advance(walks, [0] * 3, x, m, [None] * 3)
    exact, _ = schedulers.advance(walks, [0] * 3, x.float(), m.float(), [None] * 3)
    assert (following.dtype, clean.dtype) == (torch.bfloat16, torch.bfloat16)
    torch.testing.assert_close(following, exact.bfloat16(), atol=0, rtol=0)
    assert schedulers.inputs(walks, [0] * 3, x).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m"])
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_more_steps_than_the_schedule_has_are_refused(name: SchedulerName) -> None:
    process = Diffusion(DDIMScheduler(**BETAS, timestep_spacing="leading", clip_sample=False).config)
    with pytest.raises(InvalidRequest) as caught:
        schedulers.walk(process, name, 1000)
    assert caught.value.errors[0].path == "num_inference_steps"


class TestCheck:
    def test_each_family_has_its_own(self) -> None:
        assert [schedulers.check(family, None) for family in ("sd", "sdxl", "sd3", "flux")] == [
            "ddim", "ddim", "flow-euler", "flow-euler",
        ]  # fmt: skip
        assert schedulers.check("sdxl", "dpmpp-2m") == "dpmpp-2m"

    @pytest.mark.parametrize(("family", "name"), [("sd", "flow-euler"), ("flux", "ddim"), ("sd3", "euler")])
    def test_another_processs_is_refused_with_those_that_fit(self, family: str, name: SchedulerName) -> None:
        with pytest.raises(InvalidRequest) as caught:
            schedulers.check(family, name)  # type: ignore[arg-type]
        assert caught.value.errors[0].path == "scheduler"
        assert schedulers.OF_FAMILY[family][0] in caught.value.errors[0].remedy  # type: ignore[index]
