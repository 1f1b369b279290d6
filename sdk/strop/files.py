"""`client.files`: prompts and datasets that jobs name, over HTTP."""

from pathlib import Path

from strop.reading import read
from strop.records import File
from strop.web import Web

CHECKING_SECONDS = 120.0
"""The service reads the whole file before it answers."""


class Files:
    """Files that `prompts_file` may name."""

    def __init__(self, web: Web, gateway: str) -> None:
        self._web, self._url = web, f"{gateway}/files"

    def upload(self, path: Path | str, *, idempotency_key: str | None = None) -> File:
        """Upload prompts (text, one a line; JSONL) or a zip of images; raises InvalidRequest, TooLarge, and OSError.

        A key is made for each call, so that its retries make one file.
        """
        source = Path(path)
        sent = {"file": (source.name, source.read_bytes())}  # at most 64 MiB; a stream could not be sent twice
        return read(File, self._web.post_once(self._url, idempotency_key, answer_seconds=CHECKING_SECONDS, files=sent))
