"""Deleting an adapter evicts it everywhere: every process that holds something of it learns of it by itself."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.adapters.db import SqlDatabase
from service.domain.adapters import AdapterVersion
from service.domain.catalogue import BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.errors import Unavailable
from service.domain.outside import Store
from service.domain.principals import LOCAL, Principal
from service.operations.models import Models
from tests.eventually import eventually
from tests.service.world import OTHER, World
from tests.worker.inference.stored import adapter_bytes
from worker.inference.adapters.cache import AdapterCache
from worker.inference.adapters.disk import DiskLevel
from worker.inference.adapters.watch import EVERY_SECONDS, DeletionWatch

SECONDS = 30


@pytest.fixture
def world(database: SqlDatabase, folder_store: Store, tmp_path: Path) -> World:
    catalogue = Catalogue(
        bases={"shapes": BaseModelEntry(name="shapes", source="/models/shapes", family="sd", resolution=64)},
        rewards={"shapes-clip": RewardModelEntry(name="shapes-clip", source="/models/clip", type="clip")},
    )
    return World(database, folder_store, catalogue, tmp_path)


@dataclass
class Process:
    """What an inference process has of adapters; `slotted`, `forgotten` stand for its engine and its names."""

    world: World
    folder: Path
    every: float = EVERY_SECONDS
    forgotten: list[str] = field(default_factory=list)
    slotted: set[str] = field(default_factory=set)
    memory: int = 2**20

    def __post_init__(self) -> None:
        self.models = Models(self.world.database, self.world.catalogue)
        self.cache = AdapterCache(self.world.store, DiskLevel(self.folder, self.memory), self.memory)
        self.watch = DeletionWatch(
            self.models, self.cache, lambda: self.slotted, [self.forgotten.append], every=self.every
        )

    def load(self, name: str, principal: Principal = LOCAL) -> str:
        """Returns the digest."""
        version = self.models.resolve(principal, name)
        assert isinstance(version, AdapterVersion)
        return self.cache.fetch(principal.tenant, version).result(SECONDS).sha256


@pytest.fixture
def process(world: World, tmp_path: Path) -> Iterator[Process]:
    made = Process(world, tmp_path / "adapters")
    yield made
    made.cache.close()


def test_what_was_deleted_is_forgotten_and_all_else_stays(world: World, process: Process) -> None:
    for seed in range(2):
        world.deliver(content=adapter_bytes(seed))
    gone, stays = process.load("red@1"), process.load("red@2")
    assert process.watch.look() == set()
    world.adapters.delete(LOCAL, "red@1")
    assert process.watch.look() == {gone}
    assert process.forgotten == [gone]
    assert process.cache.keys() == {(LOCAL.tenant, stays)}
    assert process.watch.look() == set()


def test_what_lies_in_a_slot_only_is_forgotten_too(world: World, process: Process) -> None:
    for seed in range(2):
        world.deliver(content=adapter_bytes(seed))
    digests = [process.models.resolve(LOCAL, f"red@{number}").file.sha256 for number in (1, 2)]  # type: ignore[union-attr]
    process.slotted = set(digests)
    assert process.watch.look() == set()
    world.adapters.delete(LOCAL, "red@1")
    assert process.watch.look() == {digests[0]}
    assert process.forgotten == digests[:1]


def test_what_is_held_nowhere_any_more_is_not_asked_for(world: World, tmp_path: Path) -> None:
    process = Process(world, tmp_path / "adapters", memory=0)
    for seed in range(3):
        world.deliver(content=adapter_bytes(seed))
    digests = []
    for number in (1, 2, 3):
        digests.append(process.load(f"red@{number}"))
        eventually(lambda: not len(process.cache._held))
    process.slotted = {digests[0]}
    asked: list[set[str]] = []
    process.models.living = lambda digests: asked.append(set(digests)) or set()  # type: ignore[method-assign, func-returns-value]
    process.cache.close()
    process.watch.look()
    assert asked == [{digests[0], digests[2]}], "one in a slot, and the last one, which makes room for the next"


def test_a_digest_that_another_version_has_stays(world: World, process: Process) -> None:
    for _ in range(2):
        world.deliver(content=adapter_bytes(0))
    process.load("red@1")
    world.adapters.delete(LOCAL, "red@1")
    assert process.watch.look() == set()


def test_a_copy_of_a_tenant_that_has_no_such_version_goes(world: World, process: Process) -> None:
    world.deliver(content=adapter_bytes(0))
    digest = process.load("red")
    held = process.cache.fetch(OTHER.tenant, process.models.resolve(LOCAL, "red"))  # type: ignore[arg-type]
    assert held.result(SECONDS).sha256 == digest
    assert process.watch.look() == {digest}


def test_what_lay_on_disk_while_no_process_was_there_goes_too(world: World, process: Process, tmp_path: Path) -> None:
    world.deliver(content=adapter_bytes(0))
    digest = process.load("red")
    process.cache.close()
    world.adapters.delete(LOCAL, "red")
    later = Process(world, process.folder)
    assert later.watch.look() == {digest}
    assert [path for path in process.folder.rglob("*") if path.is_file()] == []
    later.cache.close()


def test_without_the_database_nothing_is_forgotten(world: World, process: Process, tmp_path: Path) -> None:
    world.deliver(content=adapter_bytes(0))
    digest = process.load("red")

    class Away:
        def read(self) -> None:
            raise Unavailable

    process.watch._models = Models(Away(), world.catalogue)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        process.watch.look()
    assert process.cache.keys() == {(LOCAL.tenant, digest)}


def test_more_than_one_query_holds_are_asked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.operations.models.AT_ONCE", 2)
    versions = [
        world.models.resolve(LOCAL, world.deliver(content=adapter_bytes(seed)).adapter or "") for seed in range(5)
    ]
    digests = {each.file.sha256 for each in versions if isinstance(each, AdapterVersion)}
    assert world.models.living({*digests, "0" * 64}) == {(LOCAL.tenant, digest) for digest in digests}


def test_every_process_of_several_hosts_learns_of_it_by_itself(world: World, tmp_path: Path) -> None:
    """Two on one host share a folder, a third has its own."""
    world.deliver(content=adapter_bytes(0))
    processes = [Process(world, tmp_path / host, every=0.05) for host in ("one", "one", "two")]
    with ExitStack() as running:
        for each in processes:
            running.callback(each.cache.close)
            running.enter_context(each.watch.running())
        (digest,) = {each.load("red") for each in processes}
        world.adapters.delete(LOCAL, "red")
        for each in processes:
            eventually(lambda each=each: each.forgotten == [digest])  # type: ignore[misc]
        assert all(each.cache.keys() == set() for each in processes)
