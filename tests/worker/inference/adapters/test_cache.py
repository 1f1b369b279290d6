"""The adapter cache: loaded once, checked each time, kept while wanted, and forgotten where its adapter was deleted."""

import gc
import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.adapters import storage
from service.domain.adapters import AdapterVersion
from service.domain.errors import Unavailable
from service.domain.ids import TenantId
from tests.eventually import eventually
from tests.worker.inference.stored import TENANT, CountingStore, Shelf, adapter_bytes, manifest_of, with_file
from worker.inference.adapters.cache import LOADERS, AdapterCache
from worker.inference.adapters.disk import ADAPTER, MANIFEST, DiskLevel
from worker.inference.adapters.file import MAX_ADAPTER_BYTES, read
from worker.inference.engine.requests import AdapterCorrupt, AdapterRefused, LoraFile

MIB = 2**20
SECONDS = 30
OTHER = TenantId("other")
Make = Callable[..., AdapterCache]


@pytest.fixture
def store(tmp_path: Path) -> CountingStore:
    return CountingStore(storage.make(f"file://{tmp_path}/store"))


@pytest.fixture
def shelf(store: CountingStore, tmp_path: Path) -> Shelf:
    return Shelf(store, tmp_path)


@pytest.fixture
def make(store: CountingStore, tmp_path: Path) -> Iterator[Make]:
    """A process's cache; each on the same folder of the host."""
    made: list[AdapterCache] = []

    def one(memory: int = MIB, disk: int = MIB, folder: Path = tmp_path / "adapters") -> AdapterCache:
        made.append(AdapterCache(store, DiskLevel(folder, disk), memory))
        return made[-1]

    yield one
    store.gate.set()
    for each in made:
        each.close()


@pytest.fixture
def cache(make: Make) -> AdapterCache:
    return make()


def fetched(cache: AdapterCache, version: AdapterVersion, tenant: TenantId = TENANT) -> LoraFile:
    return cache.fetch(tenant, version).result(SECONDS)


def kept(cache: AdapterCache, version: AdapterVersion) -> LoraFile:
    """Fetched, and written to the disk, which comes after."""
    file = fetched(cache, version)
    eventually(
        lambda: cache._disk.read(TENANT, file.sha256, ADAPTER) and cache._disk.read(TENANT, file.sha256, MANIFEST)
    )
    return file


def refused(cache: AdapterCache, version: AdapterVersion) -> str:
    with pytest.raises(AdapterCorrupt) as error:
        fetched(cache, version)
    assert version.reference in error.value.message
    return error.value.message


def same(one: LoraFile, other: LoraFile) -> bool:
    pairs = zip(one.layers.values(), other.layers.values(), strict=True)
    return one.layers.keys() == other.layers.keys() and all(map(torch.equal, *each) for each in pairs)


class TestLevels:
    def test_the_store_then_memory_then_disk(self, make: Make, shelf: Shelf, store: CountingStore) -> None:
        data = adapter_bytes(0)
        version, first = shelf.put(data), make()
        expected = read(version.reference, version.file.sha256, data)
        assert same(kept(first, version), expected)
        assert same(fetched(first, version), expected)
        second = make()
        assert same(fetched(second, version), expected)
        assert store.opened == {version.file.key: 1, version.manifest_key: 1}
        of_first, of_second = first.figures(), second.figures()
        assert (of_first.memory.hits, of_first.memory.misses) == (1, 1)
        assert (of_first.disk.hits, of_first.disk.misses, of_first.store.hits) == (0, 1, 2)
        assert (of_second.disk.hits, of_second.store.hits) == (1, 0)
        assert of_first.memory.bytes == len(data)
        assert of_first.disk.bytes == of_second.disk.bytes > len(data)

    def test_a_tenant_has_its_own(self, cache: AdapterCache, shelf: Shelf, store: CountingStore) -> None:
        data = adapter_bytes(0)
        mine, theirs = shelf.put(data), shelf.put(data, tenant=OTHER)
        fetched(cache, mine)
        fetched(cache, theirs, OTHER)
        assert store.opened[mine.file.key] == store.opened[theirs.file.key] == 1
        assert cache.keys() == {(TENANT, mine.file.sha256), (OTHER, mine.file.sha256)}

    def test_a_store_that_is_away_takes_nothing_from_what_is_here(
        self, make: Make, shelf: Shelf, store: CountingStore, tmp_path: Path
    ) -> None:
        version, missing = shelf.put(adapter_bytes(0)), shelf.put(adapter_bytes(1))
        kept(make(), version)
        (tmp_path / "store").rename(tmp_path / "elsewhere")
        (tmp_path / "store").write_text("not a folder")
        assert fetched(make(), version).bytes
        with pytest.raises(Unavailable):
            fetched(make(), missing)

    @pytest.mark.parametrize("folder", ["a-file/adapters", "\0"])
    def test_a_disk_that_takes_nothing_is_done_without(
        self, make: Make, shelf: Shelf, tmp_path: Path, folder: str
    ) -> None:
        (tmp_path / "a-file").write_text("")
        cache = make(folder=tmp_path / folder) if folder != "\0" else make(disk=0)
        version = shelf.put(adapter_bytes(0))
        assert fetched(cache, version).bytes
        assert cache.figures().disk.bytes == 0


