"""`client.artifacts`: a job's stored files, over HTTP. A file appears under its name whole and checked, or not at all."""

import builtins
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from strop.errors import Damaged, NotFound
from strop.reading import read
from strop.records import Artifact, Job
from strop.web import Web


class Artifacts:
    """Adapter, manifest, checkpoints, samples and log of a job."""

    def __init__(self, web: Web, gateway: str) -> None:
        self._web, self._gateway = web, gateway

    def list(self, job: Job | str) -> builtins.list[Artifact]:
        """Every stored file of the job, with links that work without the key for a while."""
        url = f"{self._gateway}/jobs/{quote(_id(job), safe='')}/artifacts"
        found = (read(Artifact, each) for each in self._web.get(url)["data"])
        return [replace(each, url=_by_way_of(self._gateway, each.url)) for each in found]

    def download(
        self, job: Job | str, folder: Path | str, kinds: Sequence[str] = ("adapter", "manifest")
    ) -> builtins.list[Path]:
        """Fetch the files of these kinds into `folder`, each checked against its SHA-256; returns where they lie.

        Where two attempts made a file of one name, the later one counts. Raises NotFound where the job has none of these
        kinds (yet), Damaged where the bytes are not what was stored.
        """
        latest: dict[str, Artifact] = {}
        for each in sorted(self.list(job), key=lambda artifact: (artifact.fence, artifact.step)):
            if each.kind in kinds:
                latest[each.name] = each
        if not latest:
            raise NotFound(f"job {_id(job)} has no file of kind {' or '.join(kinds)}", code="artifact_not_found")
        into = Path(folder)
        into.mkdir(parents=True, exist_ok=True)
        return [self._fetch(each, into) for each in latest.values()]

    def _fetch(self, artifact: Artifact, folder: Path) -> Path:
        target = folder / artifact.name
        if artifact.name != target.name or artifact.name in ("", ".", ".."):
            raise Damaged(f"{artifact.name!r} is not the name of a file", code="unsafe_name")
        aside = folder / f".{artifact.name}.{secrets.token_hex(4)}"
        try:
            found = self._web.read(artifact.url, lambda chunks: _written(aside, chunks))
            if found != artifact.sha256:
                raise Damaged(f"{artifact.name}: SHA-256 {found} came, {artifact.sha256} was stored")
            return aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)


def _by_way_of(gateway: str, link: str) -> str:
    """A link with a token is asked of the gateway as this client reaches it: behind a proxy that ends TLS, a gateway that was
    not told its address takes itself for http. A presigned link of the store stays as it is.
    """
    parts = urlsplit(link)
    if "token" not in parse_qs(parts.query):
        return link
    return f"{gateway}{parts.path.removeprefix(urlsplit(gateway).path)}?{parts.query}"


def _written(path: Path, chunks: Iterator[bytes]) -> str:
    """Write from the start, also at the second try; returns the SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _id(job: Job | str) -> str:
    return job.id if isinstance(job, Job) else job
