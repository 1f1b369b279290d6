"""A watched job as a live bar on a terminal, and as lines elsewhere."""

import io
from collections.abc import Iterator

import pytest
import strop
from rich.console import Console
from strop.cli.follow import describe, duration, follow

SUCCEEDED = strop.Job("job_1", strop.State.SUCCEEDED, adapter="red@1", progress=strop.Progress(9, 9, 0.5, 1234))


def updates() -> Iterator[strop.Job | strop.Event]:
    yield strop.Job("job_1", strop.State.QUEUED)
    yield strop.Event(1, "job.queued")
    yield strop.Job("job_1", strop.State.RUNNING, progress=strop.Progress(3, 9, 0.25, 24, 28.5, 75.0))
    yield strop.Event(2, "job.resumed", fence=2, step=2)
    yield strop.Job(
        "job_1", strop.State.RUNNING, progress=strop.Progress(3, 9, 0.25, 24, 28.5, 75.0), metadata={"a": "b"}
    )
    yield SUCCEEDED


def shown(*, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None, legacy_windows=False)
    assert follow(updates(), console) == SUCCEEDED
    return file.getvalue()


def test_lines_say_each_change_once() -> None:
    assert shown(terminal=False).splitlines() == [
        "job_1 queued  step 0/0  0 NFE",
        "job_1 running  step 3/9  reward 0.2500  24 NFE  1 min 15 s left",
        "resumed (attempt 2)",
        "job_1 succeeded  step 9/9  reward 0.5000  1,234 NFE  adapter red@1",
    ]


def test_a_bar_ends_with_what_the_job_made() -> None:
    last = [line for line in shown(terminal=True).splitlines() if "step" in line][-1]
    for words in ("succeeded", "step 9/9", "reward 0.5000", "1,234 NFE", "adapter red@1"):
        assert words in last


def test_a_failed_job_is_described_by_its_error() -> None:
    job = strop.Job("job_1", strop.State.FAILED, error=strop.JobError("nan_loss", "the loss is not a number"))
    assert describe(job).endswith("  nan_loss: the loss is not a number")


def test_nothing_to_follow_is_an_error() -> None:
    with pytest.raises(strop.StropError):
        follow(iter([]), Console(file=io.StringIO()))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (75, "1 min 15 s"), (3725, "1 h 02 min")]
)
def test_durations_read_well(seconds: float, words: str) -> None:
    assert duration(seconds) == words
