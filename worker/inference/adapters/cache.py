"""Adapters on their way to a slot: store → disk → host memory. The engine's own memory, the slots, is the engine's.

    memory   checked adapters, tensors ready to be copied into a slot       STROP_ADAPTER_MEMORY_MIB
    disk     the files, shared by this host's processes (disk.py)     STROP_ADAPTER_DISK_MIB
    store    the truth, by the rows of the database

`fetch` begins a load and returns at once: it is called when a request is queued, so the load runs beside the steps of
others, in threads of its own. However many ask for one adapter, it is loaded once. Whatever comes into memory has been
checked on the way, from whichever level it came: the manifest against its digest in the adapter's row, the adapter's file
against the manifest and the row, the file itself by file.py.

The key is (tenant, SHA-256): a name never brings another file's bytes, and no tenant learns from another's traffic.
A pin is the future itself: while anybody holds it, as a queued or running request does, its adapter is not evicted, and
nobody can forget to let go. So memory may exceed its limit by what is in use; the queue bounds that. A load that has not
begun when the last one lets go, because his request was refused or aborted, never begins.
"""

import hashlib
import logging
import threading
from collections import Counter, OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakValueDictionary, ref

from pydantic import ValidationError

from service.domain.adapters import AdapterVersion
from service.domain.artifacts import Kind, Manifest
from service.domain.errors import Damaged, Unavailable
from service.domain.ids import TenantId
from service.domain.outside import Store
from worker.inference.adapters import file as adapter_file
from worker.inference.adapters.disk import ADAPTER, MANIFEST, DiskLevel
from worker.inference.adapters.file import corrupt
from worker.inference.engine.requests import AdapterCorrupt, AdapterRefused, LoraFile

LOADERS = 4
MAX_MANIFEST_BYTES = 16 * 2**20

