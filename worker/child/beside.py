"""Work beside training: one thread, one piece after another, in order. Training waits only where the disk is slower than it."""

from collections.abc import Callable
from queue import Queue
from threading import Thread

Work = Callable[[], None]


class Beside:
    """At most one piece is being worked on and one waits. What a piece raises, the next call here raises."""

    def __init__(self) -> None:
        self._waiting: Queue[Work] = Queue(maxsize=1)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, name="beside", daemon=True)

    def do(self, work: Work) -> None:
        """Hand over a piece; waits while another one waits."""
        self.check()
        if not self._thread.is_alive():
            self._thread.start()
        self._waiting.put(work)

    def check(self) -> None:
        """Raises what a piece has raised; pieces that came after it were left undone."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait until all is done. Raises as `check` does."""
        self._waiting.join()
        self.check()

    def _work(self) -> None:
        while True:
            work = self._waiting.get()
            try:
                if self._error is None:
                    work()
            except BaseException as error:
                self._error = error
            finally:
                self._waiting.task_done()
