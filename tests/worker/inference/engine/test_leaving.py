"""A base that made room is gone, weights and all, on the spot: Python collects by number, and models are few."""

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.domain.catalogue import BaseModelEntry
from service.domain.catalogue import Family as FamilyName
from tests.worker.conftest import FolderOf
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import Draw
from worker.models.family import Family
from worker.models.load import load


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


KINDS: list[tuple[str, FamilyName]] = [("sd", "sd"), ("sdxl", "sdxl"), ("sd3", "sd3"), ("flux-dev", "flux")]


def a_draw(name: str, family: FamilyName, folder: Path) -> Draw:
    base = BaseModelEntry(name=name, source=str(folder), family=family, resolution=64)
    return Draw("local", base, (), prompt="red", negative="blue", count=1, seed=7, steps=2, guidance=2.0)


class Loaded:
    """Loads real families and remembers them weakly; `cycle`: each is part of a circle of references."""

    def __init__(self, *, cycle: bool = False) -> None:
        self.cycle = cycle
        self.families: list[weakref.ref[Family]] = []

    def load(self, entry: BaseModelEntry, folder: Path) -> Family:
        family = load(entry.family, folder, device="cpu", resolution=64)
        if self.cycle:
            family.itself = family  # type: ignore[attr-defined]
        self.families.append(weakref.ref(family))
        return family


class TestABaseThatMadeRoom:
    @pytest.mark.parametrize(("kind", "family"), KINDS)
    def test_is_freed(
        self, kind: str, family: FamilyName, folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without any collection at all: nothing of ours is a circle."""
        monkeypatch.setattr(gc, "collect", lambda: 0)
        self.check(Loaded(), kind, family, folder_of)

    def test_is_freed_also_where_somebody_made_a_circle_of_it(self, folder_of: FolderOf) -> None:
        self.check(Loaded(cycle=True), "sd", "sd", folder_of)

    def check(self, loaded: Loaded, kind: str, family: FamilyName, folder_of: FolderOf) -> None:
        engine = Engine(loaded.load, loaded_bases=1)
        for name in ("first", "second"):
            engine.submit(a_draw(name, family, folder_of(kind))).result(60)
        first, second = loaded.families
        assert (first() is None, second() is None) == (True, False)
        engine.close()