Key = tuple[TenantId, str]
Fetched = dict[str, bytearray]
"""ADAPTER, MANIFEST → bytes for the disk."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Level:
    """How often a level had what was asked of it, and the bytes that it holds."""

    hits: int = 0
    misses: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """Since the start; `bytes` now, of the store: fetched since the start. joined: asked for while under way already."""

    memory: Level
    disk: Level
    store: Level
    joined: int
    evicted: int


class AdapterCache:
    """Safe from any thread. `close` it when the process ends."""

    def __init__(self, store: Store, disk: DiskLevel, memory_limit: int) -> None:
        self._store, self._disk, self._limit = store, disk, memory_limit
        self._pool = ThreadPoolExecutor(LOADERS, "adapters")
        self._lock = threading.Lock()
        self._memory: OrderedDict[Key, LoraFile] = OrderedDict()
        """Least recently used first."""
        self._held: WeakValueDictionary[Key, Future[LoraFile]] = WeakValueDictionary()
        """The futures that somebody still holds, done or under way: the pins."""
        self._writing: Counter[Key] = Counter()
        """Loads whose files are on their way to the disk, and were not deleted since."""
        self._levels = {"memory": Level(), "disk": Level(), "store": Level()}
        self._joined = self._evicted = 0

    def fetch(self, tenant: TenantId, version: AdapterVersion) -> "Future[LoraFile]":
        """Hold it until the pictures are drawn. It fails with AdapterCorrupt or AdapterRefused, which name the adapter, or
        Unavailable."""
        key = tenant, version.file.sha256
        with self._lock:
            future = self._held.get(key)
            if future is not None and not future.done():
                self._joined += 1
                return future
            file = self._memory.get(key)
            if file is not None:
                self._levels["memory"].hits += 1
                self._memory.move_to_end(key)
                if future is None:
                    future = self._held[key] = _begun()
                    future.set_result(file)
                return future
            self._levels["memory"].misses += 1
            future = self._held[key] = _begun()
        try:
            self._pool.submit(self._work, key, ref(future), version)
        except RuntimeError:  # closed
            future.set_exception(Unavailable("The endpoint is stopping."))
        return future

    def evict(self, sha256: str) -> None:
        """Forget a deleted adapter at every level here; who draws with it now goes on. A load under way is not kept."""
        with self._lock:
            for key in [key for key in {*self._memory, *self._held, *self._writing} if key[1] == sha256]:
                self._memory.pop(key, None)
                self._held.pop(key, None)
                self._writing.pop(key, None)
        self._disk.drop(sha256)

    def keys(self) -> set[Key]:
        """Everything that is here or in use."""
        with self._lock:
            used = {key for key, future in self._held.items() if future.done() and not future.exception()}
            here = used | {*self._memory}
        return here | {(TenantId(tenant), sha256) for tenant, sha256 in self._disk.adapters()}

    def figures(self) -> CacheFigures:
        with self._lock:
            memory, disk, store = (Level(each.hits, each.misses, each.bytes) for each in self._levels.values())
            memory.bytes = sum(file.bytes for file in self._memory.values())
            joined, evicted = self._joined, self._evicted
        disk.bytes = self._disk.bytes
        return CacheFigures(memory, disk, store, joined, evicted)

    def close(self) -> None:
        """Loads that run come to their end; the others fail with Unavailable."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            left = [future for future in self._held.values() if not future.done()]
        for future in left:
            future.set_exception(Unavailable("The endpoint is stopping."))

    def _work(self, key: Key, wanted: "ref[Future[LoraFile]]", version: AdapterVersion) -> None:
        future = wanted()
        if future is None:
            return
        fetched: Fetched = {}
        try:
            file = self._load(key, version, fetched)
        except Exception as error:
            if not isinstance(error, AdapterCorrupt | AdapterRefused | Unavailable):
                log.exception("loading %s failed", version.reference)
            future.set_exception(error)
            return
        with self._lock:
            still = self._held.get(key) is future  # not deleted while it was under way
            if still:
                self._memory[key] = file
                self._writing[key] += 1
                self._trim()
        future.set_result(file)
        del future  # a pin
        if still:
            self._keep(key, fetched)  # the disk is slow, and nobody waits for it

    def _keep(self, key: Key, fetched: Fetched) -> None:
        for kind, data in fetched.items():
            self._disk.write(*key, kind, data)
        with self._lock:
            deleted = not self._writing[key]
            self._writing -= Counter([key])  # which forgets what has come to nothing
        if deleted:  # meanwhile
            self._disk.drop(key[1])

    def _trim(self) -> None:
        size = sum(file.bytes for file in self._memory.values())
        for key in [key for key in self._memory if key not in self._held]:
            if size <= self._limit:
                break
            size -= self._memory.pop(key).bytes
            self._evicted += 1

    def _load(self, key: Key, version: AdapterVersion, fetched: Fetched) -> LoraFile:
        """`fetched` is given what came from the store, and was found good."""
        tenant, sha256 = key
        adapter_file.check_size(version.reference, version.file.bytes)
        self._check_manifest(tenant, version, fetched)
        data = self._disk.read(tenant, sha256, ADAPTER)
        if data is not None:
            try:
                file = adapter_file.read(version.reference, sha256, data)
                self._count("disk", hits=1)
                return file
            except AdapterCorrupt as error:
                log.warning("the copy on disk is dropped and fetched anew: %s", error.message)
        self._count("disk", misses=1)
        data = self._stored(version, version.file.key, version.file.bytes)
        file = adapter_file.read(version.reference, sha256, data)
        fetched[ADAPTER] = data
        return file

    def _check_manifest(self, tenant: TenantId, version: AdapterVersion, fetched: Fetched) -> None:
        """Raises AdapterCorrupt unless the manifest is the row's, and names this very file as an adapter."""
        sha256 = version.file.sha256
        data = self._disk.read(tenant, sha256, MANIFEST)
        if data is None or hashlib.sha256(data).hexdigest() != version.manifest_sha256:
            data = fetched[MANIFEST] = self._stored(version, version.manifest_key, MAX_MANIFEST_BYTES)
            if hashlib.sha256(data).hexdigest() != version.manifest_sha256:
                raise corrupt(version.reference, "its manifest does not have the SHA-256 that its row says")
        try:
            manifest = Manifest.model_validate_json(bytes(data))
        except ValidationError as error:
            raise corrupt(version.reference, "its manifest is not one that this version reads") from error
        named = {(each.kind, each.key, each.sha256) for each in manifest.files}
        if (Kind.ADAPTER, version.file.key, sha256) not in named or manifest.base_model != version.base_model:
            raise corrupt(version.reference, "its manifest names another file or another base model")
        if manifest.base_revision != version.base_revision:
            told = f"{manifest.base_revision or 'none'}, and its job {version.base_revision or 'none'}"
            raise corrupt(version.reference, f"its manifest names another revision of {version.base_model}: {told}")

    def _stored(self, version: AdapterVersion, key: str, most: int) -> bytearray:
        """The bytes of a stored file. Raises AdapterCorrupt where it is gone or longer than `most`."""
        data = bytearray()
        try:
            for piece in self._store.open(key, 0, most + 1):
                data += piece
        except Damaged as error:
            self._count("store", misses=1)
            raise corrupt(version.reference, "the store does not have all of its files any more") from error
        if len(data) > most:
            raise corrupt(version.reference, f"a file of it in the store has more than {most} bytes")
        self._count("store", hits=1, fetched=len(data))
        return data

    def _count(self, level: str, *, hits: int = 0, misses: int = 0, fetched: int = 0) -> None:
        with self._lock:
            counted = self._levels[level]
            counted.hits += hits
            counted.misses += misses
            counted.bytes += fetched


def _begun() -> "Future[LoraFile]":
    """A future that many share, so that none of them can cancel it."""
    future: Future[LoraFile] = Future()
    future.set_running_or_notify_cancel()
    return future
