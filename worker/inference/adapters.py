"""Adapters' bytes: from the store by their rows, checked against the row's SHA-256, the last used kept in memory."""

import hashlib
import threading
from collections import OrderedDict
from concurrent.futures import Future

from service.domain.adapters import AdapterVersion
from service.domain.errors import Damaged
from service.domain.ports import Store
from worker.inference.adapter_file import read
from worker.inference.requests import AdapterCorrupt, LoraFile

KEPT_BYTES = 512 * 2**20
MAX_ADAPTER_BYTES = 2**30


class AdapterCache:
    """Keyed by digest: two names of one file share it, and a name never brings another file's bytes."""

    def __init__(self, store: Store, kept_bytes: int = KEPT_BYTES) -> None:
        self._store = store
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[str, LoraFile] = OrderedDict()
        self._lock = threading.Lock()

    def fetch(self, version: AdapterVersion) -> "Future[LoraFile]":
        """Done when it returns: it fails with AdapterCorrupt, which names the adapter, or Unavailable without the store."""
        loaded: Future[LoraFile] = Future()
        try:
            loaded.set_result(self._get(version))
        except Exception as error:
            loaded.set_exception(error)
        return loaded

    def _get(self, version: AdapterVersion) -> LoraFile:
        digest = version.file.sha256
        with self._lock:
            file = self._kept.get(digest)
            if file is not None:
                self._kept.move_to_end(digest)
        if file is None:
            file = read(version.reference, digest, self._fetch(version))
            self._keep(digest, file)
        return file

    def _fetch(self, version: AdapterVersion) -> bytes:
        file = version.file
        if file.bytes > MAX_ADAPTER_BYTES:
            raise AdapterCorrupt(
                f"The adapter {version.reference} has {file.bytes} bytes, more than {MAX_ADAPTER_BYTES}."
            )
        try:
            data = b"".join(self._store.open(file.key, 0, file.bytes))
        except Damaged as error:
            raise AdapterCorrupt(f"The file of the adapter {version.reference} is gone from the store.") from error
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise AdapterCorrupt(
                f"The file of the adapter {version.reference} does not match its SHA-256; it was not used."
            )
        return data

    def _keep(self, digest: str, file: LoraFile) -> None:
        with self._lock:
            self._kept[digest] = file
            while sum(each.bytes for each in self._kept.values()) > self._kept_bytes and len(self._kept) > 1:
                self._kept.popitem(last=False)
