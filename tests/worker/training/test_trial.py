"""Validation: the best is delivered, falling ends the job, and a resume knows all of it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from service.domain.errors import JobFailure
from tests.worker.training.conftest import PROMPTS, bright, recipe
from worker.models.load import load
from worker.training.checkpoint import unpack
from worker.training.events import Checkpointed, Event, Finished, Resumed, Sampled, Stepped, Validated
from worker.training.loop import train

Run = Callable[..., Iterator[Event]]
JUDGED = ("judge this", "and that")
NEVER = {"every": 0}


def validation(**changes: object) -> dict[str, object]:
    return {"every": 1, "prompts": list(JUDGED), "num_inference_steps": 2, **changes}


def of(kind: type, events: Sequence[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


class Scripted:
    """`bright` for training; for the validation prompts what is written, one after the other."""

    def __init__(self, *rewards: float) -> None:
        self.rewards = list(rewards)

    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        if prompts[0] in JUDGED:
            return torch.full((len(prompts),), self.rewards.pop(0))
        return bright(pictures, prompts)


class LikeTheBase:
    """`bright` for training; a validation picture is worth the more, the less it differs from the base's: it only falls."""

    def __init__(self) -> None:
        self.base: Tensor | None = None

    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Tensor:
        if prompts[0] not in JUDGED:
            return bright(pictures, prompts)
        if self.base is None:
            self.base = pictures.float()
        return -(pictures.float() - self.base).abs().mean(dim=(1, 2, 3))


class TestDrawing:
    def test_a_call_draws_no_more_pictures_than_the_micro_batch(self, sd_folder: Path) -> None:
        """Each is two rows where there is guidance; training on the same recipe draws as many."""
        base, rows = load("sd", sd_folder, device="cpu"), list[int]()
        base.unet.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))  # type: ignore[attr-defined]
        job = recipe(steps=1, samples={"every": 1, "num_inference_steps": 2}, validation=validation(), micro_batch=1)
        events = list(train(base, bright, job, PROMPTS))
        assert len(of(Sampled, events)[0].pictures) == 4
        assert max(rows) == 2

    def test_pictures_do_not_depend_on_it(self, run: Run) -> None:
        shown = [
            of(Sampled, list(run(recipe(steps=1, micro_batch=size))))[0].pictures.astype(int) for size in (1, 3, 64)
        ]
        assert all(abs(pictures - shown[0]).max() <= 1 for pictures in shown), "another rounding of the same"

    def test_what_was_not_chosen_is_what_the_base_is_served_with(self, run: Run) -> None:
        job = recipe(steps=1, samples={"every": 1})
        entry = job.base.model_copy(update={"num_inference_steps": 3, "guidance_scale": 1.5})
        sampled = of(Sampled, list(run(job.model_copy(update={"base": entry}))))[0]
        assert (sampled.num_inference_steps, sampled.guidance, sampled.nfe) == (3, 1.5, 6)


class TestKeepBest:
    def test_the_adapter_of_the_best_validation_is_delivered(self, run: Run) -> None:
        job = recipe(steps=4, samples=NEVER, checkpoint_every=1, validation=validation(), learning_rate=0.01)
        events = list(run(job, reward=Scripted(0.1, 0.2, 0.9, 0.9, 0.3)))
        (finished,) = of(Finished, events)
        assert (finished.step, finished.kept_step, finished.reason) == (4, 2, "completed")
        averages = [unpack(event.data)[1] for event in of(Checkpointed, events)]
        delivered = safetensors.torch.load(finished.adapter)
        for name, value in delivered.items():
            assert torch.equal(value, averages[1]["average/" + name.removeprefix("unet.")])
        name = next(name for name in delivered if "lora_B" in name)
        assert not torch.equal(delivered[name], averages[3]["average/" + name.removeprefix("unet.")])
        assert [seen.step for seen in of(Validated, events)] == [0, 1, 2, 3, 4]
        assert all(seen.pictures == 2 for seen in of(Validated, events))

    def test_a_reward_that_only_falls_delivers_the_base(self, run: Run) -> None:
        """Better an adapter that does nothing than one that does harm."""
        job = recipe(steps=2, samples=NEVER, validation=validation(), learning_rate=0.05, ema_decay=0.0)
        events = list(run(job, reward=LikeTheBase()))
        (finished,) = of(Finished, events)
        assert finished.kept_step == 0
        delivered = safetensors.torch.load(finished.adapter)
        assert all(value.abs().max() == 0 for name, value in delivered.items() if "lora_B" in name)
        assert of(Validated, events)[-1].reward < 0

    def test_without_keep_best_the_last_is_delivered(self, run: Run) -> None:
        job = recipe(steps=2, samples=NEVER, validation=validation(keep_best=False), learning_rate=0.01)
        (finished,) = of(Finished, list(run(job, reward=Scripted(0.9, 0.2, 0.1))))
        assert finished.kept_step == 2

    def test_a_resume_remembers_the_best_from_before_it(self, run: Run) -> None:
        job = recipe(steps=4, samples=NEVER, checkpoint_every=1, validation=validation(), learning_rate=0.01)
        whole = list(run(job, reward=Scripted(0.1, 0.9, 0.5, 0.6, 0.7)))
        rest = list(run(job, reward=Scripted(0.6, 0.7), resume=of(Checkpointed, whole)[1].data))
        assert of(Finished, rest) == of(Finished, whole)
        assert of(Finished, whole)[0].kept_step == 1

    def test_validating_changes_no_training_and_costs_it_nothing(self, run: Run) -> None:
        with_it, without = (
            list(run(recipe(steps=2, samples=NEVER, validation=wanted), reward=bright))
            for wanted in (validation(keep_best=False), None)
        )
        assert of(Finished, with_it) == of(Finished, without)


