"""One attempt at a job, from the claim to its end: stage, run the child, settle.

Whatever goes wrong ends this attempt only: the worker goes on to the next job, and need not wait for `settle`.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeGuard, assert_never

from service.domain.errors import Conflict, Damaged, FenceLost, InvalidTransition, JobFailure, Unavailable
from service.domain.jobs import JobError, State
from service.domain.outside import Doorbell
from service.operations.attempts import Attempts, Claim
from worker import pipe
from worker.attempt.attend import Line, Said, attend
from worker.attempt.inputs import Inputs
from worker.attempt.patience import LAST_STORE_SECONDS, patiently
from worker.attempt.process import CHILD, PACKAGE_ROOT, Process, bare_environment
from worker.attempt.scratch import Scratch
from worker.attempt.scribe import NotStored, Scribe
from worker.attempt.staging import Models, ModelUnavailable, NotStaged, OtherWeights, stage_models
from worker.attempt.stock import Stock
from worker.attempt.verdict import Certified, ChildEnd, Dropped, Failed, PutOff, Stopped, Succeeded, Verdict, judge
from worker.attempt.watch import Keeping, Patience, Watch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a worker gives to each attempt. `keeping` has a connection of its own: no upload delays a heartbeat."""

    attempts: Attempts
    keeping: Keeping
    stock: Stock
    scratch: Scratch
    cache: Path
    device: str
    threads: int
    patience: Patience
    doorbell: Doorbell
    code_version: str
    keep_last_checkpoints: int = 3
    command: Sequence[str] = CHILD