class TestSingleFlight:
    def test_of_many_that_ask_at_once_one_loads(self, cache: AdapterCache, shelf: Shelf, store: CountingStore) -> None:
        version = shelf.put(adapter_bytes(0))
        store.gate.clear()
        futures: list[Future[LoraFile]] = []
        askers = [threading.Thread(target=lambda: futures.append(cache.fetch(TENANT, version))) for _ in range(10)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert not any(future.done() for future in futures)
        store.gate.set()
        assert len({id(future.result(SECONDS)) for future in futures}) == 1
        assert store.opened == {version.file.key: 1, version.manifest_key: 1}
        assert cache.figures().joined == 9

    def test_asking_does_not_wait(self, cache: AdapterCache, shelf: Shelf, store: CountingStore) -> None:
        store.gate.clear()
        futures = [cache.fetch(TENANT, shelf.put(adapter_bytes(seed))) for seed in range(8)]
        assert not any(future.done() for future in futures)
        store.gate.set()
        assert [future.result(SECONDS).bytes for future in futures]

    def test_what_nobody_waits_for_any_more_is_not_begun(
        self, cache: AdapterCache, shelf: Shelf, store: CountingStore
    ) -> None:
        store.gate.clear()
        busy = [cache.fetch(TENANT, shelf.put(adapter_bytes(seed))) for seed in range(LOADERS)]
        for _ in busy:
            assert store.entered.acquire(timeout=SECONDS)
        refused, wanted = shelf.put(adapter_bytes(8)), shelf.put(adapter_bytes(9))
        cache.fetch(TENANT, refused)
        held = cache.fetch(TENANT, wanted)
        store.gate.set()
        assert held.result(SECONDS).bytes
        assert store.opened[refused.file.key] == store.opened[refused.manifest_key] == 0
        assert fetched(cache, refused).bytes

    def test_what_is_shared_cannot_be_cancelled_by_one(self, cache: AdapterCache, shelf: Shelf) -> None:
        future = cache.fetch(TENANT, shelf.put(adapter_bytes(0)))
        assert not future.cancel()
        assert future.result(SECONDS).bytes

    def test_a_failed_load_is_tried_anew(self, cache: AdapterCache, shelf: Shelf) -> None:
        data = adapter_bytes(0)
        version = shelf.put(data)
        shelf.replace(version.file.key, b"damaged")
        refused(cache, version)
        shelf.replace(version.file.key, data)
        assert fetched(cache, version).bytes == len(data)


class TestChecks:
    """Every one at each load, from whichever level."""

    def test_a_damaged_file_in_the_store_is_refused(self, cache: AdapterCache, shelf: Shelf) -> None:
        data = adapter_bytes(0)
        version = shelf.put(data)
        shelf.replace(version.file.key, data[:-1] + b"\1")
        assert "SHA-256" in refused(cache, version)

    def test_a_longer_file_in_the_store_is_refused(self, cache: AdapterCache, shelf: Shelf) -> None:
        version = shelf.put(adapter_bytes(0))
        shelf.replace(version.file.key, bytes(2 * MIB))
        assert "more than" in refused(cache, version)

    def test_a_file_that_is_too_large_is_not_fetched_and_not_called_damaged_nor_a_fault(
        self, cache: AdapterCache, shelf: Shelf, caplog: pytest.LogCaptureFixture
    ) -> None:
        version = with_file(shelf.put(adapter_bytes(0)), bytes=MAX_ADAPTER_BYTES + 1)
        with pytest.raises(AdapterRefused) as caught:
            cache.fetch(TENANT, version).result(30)
        (wrong,) = caught.value.errors
        assert (
            wrong.message
            == "the file of the adapter red-things@1 has 1025 MiB, and this endpoint reads 1024 MiB at most"
        )
        assert "smaller rank" in wrong.remedy
        assert shelf.store.opened[version.file.key] == 0
        assert [record for record in caplog.records if record.exc_info] == []

    def test_a_file_that_is_gone_is_refused(self, cache: AdapterCache, shelf: Shelf, store: CountingStore) -> None:
        version = shelf.put(adapter_bytes(0))
        store.delete(version.file.key)
        assert "does not have all of its files" in refused(cache, version)

    def test_a_whole_file_that_is_no_adapter_is_refused_and_not_kept(self, cache: AdapterCache, shelf: Shelf) -> None:
        version = shelf.put(b"no safetensors file")
        assert "header" in refused(cache, version)
        assert cache.keys() == set()

    def test_another_manifest_than_the_rows_is_refused(self, cache: AdapterCache, shelf: Shelf) -> None:
        version = shelf.put(adapter_bytes(0))
        shelf.replace(version.manifest_key, manifest_of(version.file, "tiny", steps=4).canonical())
        assert "its manifest does not have the SHA-256" in refused(cache, version)

    @pytest.mark.parametrize("change", [{"files": ()}, {"base_model": "other"}])
    def test_a_manifest_that_does_not_name_the_file_is_refused(
        self, cache: AdapterCache, shelf: Shelf, change: dict[str, object]
    ) -> None:
        version = shelf.put(adapter_bytes(0), **change)
        assert "its manifest" in refused(cache, version)

    def test_a_row_that_points_to_another_file_than_the_manifest_is_refused(
        self, cache: AdapterCache, shelf: Shelf
    ) -> None:
        version, other = shelf.put(adapter_bytes(0)), shelf.put(adapter_bytes(1))
        swapped = with_file(version, key=other.file.key, sha256=other.file.sha256)
        assert "names another file" in refused(cache, swapped)

    def test_a_manifest_of_another_revision_of_the_base_than_the_jobs_is_refused_with_both(
        self, cache: AdapterCache, shelf: Shelf
    ) -> None:
        message = refused(cache, shelf.put(adapter_bytes(0), base_revision="2"))
        assert "its manifest names another revision of tiny: 2, and its job 1" in message

    def test_a_manifest_that_is_no_json_is_refused(self, cache: AdapterCache, shelf: Shelf) -> None:
        version = shelf.put(adapter_bytes(0))
        shelf.replace(version.manifest_key, b"[]")
        signed = replace(version, manifest_sha256=hashlib.sha256(b"[]").hexdigest())
        assert "its manifest is not one" in refused(cache, signed)

    @pytest.mark.parametrize("suffix", [".safetensors", ".json"])
    @pytest.mark.parametrize("wrong", ["torn", "flipped", "longer", "empty"])
    def test_a_copy_on_disk_that_is_not_whole_is_fetched_anew(
        self, make: Make, shelf: Shelf, tmp_path: Path, suffix: str, wrong: str
    ) -> None:
        version = shelf.put(adapter_bytes(0))
        expected = kept(make(), version)
        (copy,) = (tmp_path / "adapters").rglob(f"*{suffix}")
        whole = copy.read_bytes()
        copy.write_bytes(
            {
                "torn": whole[:-9],
                "flipped": whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:],
                "longer": whole + b"x",
                "empty": b"",
            }[wrong]
        )
        assert same(fetched(make(), version), expected)
        eventually(lambda: copy.exists() and copy.read_bytes() == whole)
        key = version.file.key if suffix == ".safetensors" else version.manifest_key
        assert shelf.store.opened[key] == 2


