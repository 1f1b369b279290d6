"""Work counted by comparisons: a pass over names takes some for each, a pass over pairs of them takes their square."""

from typing import ClassVar


class Compared(str):
    """A string that counts how often any of its kind was compared with another."""

    __slots__ = ()
    times: ClassVar[int] = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__
