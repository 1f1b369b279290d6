"""An S3-compatible bucket as a store. Large files go up in parts (an object appears when all are there) and come down whole.

Retries are botocore's "standard" ones, and bounded. Nothing rests on conditional PUT.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError

from service.adapters.storage.folder import aside_of, begun
from service.domain.errors import Damaged, Unavailable

PIECE = 2**20
PARTS = TransferConfig(multipart_threshold=16 * 2**20, multipart_chunksize=16 * 2**20, max_concurrency=4)
_MISSING = {"404", "NoSuchKey", "NotFound"}


class S3Store:
    def __init__(
        self, bucket: str, prefix: str = "", *, endpoint_url: str | None = None, public_url: str | None = None
    ):
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._client = _client(endpoint_url)
        self._public = _client(public_url) if public_url else None

    def put_file(self, key: str, path: Path) -> None:
        with _translated(key):
            self._client.upload_file(str(path), self._bucket, self._prefix + key, Config=PARTS)

    def open(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        return begun(self._pieces(key, start, end))

    def _pieces(self, key: str, start: int, end: int | None) -> Iterator[bytes]:
        if end is not None and end <= start:
            return
        wanted = {"Range": f"bytes={start}-{'' if end is None else end - 1}"} if start or end is not None else {}
        with _translated(key):
            body = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key, **wanted)["Body"]
            try:
                yield from body.iter_chunks(PIECE)
            finally:
                body.close()

    def get_file(self, key: str, path: Path) -> None:
        with aside_of(path) as aside, _translated(key):
            self._client.download_file(self._bucket, self._prefix + key, str(aside), Config=PARTS)

    def head(self, key: str) -> int | None:
        try:
            with _translated(key):
                return int(self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)["ContentLength"])
        except Damaged:
            return None

    def delete(self, key: str) -> None:
        with _translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def list(self, prefix: str) -> Iterator[str]:
        return (key for key, _ in self.ages(prefix))

    def ages(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        with _translated(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                for entry in page.get("Contents", ()):
                    yield entry["Key"].removeprefix(self._prefix), entry["LastModified"]

    def forget_half_done(self, before: datetime) -> int:
        gone = 0
        with _translated(self._prefix):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for upload in page.get("Uploads", ()):
                    if upload["Initiated"] < before:
                        named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
                        self._client.abort_multipart_upload(Bucket=self._bucket, **named)
                        gone += 1
        return gone

    def public_url(self, key: str, seconds: int) -> str | None:
        if self._public is None:
            return None
        named = {"Bucket": self._bucket, "Key": self._prefix + key}
        return str(self._public.generate_presigned_url("get_object", Params=named, ExpiresIn=seconds))


def _client(endpoint_url: str | None) -> Any:
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        signature_version="s3v4",
        request_checksum_calculation="when_required",  # stores beside AWS refuse newer ones; we read back and hash
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", endpoint_url=endpoint_url, config=config)


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        answer = error.response
        if answer.get("Error", {}).get("Code") in _MISSING:
            raise Damaged(f"{key} is not in the store") from error
        raise Unavailable(f"the store refused {key}: {answer.get('Error', {}).get('Message') or error}") from error
    except IncompleteReadError as error:
        raise Unavailable(f"the store gave only a part of {key}") from error
    except (BotoCoreError, Boto3Error, OSError) as error:
        raise Unavailable(f"the store does not take or give {key}: {error}") from error
