"""A certificate's training: from one stored checkpoint of a job to the next, whose digest must be met.

The file that the replayed state makes is compared, with the account of the file to be met: clocks are not part of the claim.
Nothing is kept; a replay that is stopped begins again. It runs on the CPU, whatever the worker trains on: bits are promised
on the same kind of CPU only.
"""

import hashlib
from collections.abc import Iterator

from service.domain.errors import JobFailure
from service.domain.recipes import Recipe
from worker import pipe
from worker.child.account import Account, Hardware
from worker.child.teller import AskedToStop, Say, step_data
from worker.training.checkpoint import account_of, unpack
from worker.training.events import Checkpointed, Event, Finished, Resumed, Stepped, Warned

NEVER = 100_000


def quiet(recipe: Recipe) -> Recipe:
    """The same training without what only shows or bounds it: samples, checkpoints between and budgets change no state."""
    samples = recipe.samples.model_copy(update={"every": 0})
    return recipe.model_copy(update={"samples": samples, "checkpoint_every": NEVER, "max_nfe": None})


class Replay:
    """`start` and `goal` are the bytes of the two checkpoints.

    Raises JobFailure `checkpoint_damaged`; `not_trained_on_cpu` where either was made on something else.
    """

    def __init__(
        self, say: Say, stop: AskedToStop, *, to_step: int, device: str, hardware: Hardware, start: bytes, goal: bytes
    ) -> None:
        self._say, self._stop, self._to_step, self._device = say, stop, to_step, device
        self._account, met = account_of(goal), Account.read(account_of(goal))
        self._is_last, self._made_on, self._hardware = met.spent, met.hardware, hardware
        for made_on in (Account.read(account_of(start)).hardware, met.hardware):
            if made_on is not None and not made_on.device.startswith("cpu"):
                raise JobFailure(
                    f"the checkpoint was made on {made_on}, and bits are promised on the same kind of CPU only: certify a "
                    "job whose worker trains on the CPU (STROP_DEVICE=cpu)",
                    code="not_trained_on_cpu",
                )
        began, _ = unpack(start)
        self._nfe, self._fe = began.counts.nfe, began.counts.fe(began.backward_cost)
        self._step, self._spent = began.step, (0, 0.0)

    def wants_checkpoint(self) -> bool:
        """Asked by the loop after each step: is this the state to compare?"""
        return self._step == self._to_step

    def is_out_of_time(self) -> bool:
        """A training whose budget was spent had its last step there, which is validated whatever its number."""
        return self._is_last and self.wants_checkpoint()

    def tell(self, events: Iterator[Event]) -> None:
        for event in events:
            match event:
                case Resumed():
                    self._say(pipe.Ready(self._device, event.step))
                    self._tell_of_other_hardware(event.step)
                case Warned():
                    self._warn(event.step, event.message)
                case Stepped():
                    self._tell_step(event)
                case Checkpointed(step=self._to_step, snapshot=snapshot):
                    found = hashlib.sha256(snapshot.pack(self._account)).hexdigest()
                    self._say(pipe.Finished(event.step, None, *self._spent, found_sha256=found))
                    return
                case Finished():
                    raise JobFailure(
                        f"the replay ended at step {event.step}, before step {self._to_step} of the checkpoint to be met",
                        code="replay_too_short",
                    )
                case _:
                    pass
            asked = self._stop()
            if asked is not None:
                self._say(pipe.Finished(self._step, asked.reason, *self._spent))
                return

    def _tell_of_other_hardware(self, step: int) -> None:
        if self._made_on is not None and self._made_on != self._hardware:
            self._warn(
                step,
                f"replayed on other hardware ({self._hardware}) than the job's ({self._made_on}): where the digests differ, "
                "that alone may be why",
            )

    def _warn(self, step: int, sentence: str) -> None:
        self._say(pipe.Report("job.log", step, {"level": "warning", "lines": [sentence]}))

    def _tell_step(self, event: Stepped) -> None:
        self._step = event.step
        self._spent = event.training_nfe - self._nfe, float(event.training_fe - self._fe)
        own = {"training_nfe": self._spent[0], "training_fe": self._spent[1]}
        left = event.seconds * (self._to_step - event.step)
        self._say(pipe.Report("job.step", event.step, step_data(event) | own | {"seconds_left": round(left, 3)}))
