"""Walks that could only start in pure noise end the job before it has cost anything."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler

from service.domain.errors import JobFailure
from service.domain.methods.walks import walk_starts
from tests.worker import tiny
from tests.worker.sharpening.toy import Toy, settings, world
from tests.worker.training.conftest import PROMPTS, bright, recipe
from worker.models.load import load
from worker.sharpening.trajectory import starts
from worker.training.loop import train

SHORT = {"walk_steps": 4, "trajectory_length": 2, "least_noise": 0.5}
ONLY_FIRST = {"walk_steps": 4, "trajectory_length": 1, "least_noise": 0.75}

walks = pytest.mark.parametrize("name", ["renoised", "sharpening-sft", "noisings"])


class TestCheckWalks:
    @walks
    @pytest.mark.parametrize("kind", ["sd3", "flux-dev", "flux-schnell"])
    def test_a_flow_is_refused_before_it_is_called(
        self, kind: str, name: str, folder_of: Callable[[str], Path]
    ) -> None:
        base = load(kind.split("-", maxsplit=1)[0], folder_of(kind), device="cpu", resolution=64)
        with pytest.raises(JobFailure, match=r"raise method\.walk_steps to 8 or more") as failure:
            next(train(base, bright, recipe(name, **ONLY_FIRST), PROMPTS))
        assert failure.value.code == "walk_in_noise"
        assert base.counter.total.nfe == 0

    @walks
    def test_a_schedule_that_ends_in_pure_noise_is_refused(self, name: str, tmp_path: Path) -> None:
        """Zero-terminal-SNR: nobody knows of it before the base is loaded."""
        folder = tiny.pipeline_folder(tmp_path / "sd", prediction_type="v_prediction")
        scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
        zero = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        DDIMScheduler.from_config(scheduler.config, **zero).save_pretrained(folder / "scheduler")
        with pytest.raises(JobFailure, match="pure noise") as failure:
            next(train(load("sd", folder, device="cpu"), bright, recipe(name, **ONLY_FIRST), PROMPTS))
        assert failure.value.code == "walk_in_noise"

    @walks
    def test_two_starts_are_enough(self, name: str, folder_of: Callable[[str], Path]) -> None:
        base = load("sd3", folder_of("sd3"), device="cpu", resolution=64)
        job = recipe(name, **SHORT)
        job = job.model_copy(update={"lora": job.lora.model_copy(update={"targets": ("attention",)})})
        assert next(train(base, bright, job, PROMPTS)).step == 0

    @walks
    def test_a_schedule_with_signal_at_its_beginning_may_start_there(self, name: str, sd_folder: Path) -> None:
        base = load("sd", sd_folder, device="cpu")
        assert next(train(base, bright, recipe(name, **ONLY_FIRST), PROMPTS)).step == 0


@pytest.mark.parametrize("walk", [SHORT, ONLY_FIRST, {"walk_steps": 20, "trajectory_length": 5, "least_noise": 0.0}])
def test_the_starts_that_are_reckoned_are_those_that_are_drawn(walk: dict[str, float]) -> None:
    drawn = starts(world(Toy()), settings(**walk), 0, 500)
    assert torch.equal(drawn.unique(), torch.arange(walk_starts(recipe("renoised", **walk).method)))
