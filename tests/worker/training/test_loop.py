"""The loop's promises, on a tiny base."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from service.domain.adapters import SERVED_RANK
from service.domain.errors import JobFailure
from tests.worker.training.conftest import PROMPTS, bright, jpeg, recipe
from worker.models import lora
from worker.models.base import TRAINED
from worker.models.load import load
from worker.training.events import Checkpointed, Event, Finished, Resumed, Sampled, Stepped, Warned
from worker.training.loop import train

Run = Callable[..., Iterator[Event]]


def of(kind: type, events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


class TestTrain:
    def test_tells_its_life_in_order(self, run: Run) -> None:
        told = [(type(event).__name__, event.step) for event in run(recipe())]
        assert told == [
            ("Sampled", 0),
            ("Stepped", 1),
            ("Stepped", 2),
            ("Sampled", 2),
            ("Checkpointed", 2),
            ("Stepped", 3),
            ("Stepped", 4),
            ("Sampled", 4),
            ("Checkpointed", 4),
            ("Finished", 4),
        ]

    def test_counts_what_the_recipe_says(self, run: Run) -> None:
        """2 prompts × 3 candidates × 3 steps × 2 (guidance), 2 pairs × 2 levels × 2 pictures × (reference + policy)."""
        first, second = of(Stepped, list(run(recipe(steps=2))))
        assert first.training_nfe == 2 * 3 * 3 * 2 + 2 * 2 * 2 * 2
        assert first.decodes == first.reward_calls == 2 * 3 * 2
        assert second.training_nfe == 2 * first.training_nfe
        gradient_forwards = 2 * 2 * 2
        assert (
            first.training_nfe + 0.8 * gradient_forwards
            < first.training_fe
            < first.training_nfe + 2 * gradient_forwards
        )

    def test_the_first_loss_is_log_2(self, run: Run) -> None:
        first, *_ = of(Stepped, list(run(recipe(steps=1))))
        assert first.loss == pytest.approx(0.6931472)
        assert first.preference == 0

    def test_long_prompts_are_told_of(self, sd_folder: Path) -> None:
        events = train(load("sd", sd_folder, device="cpu"), jpeg(), recipe(), ["a very long prompt indeed", "no"])
        assert next(events) == Warned(
            0, *load("sd", sd_folder, device="cpu").truncations(["a very long prompt indeed"])
        )

    def test_long_prompts_of_samples_and_validation_are_told_of(self, run: Run) -> None:
        shown = {"num_inference_steps": 2, "prompts": ["a very long sample indeed"]}
        validated = {"num_inference_steps": 2, "prompts": ["a very long prompt to judge"]}
        job = recipe(steps=1, samples={"every": 1, **shown}, validation={"every": 1, **validated})
        first, second = of(Warned, list(run(job)))
        assert "a very long sample indeed" in first.message
        assert "a very long prompt to judge" in second.message

    @pytest.mark.parametrize(("rank", "told"), [(SERVED_RANK, False), (SERVED_RANK + 1, True)])
    def test_an_adapter_that_an_endpoints_slots_do_not_hold_is_told_of(self, run: Run, rank: int, told: bool) -> None:
        plain = recipe(steps=1, samples={"every": 0})
        events = run(plain.model_copy(update={"lora": plain.lora.model_copy(update={"rank": rank})}))
        first = next(events)
        events.close()
        assert isinstance(first, Warned) is told
        assert not told or f"rank {rank}, and an inference endpoint draws with {SERVED_RANK}" in first.message

    def test_of_many_long_prompts_the_first_are_named_and_the_rest_counted(self, run: Run) -> None:
        long = [f"a very long prompt, number {number}" for number in range(27)]
        events = run(recipe(steps=1, samples={"every": 0}), prompts=long)
        told = [next(events) for _ in range(22)]
        events.close()
        assert all("number 19" in warned.message for warned in told[19:20])
        assert told[20].message.startswith("7 more cuts")
        assert not isinstance(told[21], Warned)

    def test_the_average_is_delivered(self, run: Run) -> None:
        events = list(run(recipe(ema_decay=0.9, learning_rate=0.01)))
        kept = safetensors.torch.load(of(Checkpointed, events)[-1].data)
        delivered = safetensors.torch.load(of(Finished, events)[0].adapter)
        name = next(name for name in delivered if "lora_B" in name)
        assert torch.equal(delivered[name], kept["average/" + name.removeprefix("unet.")])
        assert not torch.equal(delivered[name], kept["adapter/" + name.removeprefix("unet.")])
        assert delivered[name].abs().sum() > 0

    def test_samples_show_the_adapter(self, run: Run) -> None:
        first, *_, last = of(Sampled, list(run(recipe(learning_rate=0.05, ema_decay=0.0))))
        assert first.prompts == PROMPTS[:4]
        assert (first.pictures != last.pictures).any()

    def test_drawing_samples_changes_no_training(self, run: Run) -> None:
        with_samples, without = (
            of(Finished, list(run(recipe(samples={"every": every, "num_inference_steps": 2}))))[0] for every in (1, 0)
        )
        assert with_samples.adapter == without.adapter

    def test_a_checkpoint_can_be_asked_for(self, run: Run) -> None:
        events = run(recipe(checkpoint_every=100), checkpoint_now=lambda: True)
        told = [next(events) for _ in range(3)]
        events.close()
        assert isinstance(told[2], Checkpointed)

    def test_a_reward_of_ties_trains_nothing_and_ends(self, run: Run) -> None:
        events = list(run(recipe(), reward=lambda pictures, prompts: torch.zeros(len(prompts))))
        assert all(step.loss is None and step.ties == 2 for step in of(Stepped, events))
        assert isinstance(events[-1], Finished)

    def test_a_reward_of_ties_is_told_of_once(self, run: Run) -> None:
        """After the first round of the five prompts, two an update; and in a short job before its end."""
        for steps, due in ((6, 3), (2, 2)):
            events = list(run(recipe(steps=steps), reward=lambda pictures, prompts: torch.zeros(len(prompts))))
            (warned,) = of(Warned, events)
            assert warned.step == due
            assert f"the reward tells no candidates apart: {due} updates of 2 prompts" in warned.message
            assert "look at the reward" in warned.message

    def test_a_reward_that_once_told_candidates_apart_is_not_complained_of(self, run: Run) -> None:
        asked = iter(range(1000))

        def first_alone(pictures: torch.Tensor, prompts: list[str]) -> torch.Tensor:
            return bright(pictures, prompts) * (next(asked) == 0)

        events = list(run(recipe(steps=6), reward=first_alone))
        assert of(Stepped, events)[0].loss is not None
        assert all(step.loss is None for step in of(Stepped, events)[1:])
        assert of(Warned, events) == []

    def test_a_loss_that_is_no_number_ends_the_job_with_its_step(self, sd_folder: Path) -> None:
        family = load("sd", sd_folder, device="cpu")
        events = train(family, jpeg(), recipe(samples={"every": 0}), PROMPTS)
        assert next(events).step == 1
        family.target = lambda clean, noise, t: noise * torch.nan
        with pytest.raises(JobFailure, match="at step 2") as failure:
            next(events)
        assert failure.value.code == "nan_loss"

    def test_pictures_that_are_no_numbers_end_the_job(self, sd_folder: Path) -> None:
        family = load("sd", sd_folder, device="cpu")
        family.unet.conv_out.bias.data.fill_(torch.nan)
        with pytest.raises(JobFailure) as failure:
            list(train(family, jpeg(), recipe(samples={"every": 0}), PROMPTS))
        assert failure.value.code == "nan_latents"

    def test_an_adapter_whose_weights_ran_away_is_the_rates_fault_and_named_with_its_step(
        self, sd_folder: Path
    ) -> None:
        family = load("sd", sd_folder, device="cpu")
        events = train(family, jpeg(), recipe(samples={"every": 0}), PROMPTS)
        assert next(events).step == 1
        for value in lora.tensors(family.denoiser, TRAINED).values():
            value.data.fill_(1e30)
        with pytest.raises(JobFailure, match=r"at step 2: lower method.learning_rate") as failure:
            next(events)
        assert failure.value.code == "nan_loss"

    def test_a_vae_that_gives_no_numbers_ends_the_job_and_trains_on_no_black_pictures(self, sd_folder: Path) -> None:
        family = load("sd", sd_folder, device="cpu")
        family.vae.decoder.conv_out.bias.data.fill_(torch.nan)
        with pytest.raises(JobFailure, match="bf16 or fp32") as failure:
            list(train(family, jpeg(), recipe(samples={"every": 0}), PROMPTS))
        assert failure.value.code == "nan_pictures"

    @pytest.mark.parametrize(
        ("error", "whose"),
        [
            (torch.OutOfMemoryError("CUDA out of memory"), "the device's"),
            (
                RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
                "the device's",
            ),
            (
                RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
                "the machine's",
            ),
            (MemoryError(), "the machine's"),
        ],
    )
    def test_want_of_memory_is_told_with_what_frees_some(self, error: Exception, whose: str, sd_folder: Path) -> None:
        family = load("sd", sd_folder, device="cpu")

        def full(*given: Any) -> None:
            raise error

        events = train(family, jpeg(), recipe(samples={"every": 0}), PROMPTS)
        assert next(events).step == 1
        family.unet.register_forward_pre_hook(full)
        with pytest.raises(
            JobFailure, match=f"{whose} memory ran out at step 2: send gradient_checkpointing: true, lower"
        ) as failure:
            next(events)
        assert failure.value.code == "out_of_memory"


class TestInFp16:
    def test_a_job_learns_and_resumes_bit_for_bit(self, sd_folder: Path) -> None:
        """On a CPU half precision is slow, but it is the same code as on a GPU without bf16."""

        def run(**options: Any) -> list[Event]:
            base = load("sd", sd_folder, device="cpu", dtype="fp16")
            return list(train(base, jpeg(), recipe(samples={"every": 0}), PROMPTS, **options))

        whole = run()
        assert all(step.grad_norm is not None and step.grad_norm > 0 for step in of(Stepped, whole))
        rest = run(resume=of(Checkpointed, whole)[0].data)
        assert of(Finished, rest) == of(Finished, whole)


class TestResume:
    @pytest.mark.parametrize("beta", ["auto", 100.0])
    def test_resumed_is_uninterrupted_bit_for_bit(self, run: Run, beta: float | str) -> None:
        job = recipe(steps=5, beta=beta, learning_rate=0.01, ema_decay=0.9, warmup_steps=2)
        whole = list(run(job))
        checkpoint = next(event for event in of(Checkpointed, whole) if event.step == 2)
        rest = list(run(job, resume=checkpoint.data))
        assert rest[0] == Resumed(2)
        timeless = [[replace(step, seconds=0) for step in of(Stepped, events)] for events in (whole, rest)]
        assert timeless[1] == timeless[0][2:]
        assert of(Checkpointed, rest)[-1].data == of(Checkpointed, whole)[-1].data
        assert of(Finished, rest) == of(Finished, whole)

    def test_needs_no_global_chance(self, run: Run) -> None:
        """Every draw is keyed: whatever state torch's, NumPy's and Python's own generators are in changes nothing."""
        job = recipe(steps=4, samples={"every": 0})
        whole = of(Finished, list(run(job)))
        disturbed = []
        for event in run(job):
            disturbed.append(event)
            torch.manual_seed(event.step + 100)
            np.random.seed(event.step + 200)
            random.seed(event.step + 300)
        assert of(Finished, disturbed) == whole
        kept = next(event for event in of(Checkpointed, disturbed) if event.step == 2)
        assert of(Finished, list(run(job, resume=kept.data))) == whole

    def test_from_the_last_checkpoint_only_finishes(self, run: Run) -> None:
        whole = list(run(recipe(steps=2)))
        rest = list(run(recipe(steps=2), resume=of(Checkpointed, whole)[-1].data))
        assert rest == [Resumed(2), whole[-1]]

    def test_another_layout_is_refused(self, run: Run) -> None:
        checkpoint = of(Checkpointed, list(run(recipe(steps=2))))[-1]
        other = recipe(steps=2)
        other = other.model_copy(update={"lora": other.lora.model_copy(update={"rank": 3})})
        with pytest.raises(JobFailure) as failure:
            list(run(other, resume=checkpoint.data))
        assert failure.value.code == "checkpoint_damaged"