class TestMemory:
    def test_lets_the_least_recently_used_go_and_takes_it_from_disk_again(self, make: Make, shelf: Shelf) -> None:
        versions = [shelf.put(adapter_bytes(seed)) for seed in range(4)]
        cache = make(memory=3 * versions[0].file.bytes)
        for version in (*versions[:3], versions[0], versions[3]):
            kept(cache, version)
        assert cache.figures().evicted == 1
        before = cache.figures()
        for version in (versions[0], versions[2], versions[3]):
            fetched(cache, version)
        assert cache.figures().memory.hits == before.memory.hits + 3
        fetched(cache, versions[1])
        after = cache.figures()
        assert (after.memory.misses, after.disk.hits, after.store) == (
            before.memory.misses + 1, before.disk.hits + 1, before.store,
        )  # fmt: skip
        assert after.memory.bytes <= 3 * versions[0].file.bytes

    def test_keeps_what_somebody_holds_even_above_the_limit(self, make: Make, shelf: Shelf) -> None:
        versions = [shelf.put(adapter_bytes(seed)) for seed in range(4)]
        cache = make(memory=versions[0].file.bytes)
        held = [cache.fetch(TENANT, version) for version in versions[:3]]
        files = [future.result(SECONDS) for future in held]
        fetched(cache, versions[3])
        assert cache.figures().memory.bytes >= 3 * versions[0].file.bytes
        for version, file in zip(versions, files, strict=False):
            assert cache.fetch(TENANT, version).result() is file

    def test_lets_go_of_what_nobody_holds_any_more(self, make: Make, shelf: Shelf) -> None:
        versions = [shelf.put(adapter_bytes(seed)) for seed in range(3)]
        cache = make(memory=versions[0].file.bytes)
        held = [cache.fetch(TENANT, version) for version in versions[:2]]
        for future in held:
            future.result(SECONDS)
        del held, future
        gc.collect()
        last = cache.fetch(TENANT, versions[2])
        assert last.result(SECONDS).bytes
        assert cache.figures().memory.bytes == versions[0].file.bytes

    def test_has_room_for_one_above_the_limit_while_it_is_wanted(self, make: Make, shelf: Shelf) -> None:
        assert fetched(make(memory=0, disk=0), shelf.put(adapter_bytes(0))).bytes


