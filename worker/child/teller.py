"""Tells the parent of a training: the loop's events become words of the pipe, its bytes whole files in the scratch folder.

Checkpoints are packed, hashed, written and synced beside training: a step waits only for the copy in memory.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, assert_never

from PIL import Image

from service.domain.errors import JobFailure
from worker import pipe
from worker.child.account import Account, Hardware
from worker.child.beside import Beside
from worker.child.files import write_whole
from worker.training.checkpoint import Snapshot
from worker.training.events import Checkpointed, Event, Finished, Resumed, Sampled, Stepped, Validated, Warned

ADAPTER = "pytorch_lora_weights.safetensors"
"""diffusers' default name: `load_lora_weights(folder)` finds it."""
KOHYA = "kohya.safetensors"
"""The same adapter for ComfyUI and kohya's tools."""
CHECKPOINT_SECONDS = 300.0
"""Most between two checkpoints, whatever `checkpoint_every` says: where steps take minutes, ten of them are much to lose."""
_PACE_STEPS = 20

Say = Callable[[pipe.Message], None]
AskedToStop = Callable[[], pipe.Stop | None]
Write = Callable[[Path, str, str, int, bytes], pipe.FileMade]


class Teller:
    """`account` is that of the checkpoint which training goes on from. `clock` gives seconds."""

    def __init__(
        self,
        scratch: Path,
        say: Say,
        stop: AskedToStop,
        *,
        steps: int,
        max_seconds: float | None,
        max_nfe: int | None,
        device: str,
        hardware: Hardware,
        account: Account,
        clock: Callable[[], float] = monotonic,
        write: Write = write_whole,
    ) -> None:
        self._scratch, self._steps, self._max_seconds, self._max_nfe = scratch, steps, max_seconds, max_nfe
        self._device, self._hardware, self._account = device, hardware, account
        self._voice, self._stop, self._clock, self._write_whole = say, stop, clock, write
        self._beside, self._speaking, self._is_over = Beside(), Lock(), False
        self._began, self._before = clock(), account.seconds
        self._saved_at = self._began
        self._moments: deque[float] = deque(maxlen=_PACE_STEPS + 1)
        self._spent = (0, 0.0)
        self._step, self._is_late = 0, False

    @property
    def seconds(self) -> float:
        """Of training so far, over all attempts: samples and validations too, loading and waiting for a worker not."""
        return self._before + self._clock() - self._began

    def wants_checkpoint(self) -> bool:
        """A Stop wants one, and time: it changes no state, so the steps at which it is made need not be the same again."""
        asked = self._stop()
        overdue = self._clock() - self._saved_at >= CHECKPOINT_SECONDS
        return overdue or (asked is not None and asked.checkpoint)

    def is_out_of_time(self) -> bool:
        self._is_late = self._max_seconds is not None and self.seconds >= self._max_seconds
        return self._is_late

    def tell(self, events: Iterator[Event]) -> None:
        """Drive the loop to its end, or to the step boundary at which a Stop is obeyed."""
        saved = 0  # the step up to which going on needs no more than the store will have
        self._moments.append(self._clock())
        for event in self._kept(events):
            self._beside.check()
            self._tell_one(event)
            if isinstance(event, Resumed | Checkpointed):
                saved = event.step
            asked = self._stop()
            if asked is not None and not isinstance(event, Finished) and (not asked.checkpoint or saved == self._step):
                self._obey(asked)
                return

    def _kept(self, events: Iterator[Event]) -> Iterator[Event]:
        """A training that fails (a loss that is no number, say) first leaves its last good checkpoint."""
        try:
            yield from events
        except JobFailure:
            self._beside.finish()
            raise

    def _obey(self, asked: pipe.Stop) -> None:
        """A cancel leaves a checkpoint that is being written to its fate; nothing is told after the last word."""
        if asked.checkpoint:
            self._say(pipe.Saving(self._step))
            self._beside.finish()
        self._say(pipe.Finished(self._step, asked.reason, *self._spent))

    def _tell_one(self, event: Event) -> None:
        match event:
            case Resumed():
                self._step = event.step
                self._say(pipe.Ready(self._device, event.step))
                self._tell_of_other_hardware(event.step)
            case Warned():
                self._warn(event.step, event.message)
            case Stepped():
                self._step, self._spent = event.step, (event.training_nfe, float(event.training_fe))
                self._account = self._account.after_step(event.reward_mean)
                self._say(pipe.Report("job.step", event.step, self._progress(event)))
            case Sampled():
                self._tell_samples(event)
            case Validated():
                self._account = replace(self._account, validated=event.reward)
                data = {"reward": event.reward, "pictures": event.pictures}
                self._say(pipe.Report("job.validation", event.step, data))
            case Checkpointed():
                self._saved_at = self._clock()
                self._account = self._account.after_checkpoint(event.step)
                spent = self._is_late or (self._max_nfe is not None and self._spent[0] >= self._max_nfe)
                now = replace(self._account, seconds=self.seconds, spent=spent, hardware=self._hardware)
                self._beside.do(partial(self._tell_checkpoint, event.step, event.snapshot, now))
            case Finished():
                self._beside.finish()
                if event.kohya is not None:
                    self._write(KOHYA, "export", event.kept_step, event.kohya)
                self._write(ADAPTER, "adapter", event.kept_step, event.adapter)
                spent = event.training_nfe, float(event.training_fe)
                self._say(pipe.Finished(event.step, None, *spent, reason=event.reason))
            case _:
                assert_never(event)

    def _tell_checkpoint(self, step: int, snapshot: Snapshot, account: Account) -> None:
        """Beside training."""
        made = self._write(f"checkpoint-{step}.safetensors", "checkpoint", step, snapshot.pack(asdict(account)))
        data = {
            "name": made.name, "bytes": made.bytes, "sha256": made.sha256, "state_sha256": snapshot.sha256,
            "seconds": round(account.seconds, 3), "score": account.score, "best_step": account.best_step,
        }  # fmt: skip
        self._say(pipe.Report("job.checkpoint", step, data))

    def _tell_of_other_hardware(self, step: int) -> None:
        before = self._account.hardware
        if before is not None and before != self._hardware:
            self._warn(
                step,
                f"resumed on other hardware ({self._hardware}; before: {before}): not bit for bit what it would be",
            )

    def _progress(self, event: Stepped) -> dict[str, Any]:
        self._moments.append(self._clock())
        pace = (self._moments[-1] - self._moments[0]) / (len(self._moments) - 1)
        left = pace * (self._steps - event.step)
        if self._max_seconds is not None:
            left = min(left, max(0.0, self._max_seconds - self.seconds))
        return step_data(event) | {"seconds_left": round(left, 3), "training_seconds": round(self.seconds, 3)}

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

    def _warn(self, step: int, sentence: str) -> None:
        self._say(pipe.Report("job.log", step, {"level": "warning", "lines": [sentence]}))

    def _write(self, name: str, kind: str, step: int, data: bytes) -> pipe.FileMade:
        made = self._write_whole(self._scratch, name, kind, step, data)
        self._say(made)
        return made

    def _say(self, message: pipe.Message) -> None:
        """From either thread; nothing after the last word."""
        with self._speaking:
            if not self._is_over:
                self._is_over = isinstance(message, pipe.Finished)
                self._voice(message)


def step_data(event: Stepped) -> dict[str, Any]:
    """What `job.step` says of an update."""
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
    }