class Attempt:
    def __init__(self, claim: Claim, place: Workplace) -> None:
        self._claim, self._job, self._place = claim, claim.job, place
        self._watch = Watch(place.keeping, claim.job.id, claim.job.fence, place.patience, claim.claimed_at)
        self._held = ExitStack()
        self._end: ChildEnd | Failed | PutOff | None = None

    @property
    def name(self) -> str:
        return f"{self._job.id}-{self._job.fence}"

    def hand_back(self) -> None:
        """The worker ends: save what there is and leave the job to another. From any thread."""
        self._watch.leave()
        self._watch.ask("hand_back")

    def hurry(self) -> None:
        """The worker ends while the attempt's end is being written. From any thread."""
        self._watch.leave()

    def run(self) -> None:
        self.work()
        self.settle()

    def work(self) -> None:
        """Stage, and run the child to its end: the device is free then. The lease is kept until `settle`, which is due.

        Raises for nothing that befalls the job.
        """
        self._held.enter_context(self._watch)
        try:
            self._end = self._work(self._held.enter_context(self._place.scratch.attempt(self.name)))
        except FenceLost:
            self._watch.end("fence_lost")
        except ModelUnavailable as away:
            self._end = self._put_off(away.code, away.message)
        except NotStaged as failure:
            self._end = self._unless_asked(failure, failure.retry)
        except NotStored as failure:
            log.error("%s: %s", self.name, failure.message)
            self._end = self._unless_asked(failure, retry=True)
        except Damaged as error:
            self._end = self._failed(error.code, error.message, retry=True)
        except Unavailable as away:
            self._end = self._put_off(away.code, away.message)
        except Exception as error:
            self._end = self._after(error)

    def settle(self) -> None:
        """Write how it ended and let go of the lease. Needs no device; from any thread, once."""
        with self._held:
            try:
                self._settle(self._end)
            except FenceLost:
                log.warning("%s: the attempt no longer owns the job; nothing was written", self.name)
            except Exception:
                log.exception("%s: the attempt's end could not be written; the reaper will see to it", self.name)

    @property
    def trouble(self) -> str | None:
        """Once `work` is over: the cause of its end where that is the worker's or the store's, and befalls its next job as well."""
        end = self._end
        if isinstance(end, ChildEnd):
            verdict = judge(State.RUNNING, end, self._watch.ended, self._watch.asked)
            end = verdict if isinstance(verdict, Failed | PutOff) else None
        if isinstance(end, Failed):
            return end.cause if end.cause == NotStored.code else None
        return end.error.code if end is not None and end.error.code != ModelUnavailable.code else None

    def _after(self, error: Exception) -> Failed | PutOff | None:
        """A disk that cannot be used, or a fault of ours."""
        if isinstance(error, OSError) and self._place.scratch.is_at_fault(error):
            text = (
                f"the worker's scratch folder cannot be used ({error}): see to its disk, and that it may be written to"
            )
            log.error("%s: %s", self.name, text)
            return self._put_off("no_scratch", text)
        log.exception("%s: a fault of the worker's ended the attempt", self.name)
        return self._failed("internal_error", f"the worker failed: {type(error).__name__}: {error}", retry=True)

    def _unless_asked(self, failure: JobFailure, retry: bool) -> Failed | None:
        """As in `_put_off`."""
        return self._failed(failure.code, failure.message, retry) if self._watch.asked is None else None

    @staticmethod
    def _failed(code: str, message: str, retry: bool) -> Failed:
        return Failed(JobError(code, message), code, retry)

    def _put_off(self, code: str, message: str) -> PutOff | None:
        """None where the attempt was to stop anyway: then it ends as it was asked to."""
        return PutOff(JobError(code, message)) if self._watch.asked is None else None

    def _work(self, scratch: Path) -> ChildEnd | None:
        """Stage and run the child; None if it was not started because the attempt is to stop.

        From the newest checkpoint that is whole, in the store and in itself; without one, from the start.
        """
        place, recipe = self._place, self._job.recipe
        scribe = Scribe(place.attempts, self._watch, self._job, scratch, place.keep_last_checkpoints)
        place.stock.check(recipe)
        models = self._stage(scratch)
        inputs = Inputs(self._claim, place.attempts, self._watch, scratch)
        prompts_path, images_path = inputs.prompts()
        start_path, goal_path = inputs.start(), inputs.goal()
        for artifact, path in inputs.beginnings(scribe.damaged):
            if self._watch.asked is not None or self._watch.lost:
                return None
            begin = pipe.Begin(
                recipe=recipe.model_dump(mode="json"),
                prompts_path=str(prompts_path),
                base_path=str(models.base),
                reward_model_path=str(models.reward) if models.reward else None,
                checkpoint_path=str(path) if path else None,
                scratch=str(scratch),
                device=place.device,
                threads=place.threads,
                lease_seconds=place.patience.lease,
                goal_path=str(goal_path) if goal_path else None,
                images_path=str(images_path) if images_path else None,
                start_path=str(start_path) if start_path else None,
            )
            end = self._run_child(begin, scratch, scribe)
            if artifact is None or path is None or not _is_refused(end.word):
                return end
            scribe.damaged(artifact, end.word.message)
            path.unlink()
        raise NotStaged(
            "a checkpoint that the replay needs is gone or damaged: certify between others",
            code="checkpoint_damaged",
        )

    def _run_child(self, begin: pipe.Begin, scratch: Path, scribe: Scribe) -> ChildEnd:
        scribe.word = None  # of one that refused its checkpoint
        process = Process(
            self._place.command, environment=bare_environment(scratch, self._place.threads), folder=scratch
        )
        process.send(begin)
        code = attend(process, self._watch, scribe.take)
        scribe.close()
        return ChildEnd(scribe.word, code, scribe.last_line)

    def _stage(self, scratch: Path) -> Models:
        place, recipe = self._place, self._job.recipe
        try:
            models = stage_models(recipe, place.cache, lambda *call: self._fetch(scratch, *call), self._go_on)
        except OtherWeights as other:
            place.stock.note_other_weights(other.entry)
            raise
        except ModelUnavailable as away:
            self._go_on()  # a fetch that was ended from here says nothing of the hub
            place.stock.note_missed(away.entry, away.message)
            raise
        place.stock.note_had(recipe)
        return models

    def _go_on(self) -> None:
        """Raises where the attempt is to end."""
        if self._watch.lost:
            raise FenceLost
        if self._watch.asked is not None:
            raise NotStaged("the attempt was asked to stop", code="stopped")

    def _fetch(self, scratch: Path, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Run a fetch to its end, under the watch: a cancel ends it too. Its exit code and last words."""
        ours = {"PYTHONPATH": PACKAGE_ROOT, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        process = Process(command, environment=dict(environment) | ours, folder=scratch)
        words = [""]

        def note(said: Said) -> None:
            if isinstance(said, Line) and said.text.strip():
                words.append(said.text.strip())

        return attend(process, self._watch, note, speaks=False), words[-1]

    def _settle(self, end: ChildEnd | Failed | PutOff | None) -> None:
        """Write how it ended. A cancel or a pause may come in between and change the state: then look again."""
        for _ in State:
            state = patiently(self._watch, lambda: self._place.attempts.control(self._job.id, self._job.fence))
            if isinstance(end, Failed | PutOff) and state in (State.RUNNING, State.FINALIZING):
                verdict: Verdict = end
            else:
                child = end if isinstance(end, ChildEnd) else None
                verdict = judge(state, child, self._watch.ended, self._watch.asked)
            try:
                self._carry_out(verdict)
                return
            except InvalidTransition as error:
                log.info("%s: %s; looking again", self._job.id, error.message)
            except Unavailable as away:  # of the store, and of what the training ends with
                end = (
                    None if self._watch.must_leave else self._unless_asked(NotStored("its manifest", away), retry=True)
                )
            except (Conflict, Damaged) as error:
                end = self._failed(error.code, error.message, retry=True)

    def _carry_out(self, verdict: Verdict) -> None:
        attempts, job, fence, watch = self._place.attempts, self._job.id, self._job.fence, self._watch
        log.info("%s: attempt %d: %s", job, fence, verdict)
        match verdict:
            case Dropped():
                raise FenceLost
            case Succeeded(nfe, fe, reason):
                version = self._place.code_version
                succeed = partial(
                    attempts.succeed, training_nfe=nfe, training_fe=fe, code_version=version, reason=reason
                )
                patiently(watch, lambda: succeed(job, fence), LAST_STORE_SECONDS)
            case Certified(found, nfe, fe):
                certify = partial(attempts.certify, found_sha256=found, training_nfe=nfe, training_fe=fe)
                patiently(watch, lambda: certify(job, fence))
            case Failed(error, cause, retry):
                patiently(watch, lambda: attempts.fail(job, fence, error, cause=cause, retry=retry))
            case PutOff(error):
                patiently(watch, lambda: attempts.put_off(job, fence, error))
            case Stopped(cause):
                if patiently(watch, lambda: attempts.stopped(job, fence, cause)).state is State.QUEUED:
                    self._place.doorbell.ring()
            case _:
                assert_never(verdict)


def _is_refused(word: pipe.Finished | pipe.Failed | None) -> TypeGuard[pipe.Failed]:
    """Whole as it is in the store, the checkpoint is none that training can go on from."""
    return isinstance(word, pipe.Failed) and word.code == "checkpoint_damaged"