class TestEvicting:
    def test_forgets_at_every_level(self, make: Make, shelf: Shelf, store: CountingStore) -> None:
        cache, gone, stays = make(), shelf.put(adapter_bytes(0)), shelf.put(adapter_bytes(1))
        held = cache.fetch(TENANT, gone)
        assert held.result(SECONDS).bytes
        for version in (gone, stays):
            kept(cache, version)
        cache.evict(gone.file.sha256)
        assert cache.keys() == make().keys() == {(TENANT, stays.file.sha256)}
        assert cache.figures().memory.bytes == stays.file.bytes
        store.delete(gone.file.key)
        refused(cache, gone)
        assert held.result().bytes  # who draws with it goes on

    def test_keeps_nothing_of_a_load_under_way(self, make: Make, shelf: Shelf, store: CountingStore) -> None:
        cache, version = make(), shelf.put(adapter_bytes(0))
        store.gate.clear()
        future = cache.fetch(TENANT, version)
        assert store.entered.acquire(timeout=SECONDS)
        cache.evict(version.file.sha256)
        store.gate.set()
        assert future.result(SECONDS).bytes
        cache.close()
        assert make().keys() == cache.keys() == set()


class TestClosing:
    def test_fails_what_has_not_begun_and_finishes_what_has(
        self, make: Make, shelf: Shelf, store: CountingStore
    ) -> None:
        cache, versions = make(), [shelf.put(adapter_bytes(seed)) for seed in range(8)]
        store.gate.clear()
        futures = [cache.fetch(TENANT, version) for version in versions]
        for _ in range(4):
            assert store.entered.acquire(timeout=SECONDS)
        closing = threading.Thread(target=cache.close)
        closing.start()
        store.gate.set()
        closing.join(SECONDS)
        ends = [future.exception(SECONDS) for future in futures]
        assert ends.count(None) >= 4
        assert all(isinstance(end, Unavailable) for end in ends if end)
        with pytest.raises(Unavailable):
            fetched(cache, shelf.put(adapter_bytes(9)))
