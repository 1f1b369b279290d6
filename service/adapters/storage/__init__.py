"""Files by key: a folder, or an S3-compatible bucket. The only door to boto3."""

from urllib.parse import unquote, urlsplit

from service.adapters.storage.folder import FolderStore
from service.adapters.storage.s3 import S3Store
from service.domain.outside import Store

__all__ = ["FolderStore", "S3Store", "make"]


def make(url: str, endpoint_url: str | None = None, public_url: str | None = None) -> Store:
    """The store behind file:///folder or s3://bucket/prefix. S3's credentials come from the environment, as boto3's do."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderStore(unquote(parts.path))
    if parts.scheme == "s3" and parts.netloc:
        return S3Store(parts.netloc, parts.path.strip("/"), endpoint_url=endpoint_url, public_url=public_url)
    raise ValueError(f"{url!r} is no store: use s3://bucket/prefix or file:///folder")
