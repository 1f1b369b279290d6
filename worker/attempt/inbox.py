"""What a process says, on its way from the threads that read its pipes to the one that writes it down.

Bounded: a process that says more than can be written down waits at its own pipe, and costs no memory here.
"""

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")
ROOM = 256


class Inbox(Generic[Item]):
    """`readers` threads put and end; one thread takes."""

    def __init__(self, readers: int, room: int = ROOM) -> None:
        self._changed = Condition()
        self._items: deque[Item] = deque()
        self._readers, self._room = readers, room
        self._closed = False

    def put(self, item: Item) -> None:
        """Wait for room. Once the inbox is closed nothing is waited for and nothing kept."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._room)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()

    def end(self) -> None:
        """A reader has read all that there will be."""
        with self._changed:
            self._readers -= 1
            self._changed.notify_all()

    def take(self, seconds: float) -> Item | None:
        """The next item; None where none came in that time, or none will."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or not self._readers, seconds)
            if not self._items:
                return None
            self._changed.notify_all()
            return self._items.popleft()

    @property
    def is_over(self) -> bool:
        """All readers have ended, and all is taken."""
        with self._changed:
            return not self._readers and not self._items

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
