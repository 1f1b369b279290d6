"""Listening to a process until it is gone. A thread reads each of its pipes; nothing that it does can keep us for ever:

what floods the pipes waits at them, what will not go is killed, and what escaped with an end of a pipe is left to it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from time import monotonic

from worker import pipe
from worker.attempt.inbox import Inbox
from worker.attempt.process import Process
from worker.attempt.watch import Watch

log = logging.getLogger(__name__)

EXIT_SECONDS = 10.0
"""From the last word to the exit; CUDA takes a while to go."""
KILL_SECONDS = 20.0
"""From SIGKILL to the end, which waits for system calls of a driver or a network disk."""
LINGER_SECONDS = 1.0
"""From the end of the process to that of its pipes, which what escaped its group may hold open."""
MOST_LEFT = 100_000
"""Of what a process leaves in its pipes: they hold less."""
_LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Line:
    """A line that the process printed."""

    text: str


Said = pipe.Message | Line


def attend(process: Process, watch: Watch, take: Callable[[Said], None], *, speaks: bool = True) -> int:
    """Hand all that a process says to `take`, in order, under the watch; return its exit code.

    The process is gone when this returns or raises. `speaks`: whether silence means that it is stuck.
    """
    inbox: Inbox[Said] = Inbox(readers=2)
    words = Thread(target=_listen, args=(process, watch, inbox), name="words", daemon=True)
    lines = Thread(target=_overhear, args=(process, inbox), name="lines", daemon=True)
    words.start()
    lines.start()
    watch.attach(process, speaks=speaks)
    try:
        _hear_out(process, watch, words, inbox, take)
    except BaseException:
        process.kill()
        raise
    finally:
        inbox.close()
        if not process.end(EXIT_SECONDS, KILL_SECONDS):
            _give_up(process, watch)
        code = process.wait()
        watch.detach()
        for reader in (words, lines):
            reader.join(LINGER_SECONDS)
        process.hang_up()
    return code


def _hear_out(process: Process, watch: Watch, words: Thread, inbox: Inbox[Said], take: Callable[[Said], None]) -> None:
    """Until both pipes are read to their ends. One that has closed its words gets a while to go, then is killed."""
    closed_at = killed_at = float("inf")
    waited, left = 0.0, MOST_LEFT
    while not inbox.is_over and waited < LINGER_SECONDS and left:
        began, gone = monotonic(), process.is_gone
        said = inbox.take(_LOOK_SECONDS)
        if gone:
            left -= 1
            waited += monotonic() - began
        if said is not None:
            take(said)
        if not words.is_alive():
            closed_at = min(closed_at, monotonic())
        if watch.ended or monotonic() - closed_at > EXIT_SECONDS:
            process.kill()
            killed_at = min(killed_at, monotonic())
        if monotonic() - killed_at > KILL_SECONDS and not process.is_gone:
            _give_up(process, watch)


def _give_up(process: Process, watch: Watch) -> None:
    """The lease runs out and others take the job; whoever waits for the process's end keeps the device from the next."""
    if not watch.lost:
        log.critical("process %d outlives SIGKILL: its job goes to others, the device to nobody", process.pid)
        watch.end("unkillable")


def _listen(process: Process, watch: Watch, inbox: Inbox[Said]) -> None:
    try:
        for message in process.messages():
            seconds = message.data.get("seconds") if isinstance(message, pipe.Report) else None
            watch.heard(seconds if isinstance(seconds, float) else None)
            if isinstance(message, pipe.Saving):
                watch.saving()
            inbox.put(message)
    except pipe.Garbled as error:
        inbox.put(Line(str(error)))
        process.kill()
    inbox.end()
    process.close_words()


def _overhear(process: Process, inbox: Inbox[Said]) -> None:
    for line in process.output():
        inbox.put(Line(line))
    inbox.end()
    process.close_output()
