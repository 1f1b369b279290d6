"""The base models that are loaded: a few, the least recently used makes room, and none is taken from under its samples."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator

from service.domain.catalogue import BaseModelEntry
from worker.inference.engine.served import Served


class Resident:
    """`busy`: bases with samples on their way, which stay."""

    def __init__(self, load: Callable[[BaseModelEntry], Served], most: int) -> None:
        self._load, self._most = load, most
        self._loaded: OrderedDict[BaseModelEntry, Served] = OrderedDict()

    def __iter__(self) -> Iterator[Served]:
        return iter(self._loaded.values())

    def can_have(self, base: BaseModelEntry, busy: Collection[BaseModelEntry]) -> bool:
        """Whether it is loaded, or could be without anybody's harm."""
        return base in self._loaded or len(self._loaded) < self._most or any(each not in busy for each in self._loaded)

    def oldest(self) -> BaseModelEntry | None:
        """The one whose samples should run out first where another base wants room."""
        return next(iter(self._loaded), None)

    def get(self, base: BaseModelEntry, busy: Collection[BaseModelEntry]) -> Served:
        """Loads it where it is not. Raises what loading raises."""
        if base not in self._loaded:
            while len(self._loaded) >= self._most:
                del self._loaded[next(each for each in self._loaded if each not in busy)]
            self._loaded[base] = self._load(base)
        self._loaded.move_to_end(base)
        return self._loaded[base]
