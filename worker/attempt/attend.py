"""Listening to a process until it is gone. A thread reads each of its pipes: it never waits for our uploads."""

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread

from worker import pipe
from worker.attempt.process import Process
from worker.attempt.watch import Watch

EXIT_SECONDS = 10.0
"""From the last word to the exit; CUDA takes a while to go."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that the process printed."""

    text: str


Said = pipe.Message | Line


def attend(process: Process, watch: Watch, take: Callable[[Said], None], *, speaks: bool = True) -> int:
    """Hand all that a process says to `take`, in order, under the watch; return its exit code.

    The process is gone when this returns or raises. `speaks`: whether silence means that it is stuck.
    """
    inbox: SimpleQueue[Said | None] = SimpleQueue()
    readers = [
        Thread(target=_listen, args=(process, watch, inbox), daemon=True),
        Thread(target=_overhear, args=(process, inbox), daemon=True),
    ]
    for reader in readers:
        reader.start()
    watch.attach(process, speaks=speaks)
    try:
        while (said := inbox.get()) is not None:
            take(said)
    except BaseException:
        process.kill()
        raise
    finally:
        code = process.wait(EXIT_SECONDS)
        watch.detach()
        for reader in readers:
            reader.join()
        process.close()
    while not inbox.empty():
        if (rest := inbox.get()) is not None:
            take(rest)
    return code


def _listen(process: Process, watch: Watch, inbox: SimpleQueue[Said | None]) -> None:
    try:
        for message in process.messages():
            seconds = message.data.get("seconds") if isinstance(message, pipe.Report) else None
            watch.heard(seconds if isinstance(seconds, float) else None)
            inbox.put(message)
    except pipe.Garbled as error:
        inbox.put(Line(str(error)))
        process.kill()
    inbox.put(None)


def _overhear(process: Process, inbox: SimpleQueue[Said | None]) -> None:
    for line in process.output():
        inbox.put(Line(line))
