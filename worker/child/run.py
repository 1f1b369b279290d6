"""Runs the training loop for the parent: its events become words of the pipe, its bytes whole files in the scratch folder.

The loop knows nothing of files, pipes and stops; the parent nothing of tensors. Here is where the two meet.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from time import monotonic
from typing import Any, assert_never, cast

import torch
from PIL import Image

from service.domain.recipes import Recipe
from worker import pipe
from worker.child.files import write_whole
from worker.models.load import load
from worker.rewards.make import make
from worker.training.events import Checkpointed, Event, Finished, Resumed, Sampled, Stepped, Validated, Warned
from worker.training.loop import train

ADAPTER = "pytorch_lora_weights.safetensors"
"""diffusers' default name: `load_lora_weights(folder)` finds it."""
_PACE_STEPS = 20

Say = Callable[[pipe.Message], None]
AskedToStop = Callable[[], pipe.Stop | None]


def run(begin: pipe.Begin, say: Say, stop: AskedToStop) -> None:
    """From Begin to Finished. Raises what the models and the loop raise; the caller says Failed."""
    torch.set_num_threads(begin.threads)
    recipe = Recipe.model_validate(begin.recipe)
    prompts = Path(begin.prompts_path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    base = load(
        recipe.base.family,
        Path(begin.base_path),
        device=begin.device,
        dtype=recipe.dtype,
        resolution=recipe.base.resolution,
    )
    folder = Path(begin.reward_model_path) if begin.reward_model_path else None
    reward = make(recipe.reward, folder=folder, device=base.device)
    checkpoint = Path(begin.checkpoint_path).read_bytes() if begin.checkpoint_path else None

    def wants_checkpoint() -> bool:
        asked = stop()
        return asked is not None and asked.checkpoint

    if checkpoint is None:
        say(pipe.Ready(_name(base.device), None))
    events = train(base, reward, recipe, prompts, resume=checkpoint, checkpoint_now=wants_checkpoint)
    with closing(cast("Generator[Event]", events)):
        Teller(Path(begin.scratch), say, stop, steps=recipe.steps, device=_name(base.device)).tell(events)


def _name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


class Teller:
    """Tells the parent of a training. `clock` gives seconds, for how long there is still to go."""

    def __init__(
        self,
        scratch: Path,
        say: Say,
        stop: AskedToStop,
        *,
        steps: int,
        device: str,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._scratch, self._steps, self._device = scratch, steps, device
        self._say, self._stop, self._clock = say, stop, clock
        self._moments: deque[float] = deque(maxlen=_PACE_STEPS + 1)
        self._spent = (0, 0.0)
        self._step = 0

    def tell(self, events: Iterator[Event]) -> None:
        """Drive the loop to its end, or to the step boundary at which a Stop is obeyed."""
        saved = 0  # the step up to which going on needs no more than the store has
        self._moments.append(self._clock())
        for event in events:
            self._tell_one(event)
            if isinstance(event, Resumed | Checkpointed):
                saved = event.step
            asked = self._stop()
            if asked is not None and not isinstance(event, Finished) and (not asked.checkpoint or saved == self._step):
                self._say(pipe.Finished(self._step, asked.reason, *self._spent))
                return

    def _tell_one(self, event: Event) -> None:
        match event:
            case Resumed():
                self._step = event.step
                self._say(pipe.Ready(self._device, event.step))
            case Warned():
                self._say(pipe.Report("job.log", event.step, {"level": "warning", "lines": [event.message]}))
            case Stepped():
                self._step, self._spent = event.step, (event.training_nfe, float(event.training_fe))
                self._say(pipe.Report("job.step", event.step, self._progress(event)))
            case Sampled():
                self._tell_samples(event)
            case Validated():
                data = {"reward": event.reward, "pictures": event.pictures}
                self._say(pipe.Report("job.validation", event.step, data))
            case Checkpointed():
                made = self._write(f"checkpoint-{event.step}.safetensors", "checkpoint", event.step, event.data)
                data = {"name": made.name, "bytes": made.bytes, "sha256": made.sha256}
                self._say(pipe.Report("job.checkpoint", event.step, data))
            case Finished():
                self._write(ADAPTER, "adapter", event.step, event.adapter)
                self._say(pipe.Finished(event.step, None, event.training_nfe, float(event.training_fe)))
            case _:
                assert_never(event)

    def _progress(self, event: Stepped) -> dict[str, Any]:
        self._moments.append(self._clock())
        pace = (self._moments[-1] - self._moments[0]) / (len(self._moments) - 1)
        return {
            "reward": {"mean": event.reward_mean, "best": event.reward_best, "worst": event.reward_worst},
            "loss": event.loss,
            "preference": event.preference,
            "accuracy": event.accuracy,
            "ties": event.ties,
            "beta": event.beta,
            "grad_norm": event.grad_norm,
            "learning_rate": event.learning_rate,
            "training_nfe": event.training_nfe,
            "training_fe": event.training_fe,
            "decodes": event.decodes,
            "reward_calls": event.reward_calls,
            "seconds": event.seconds,
            "seconds_left": round(pace * (self._steps - event.step), 3),
        }

    def _tell_samples(self, event: Sampled) -> None:
        """One PNG a prompt, then the event that names them."""
        names = []
        for index, picture in enumerate(event.pictures):
            png = BytesIO()
            Image.fromarray(picture).save(png, "PNG")
            made = self._write(f"sample-{event.step}-{index}.png", "sample", event.step, png.getvalue())
            names.append(made.name)
        data = {
            "names": names,
            "prompts": list(event.prompts),
            "seeds": list(event.seeds),
            "guidance": event.guidance,
            "num_inference_steps": event.num_inference_steps,
            "nfe": event.nfe,
        }
        self._say(pipe.Report("job.samples", event.step, data))

    def _write(self, name: str, kind: str, step: int, data: bytes) -> pipe.FileMade:
        made = write_whole(self._scratch, name, kind, step, data)
        self._say(made)
        return made
