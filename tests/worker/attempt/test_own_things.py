"""Whole jobs that bring pictures or begin with an adapter: posted, claimed, staged, trained by the real child, delivered."""

import io
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from service.domain.artifacts import Kind
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.files import File
from service.domain.ids import JobId
from service.domain.jobs import Job, State
from service.domain.principals import LOCAL
from service.domain.recipes import JobRequest
from service.operations.files import Files
from service.operations.jobs import Jobs
from tests.service.domain.archives import zipped
from tests.worker.attempt.conftest import CountingBell, Workshop
from worker.attempt.attempt import Attempt
from worker.attempt.process import CHILD
from worker.tasks import OFFERS

SFT = {
    "type": "sharpening-sft", "candidates": 2, "rollout_steps": 2, "prompts_per_step": 2,
    "trajectory_length": 1, "walk_steps": 8, "learning_rate": 1e-2,
}  # fmt: skip
LORA = {"rank": 2, "targets": ["attention"]}


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (96, 80, 3), dtype=np.uint8)
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "PNG")
    return made.getvalue()


def hollow() -> bytes:
    """A PNG whose parts are whole and whose pixels are not: what no look at the container finds."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"no pixels") + chunk(b"IEND", b"")


class Whole:
    """The workshop with the tiny base in its catalogue and the real child."""

    def __init__(self, workshop: Workshop, base: Path) -> None:
        self.workshop = workshop
        workshop.catalogue = Catalogue(
            bases={"b": BaseModelEntry(name="b", source=str(base), family="sd", resolution=64)}
        )
        self.jobs = Jobs(workshop.database, CountingBell(), workshop.catalogue, workshop.store)
        self.files = Files(workshop.database, workshop.store)

    def upload(self, *pictures: tuple[str, bytes]) -> File:
        entries: dict[str, bytes] = {}
        for number, (caption, content) in enumerate(pictures):
            entries |= {f"set/{number}.png": content, f"set/{number}.txt": caption.encode()}
        return self.files.upload(LOCAL, "set.zip", io.BytesIO(zipped(entries)))[0]

    def post(self, **fields: Any) -> JobId:
        body = {
            "base_model": "b", "reward": {"type": "jpeg-compressibility"}, "lora": LORA, "steps": 2,
            "samples": {"every": 0}, **fields,
        }  # fmt: skip
        return self.jobs.submit(LOCAL, JobRequest.model_validate(body))[0].id

    def attempt(self, job: JobId) -> Job:
        claim = self.workshop.attempts.claim("tester", None, OFFERS)
        assert claim is not None
        assert claim.job.id == job
        Attempt(claim, replace(self.workshop.place(step_timeout=300), command=CHILD)).run()
        return self.workshop.job(job)

    def run(self, **fields: Any) -> Job:
        """Post a job and run an attempt at it to its end."""
        return self.attempt(self.post(**fields))

    def manifest(self, job: Job) -> dict[str, Any]:
        (row,) = self.workshop.artifacts(job.id, Kind.MANIFEST)
        said: dict[str, Any] = json.loads(b"".join(self.workshop.store.open(row.key)))
        return said

    def weights(self, job: JobId) -> dict[str, Any]:
        (row,) = self.workshop.artifacts(job, Kind.ADAPTER)
        return safetensors.torch.load(b"".join(self.workshop.store.open(row.key)))


@pytest.fixture
def whole(workshop: Workshop, sd_folder: Path) -> Whole:
    workshop.use_lease(60)
    return Whole(workshop, sd_folder)


def test_pictures_with_captions_alone_make_an_adapter_and_another_job_begins_with_it(whole: Whole) -> None:
    file = whole.upload(("a cat", picture(0)), ("a dog", picture(1)), ("a cat", picture(2)))
    first = whole.run(images_file=file.id, method=SFT, adapter_name="pets")
    assert (first.state, first.adapter) == (State.SUCCEEDED, "pets@1"), first.error
    said = whole.manifest(first)
    assert (said["images_sha256"], said["image_count"], said["prompt_count"]) == (file.sha256, 3, 2)
    assert said["start_adapter"] is None

    still = {
        "type": "sharpening-rlhf",
        "candidates": 2,
        "rollout_steps": 2,
        "prompts_per_step": 1,
        "learning_rate": 1e-9,
    }
    second = whole.run(prompts=["a cat"], method=still, adapter_name="pets", start_adapter="pets", steps=1)
    assert (second.state, second.adapter) == (State.SUCCEEDED, "pets@2"), whole.workshop.events(second.id)[-1]
    said = whole.manifest(second)
    assert (said["start_adapter"], said["images_sha256"]) == ("pets@1", None)
    (file_of_first,) = whole.workshop.artifacts(first.id, Kind.ADAPTER)
    assert said["start_adapter_sha256"] == file_of_first.sha256
    before, after = whole.weights(first.id), whole.weights(second.id)
    assert all((after[name] - value).abs().max() < 1e-6 for name, value in before.items())
    assert max(value.abs().max() for name, value in before.items() if "lora_B" in name) > 1e-4, "it was trained"


def test_a_picture_without_pixels_ends_the_job_at_once_by_its_name(whole: Whole) -> None:
    file = whole.upload(("a cat", picture(0)), ("a dog", hollow()))
    job = whole.run(images_file=file.id, method=SFT)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error.code == "image_unreadable"
    assert "set/1.png" in job.error.message
    assert whole.workshop.events(job.id, "job.ready") == [], "no model was loaded"


@pytest.mark.parametrize("what", ["images", "start"])
def test_other_bytes_than_those_that_were_named_train_nothing(whole: Whole, what: str) -> None:
    file = whole.upload(("a cat", picture(0)))
    first = whole.run(images_file=file.id, method=SFT, adapter_name="pets", steps=1)
    (adapter,) = whole.workshop.artifacts(first.id, Kind.ADAPTER)
    job = whole.post(images_file=file.id, method=SFT, start_adapter="pets")
    other = whole.workshop.folder / "other"
    other.write_bytes(b"something else")
    whole.workshop.store.put_file(file.key if what == "images" else adapter.key, other)
    tried = whole.attempt(job)
    assert (tried.state, tried.attempts[0].cause) == (State.QUEUED, "damaged"), "a store may mend itself"
    assert whole.workshop.events(job, "job.ready") == []