class TestGuard:
    def test_patience_ends_the_job_with_its_adapter(self, run: Run) -> None:
        job = recipe(steps=6, samples=NEVER, validation=validation(patience=2), learning_rate=0.01)
        events = list(run(job, reward=Scripted(0.1, 0.5, 0.4, 0.5)))
        (finished,) = of(Finished, events)
        assert (finished.step, finished.kept_step, finished.reason) == (3, 1, "guard")
        assert isinstance(events[-2], Checkpointed)

    def test_the_step_at_which_patience_ends_has_its_samples(self, run: Run) -> None:
        job = recipe(steps=6, samples={"every": 4}, validation=validation(patience=2), learning_rate=0.01)
        sampled = of(Sampled, list(run(job, reward=Scripted(0.1, 0.5, 0.4, 0.5))))
        assert [each.step for each in sampled] == [0, 3]

    def test_a_new_best_begins_the_count_anew(self, run: Run) -> None:
        job = recipe(steps=5, samples=NEVER, validation=validation(patience=2), learning_rate=0.01)
        (finished,) = of(Finished, list(run(job, reward=Scripted(0.1, 0.0, 0.2, 0.1, 0.3, 0.2))))
        assert (finished.step, finished.reason) == (5, "completed")

    @pytest.mark.parametrize("resumed_step", [1, 2, 3])
    def test_ends_at_the_same_step_after_a_resume(self, run: Run, resumed_step: int) -> None:
        job = recipe(steps=6, samples=NEVER, checkpoint_every=1, validation=validation(patience=3), learning_rate=0.05)
        reward = LikeTheBase()
        whole = list(run(job, reward=reward))
        assert [of(Finished, whole)[0].step, of(Finished, whole)[0].reason] == [3, "guard"]
        rest = list(run(job, reward=reward, resume=of(Checkpointed, whole)[resumed_step - 1].data))
        assert rest[0] == Resumed(resumed_step)
        assert of(Finished, rest) == of(Finished, whole)


class TestBudget:
    def test_max_nfe_ends_the_job_after_the_step_that_reaches_it(self, run: Run) -> None:
        job = recipe(steps=9, samples=NEVER, checkpoint_every=1, max_nfe=2 * 52 + 1)
        whole = list(run(job, reward=bright))
        (finished,) = of(Finished, whole)
        assert (finished.step, finished.training_nfe, finished.reason) == (3, 3 * 52, "max_nfe")
        for checkpoint in of(Checkpointed, whole):
            assert of(Finished, list(run(job, reward=bright, resume=checkpoint.data))) == [finished]

    def test_time_ends_it_with_its_adapter_and_a_checkpoint(self, run: Run) -> None:
        answers = iter([False, True])
        job = recipe(steps=9, samples=NEVER, checkpoint_every=100)
        events = list(run(job, reward=bright, out_of_time=lambda: next(answers)))
        assert [(type(event).__name__, event.step) for event in events[-3:]] == [
            ("Stepped", 2),
            ("Checkpointed", 2),
            ("Finished", 2),
        ]
        assert events[-1].reason == "max_seconds"

    def test_what_was_in_time_is_what_it_would_have_been(self, run: Run) -> None:
        """A budget changes when a job ends, not what its steps do."""
        free, bound = (
            of(Stepped, list(run(recipe(steps=3, samples=NEVER, max_nfe=nfe), reward=bright))) for nfe in (None, 60)
        )
        assert len(bound) == 2
        assert [step.loss for step in bound] == [step.loss for step in free[:2]]


class TestStart:
    def test_training_begins_with_the_given_adapter_against_the_base(self, run: Run) -> None:
        """The reference stays the base, so the first logit is not 0; step 0 delivers the file that was given."""
        first = of(Finished, list(run(recipe(steps=3, samples=NEVER, learning_rate=0.05), reward=bright)))[0]
        given = safetensors.torch.load(first.adapter)
        assert all(value.abs().max() > 0 for name, value in given.items() if "lora_B" in name)
        job = recipe(steps=1, samples=NEVER, validation=validation())
        events = list(run(job, reward=Scripted(0.9, 0.1), start=first.adapter))
        (finished,) = of(Finished, events)
        assert (finished.kept_step, finished.adapter) == (0, first.adapter)
        assert of(Stepped, events)[0].preference > 1e-3

    @pytest.mark.parametrize("layout", [{"rank": 3}, {"targets": ("attention",)}])
    def test_another_layout_is_refused_with_the_remedy(self, run: Run, layout: dict[str, object]) -> None:
        job = recipe(steps=1, samples=NEVER)
        (finished,) = of(Finished, list(run(job, reward=bright)))
        other = job.model_copy(update={"lora": job.lora.model_copy(update=layout)})
        with pytest.raises(JobFailure, match=r"the same lora\.rank and lora\.targets") as failure:
            list(run(other, reward=bright, start=finished.adapter))
        assert failure.value.code == "start_adapter"
