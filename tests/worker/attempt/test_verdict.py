import signal

import pytest

from service.domain.jobs import JobError, State
from service.operations.moves import PUT_OFF
from worker.attempt.verdict import Certified, ChildEnd, Dropped, Failed, PutOff, Stopped, Succeeded, judge
from worker.pipe import Failed as SaidFailed
from worker.pipe import Finished

NATURAL = ChildEnd(Finished(60, None, 600, 750.0), 0)
CRASHED = ChildEnd(None, 1, "RuntimeError: out of ideas")


def stopped_for(reason: str) -> ChildEnd:
    return ChildEnd(Finished(7, reason, 70, 87.5), 0)


class TestJudge:
    @pytest.mark.parametrize("ended", ["fence_lost", "lease_over", "unkillable"])
    def test_a_lost_job_is_not_written_to_even_when_all_was_done(self, ended: str) -> None:
        assert judge(State.RUNNING, NATURAL, ended, None) == Dropped()  # type: ignore[arg-type]

    @pytest.mark.parametrize("end", [NATURAL, CRASHED, stopped_for("cancel"), None])
    def test_a_cancel_is_obeyed_however_the_child_ended(self, end: ChildEnd | None) -> None:
        assert judge(State.CANCELLING, end, "grace_over", "cancel") == Stopped("cancelled")

    @pytest.mark.parametrize("end", [NATURAL, CRASHED, stopped_for("pause"), None])
    def test_so_is_a_pause(self, end: ChildEnd | None) -> None:
        assert judge(State.PAUSING, end, None, "pause") == Stopped("paused")

    def test_the_natural_end_is_success_with_its_costs(self) -> None:
        assert judge(State.RUNNING, NATURAL, None, None) == Succeeded(600, 750.0)

    def test_the_natural_end_has_a_reason(self) -> None:
        end = ChildEnd(Finished(5, None, 50, 62.5, reason="max_nfe"), 0)
        assert judge(State.RUNNING, end, None, None) == Succeeded(50, 62.5, "max_nfe")

    def test_the_natural_end_of_a_replay_is_a_certificate(self) -> None:
        end = ChildEnd(Finished(5, None, 50, 62.5, found_sha256="0" * 64), 0)
        assert judge(State.RUNNING, end, None, None) == Certified("0" * 64, 50, 62.5)

    def test_the_natural_end_comes_before_a_hand_back_that_came_too_late(self) -> None:
        assert judge(State.RUNNING, NATURAL, None, "hand_back") == Succeeded(600, 750.0)

    def test_a_finish_that_was_begun_is_gone_on_with(self) -> None:
        assert judge(State.FINALIZING, NATURAL, None, None) == Succeeded(600, 750.0)

    @pytest.mark.parametrize("end", [CRASHED, stopped_for("hand_back"), None])
    def test_a_worker_that_ends_hands_its_job_back_uncounted(self, end: ChildEnd | None) -> None:
        assert judge(State.RUNNING, end, None, "hand_back") == Stopped("handed_back")

    def test_silence_is_stuck_and_may_be_tried_again(self) -> None:
        verdict = judge(State.RUNNING, ChildEnd(None, -signal.SIGKILL), "stuck", None)
        assert isinstance(verdict, Failed)
        assert (verdict.error.code, verdict.cause, verdict.retry) == ("stuck", "stuck", True)

    def test_a_device_that_is_not_there_is_no_fault_of_the_job_s(self) -> None:
        end = ChildEnd(SaidFailed("device_unavailable", "see to the driver", True), 0)
        assert judge(State.RUNNING, end, None, None) == PutOff(JobError("device_unavailable", "see to the driver"))
        assert "device_unavailable" in PUT_OFF

    def test_a_full_disk_is_the_worker_s_trouble_too(self) -> None:
        end = ChildEnd(SaidFailed("disk_full", "free space", True), 0)
        assert judge(State.RUNNING, end, None, None) == PutOff(JobError("no_scratch", "free space"))

    def test_what_the_child_says_is_the_job_s_error(self) -> None:
        verdict = judge(State.RUNNING, ChildEnd(SaidFailed("nan_loss", "lower the rate", False), 0), None, None)
        assert isinstance(verdict, Failed)
        assert (verdict.error.code, verdict.error.message, verdict.retry) == ("nan_loss", "lower the rate", False)

    def test_a_child_killed_from_outside_is_told_as_want_of_memory(self) -> None:
        verdict = judge(State.RUNNING, ChildEnd(None, -signal.SIGKILL), None, None)
        assert isinstance(verdict, Failed)
        assert (verdict.error.code, verdict.cause, verdict.retry) == ("child_killed", "child_crashed", True)
        assert "out of memory" in verdict.error.message

    def test_a_crash_names_the_signal_and_the_last_words(self) -> None:
        verdict = judge(State.RUNNING, ChildEnd(None, -signal.SIGSEGV, "loading"), None, None)
        assert isinstance(verdict, Failed)
        assert verdict.error.code == "child_crashed"
        assert "SIGSEGV" in verdict.error.message
        assert verdict.error.message.endswith("Its last words: loading")
