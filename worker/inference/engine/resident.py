"""The base models that are loaded: a few, the least recently used makes room, and none is taken from under its samples.

A base's folder is fetched in a thread of its own, which may take as long as a download; only its load onto the device
takes the engine's thread. `busy`: bases with samples on their way, which stay.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from pathlib import Path

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import StropError
from worker.inference.engine.figures import Tally
from worker.inference.engine.limits import is_out_of_memory, release, with_room
from worker.inference.engine.requests import NotLoaded, OutOfMemory
from worker.inference.engine.served import Served

Fetch = Callable[[BaseModelEntry], Path]
REFUSED_SECONDS = 30.0
"""For which a base that could not be loaded is not tried again: each try holds up the engine's thread, and everybody."""


class Resident:
    """The engine's own, but that `fetch` runs in other threads; each end of one is told by `stir`, from there.

    most: bases that may be loaded at once. clock: seconds.
    """

    def __init__(
        self,
        fetch: Fetch,
        load: Callable[[BaseModelEntry, Path], Served],
        most: int,
        tally: Tally,
        stir: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._fetch, self._load, self._most, self._tally, self._stir = fetch, load, most, tally, stir
        self._loaded: dict[BaseModelEntry, Served] = {}
        """In the order of their loads."""
        self._used: OrderedDict[BaseModelEntry, None] = OrderedDict()
        """The same, the least recently used first."""
        self._folders: dict[BaseModelEntry, Future[Path]] = {}
        """Of bases that are wanted and not loaded."""
        self._refused: dict[BaseModelEntry, tuple[float, str, str]] = {}
        """Bases that could not be loaded: until when they are not tried again; message and code of why."""
        self._leaving: BaseModelEntry | None = None

    def __iter__(self) -> Iterator[Served]:
        return iter(self._loaded.values())

    def prepare(self, base: BaseModelEntry) -> Exception | None:
        """See to it that the base's folder comes. Returns why it did not, and for REFUSED_SECONDS why the base could not be
        loaded; when asked again it is tried again."""
        if base in self._loaded:
            return None
        if refused := self._refused.get(base):
            until, message, code = refused
            if (left := until - self._clock()) > 0:
                return NotLoaded(message, code=code, retry_after=max(1, math.ceil(left)))
            del self._refused[base]
        if base not in self._folders:
            self._folders[base] = Future()
            name = f"fetch-{base.name}"
            threading.Thread(target=self._run, args=(base, self._folders[base]), name=name, daemon=True).start()
        folder = self._folders[base]
        trouble = folder.exception() if folder.done() else None
        if trouble is None:
            return None
        del self._folders[base]
        return trouble if isinstance(trouble, Exception) else RuntimeError(repr(trouble))

    def forget_failures(self, wanted: Collection[BaseModelEntry]) -> None:
        """Fetches that failed when nobody waited for them any more are no answer to who asks later."""
        ended = [base for base, folder in self._folders.items() if base not in wanted and folder.done()]
        for base in ended:
            if self._folders[base].exception():
                del self._folders[base]

    def at_hand(self, base: BaseModelEntry) -> bool:
        """Whether it is loaded, or its folder is here."""
        return base in self._loaded or (base in self._folders and self._folders[base].done())

    def can_have(self, base: BaseModelEntry, busy: Collection[BaseModelEntry]) -> bool:
        """Whether it is loaded, or could be at once and without anybody's harm."""
        room = len(self._loaded) < self._most or any(each not in busy for each in self._loaded)
        return base in self._loaded or (room and self.at_hand(base))

    def leaving(self, wanted: Collection[BaseModelEntry], busy: Collection[BaseModelEntry]) -> BaseModelEntry | None:
        """The base that begins no more samples, because one of `wanted`, all of which are at hand, has no room.

        An idle one that nobody wants, else the one that was loaded first. Once chosen it stays chosen until it has gone
        or nobody waits for room: were it chosen anew each time, none would ever run out of samples.
        """
        if len(self._loaded) < self._most or all(base in self._loaded for base in wanted):
            self._leaving = None
        elif self._leaving not in self._loaded:
            unwanted = (each for each in self._used if each not in busy and each not in wanted)
            self._leaving = next(unwanted, None) or next(iter(self._loaded))
        return self._leaving

    def get(self, base: BaseModelEntry, busy: Collection[BaseModelEntry]) -> Served:
        """Loads it where it is not, in place of others that are not busy. Raises what fetching and loading raise."""
        if base not in self._loaded:
            folder = self._folders.pop(base).result()
            while len(self._loaded) >= self._most:
                idle = (each for each in (self._leaving, *self._used) if each in self._loaded.keys() - busy)
                self._evict([next(idle)])
            try:
                self._loaded[base] = with_room(lambda: self._load(base, folder), lambda: self.free(busy))
            except Exception as error:
                self._refuse(base, error)
                raise
            self._tally.moved()
            self.count_slots()
        self._used[base] = None
        self._used.move_to_end(base)
        return self._loaded[base]

    def free(self, busy: Collection[BaseModelEntry]) -> bool:
        """Let every base go that is not busy; whether there was one."""
        idle = [base for base in self._loaded if base not in busy]
        self._evict(idle)
        return bool(idle)

    def count_slots(self) -> None:
        """Tell how much memory the slots of all bases take."""
        self._tally.slots_take(sum(served.slots.bytes for served in self))

    def _refuse(self, base: BaseModelEntry, error: Exception) -> None:
        """Keeps words, not the error: its frames hold what was loaded so far."""
        message, code = f"The base model {base.name} could not be loaded; the log has why.", "base_unloadable"
        if is_out_of_memory(error):
            message, code = f"The device has not enough memory for the base model {base.name}.", OutOfMemory.code
        elif isinstance(error, StropError):
            message, code = error.message, error.code
        self._refused[base] = (self._clock() + REFUSED_SECONDS, message, code)

    def _evict(self, bases: Collection[BaseModelEntry]) -> None:
        for base in bases:
            del self._loaded[base], self._used[base]
        if bases:
            release()
            self.count_slots()

    def _run(self, base: BaseModelEntry, folder: "Future[Path]") -> None:
        try:
            folder.set_result(self._fetch(base))
        except BaseException as error:  # whatever it is, those who wait must hear of it
            folder.set_exception(error)
        self._stir()
