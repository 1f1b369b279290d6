"""A job all the way, by processes as they are deployed: on the embedded parts (SQLite, a broker on a socket, a folder) and on
PostgreSQL, Redis and S3. Posted over HTTP, followed over gRPC, trained on the base `shapes`, downloaded, drawn with, compared
with plain diffusers, and its receipt verified."""

import base64
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import strop
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from service.domain.artifacts import Kind
from service.domain.ids import JobId
from service.domain.jobs import State
from tests.eventually import eventually
from tests.servers.seaweed import S3
from tests.stack import KEY, Stack, running
from tests.worker.fleet import REAL, ROOT, Fleet

PROMPTS = ["a red circle left of a blue square", "a green triangle above a yellow circle"]
METHOD = {
    "type": "sharpening-rlhf",
    "candidates": 4,
    "rollout_steps": 3,
    "prompts_per_step": 2,
    "timesteps_per_pair": 2,
    "learning_rate": 5e-3,
}
JOB: dict[str, Any] = {
    "base_model": "shapes",
    "prompts": PROMPTS,
    "reward": {"type": "clip", "model": "shapes-clip"},
    "method": METHOD,
    "lora": {"rank": 4},
    "steps": 3,
    "checkpoint_every": 1,
    "samples": {"every": 3, "num_inference_steps": 3},
    "adapter_name": "sharp",
}
CATALOGUE = ROOT / "catalogue.toml"
STEPS, GUIDANCE = 4, 2.0


@pytest.fixture
def fleet(tmp_path: Path, sqlite_url: str, broker_url: str) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, sqlite_url, broker_url, CATALOGUE)
    yield fleet
    fleet.close()


@pytest.fixture
def embedded_parts(sqlite_url: str, broker_url: str) -> dict[str, str]:
    return {"STROP_DATABASE_URL": sqlite_url, "STROP_BROKER_URL": broker_url}


@pytest.fixture
def real_parts(postgresql_url: str, redis_url: str, s3_server: S3) -> dict[str, str]:
    return {
        "STROP_DATABASE_URL": postgresql_url, "STROP_BROKER_URL": redis_url,
        "STROP_STORE_URL": f"s3://{s3_server.bucket}/end-to-end", "STROP_S3_ENDPOINT_URL": s3_server.endpoint,
        "AWS_ACCESS_KEY_ID": s3_server.key, "AWS_SECRET_ACCESS_KEY": s3_server.secret, "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip


@pytest.fixture(params=["embedded", "real"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    with running(tmp_path, request.getfixturevalue(f"{request.param}_parts")) as stack:
        yield stack


def by_the_endpoint(stack: Stack, model: str) -> np.ndarray:
    """[64, 64, 3], 0 to 255; and the endpoint says the calls that it cost."""
    body = {
        "model": model, "prompt": PROMPTS[0], "seed": 0, "num_inference_steps": STEPS, "guidance_scale": GUIDANCE,
        "response_format": "b64_json",
    }  # fmt: skip
    answer = stack.inference.post("/v1/images/generations", json=body)
    assert answer.status_code == httpx.codes.OK, answer.text
    assert answer.json()["usage"]["nfe"] == 2 * STEPS
    return np.array(Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))).convert("RGB"))


def by_diffusers(pipeline: StableDiffusionPipeline) -> np.ndarray:
    generator = torch.Generator("cpu").manual_seed(0)
    drawn = pipeline(PROMPTS[0], num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generator)
    return np.array(drawn.images[0])


@pytest.mark.slow
class TestAJob:
    def test_goes_from_post_to_pictures_that_plain_diffusers_draws_too(self, stack: Stack, tmp_path: Path) -> None:
        posted = stack.gateway.post("/jobs", json=JOB)
        assert posted.status_code == 201, posted.text
        id = posted.json()["id"]
        with strop.Client(str(stack.gateway.base_url), KEY) as client:
            told = list(client.jobs.watch(id))
        done = told[-1]
        assert isinstance(done, strop.Job)
        assert (done.state, done.adapter, done.error) == ("succeeded", "sharp@1", None)
        assert done.progress.step == 3
        assert done.progress.training_nfe > 0

        events = stack.gateway.get(f"/jobs/{id}/events").json()["data"]
        assert [each.number for each in told if isinstance(each, strop.Event)] == [each["number"] for each in events]
        assert [event["step"] for event in events if event["type"] == "job.step"] == [1, 2, 3]
        assert [event["number"] for event in events] == list(range(1, len(events) + 1))
        samples = [event for event in events if event["type"] == "job.samples"][-1]["data"]

        artifacts = {each["name"]: each for each in stack.gateway.get(f"/jobs/{id}/artifacts").json()["data"]}
        folder = tmp_path / "adapter"
        folder.mkdir()
        for name in ("pytorch_lora_weights.safetensors", "manifest.json", *samples["names"]):
            content = httpx.get(artifacts[name]["url"]).content  # by the link alone, without the key
            assert hashlib.sha256(content).hexdigest() == artifacts[name]["sha256"]
            (folder / name).write_bytes(content)
        with Image.open(folder / samples["names"][0]) as sample:
            assert sample.size == (64, 64)

        torch.set_num_threads(1)
        pipeline = StableDiffusionPipeline.from_pretrained(ROOT / "examples/shapes/base", safety_checker=None)
        pipeline.set_progress_bar_config(disable=True)
        base = by_diffusers(pipeline)
        pipeline.load_lora_weights(folder)
        sharpened = by_diffusers(pipeline)
        assert np.abs(sharpened.astype(int) - base).max() > 1
        for drawn, model in ((base, "shapes"), (sharpened, "sharp"), (sharpened, "sharp@1")):
            assert np.abs(drawn.astype(int) - by_the_endpoint(stack, model)).max() <= 1, model

        eventually(lambda: stack.gateway.get("/models/sharp").json()["receipt"]["stage"] == "signed", 120)
        with strop.Client(str(stack.gateway.base_url), KEY) as client:
            receipt = client.receipts.verify(client.receipts.get("sharp").content)
        assert (receipt.adapter, receipt.body["calls"]["ratio"]) == ("sharp@1", 1.0)
        assert receipt.body["held_out"]["reward"]["type"] == "scene"

    def test_whose_worker_is_killed_ends_with_the_same_bits(self, fleet: Fleet) -> None:
        """Killed after a checkpoint: another worker reaps, resumes, and makes the adapter that an undisturbed job makes."""
        longer = JOB | {"steps": 6, "samples": {"every": 0}, "reward": {"type": "jpeg-compressibility"}}
        first = fleet.worker(REAL, lease_seconds=6)  # two seconds may pass unheard while a child imports torch
        undisturbed = fleet.submit(**longer)
        fleet.reaches(undisturbed, State.SUCCEEDED, 180)
        disturbed = fleet.submit(**longer)
        eventually(lambda: fleet.artifacts(disturbed, Kind.CHECKPOINT), 180)
        first.kill()
        fleet.worker(REAL, lease_seconds=6)
        done = fleet.reaches(disturbed, State.SUCCEEDED, 180)
        assert [attempt.cause for attempt in done.attempts] == ["lease_lost", "succeeded"]
        assert fleet.events(disturbed, "job.resumed")[0].data["step"] >= 1
        assert self.adapter(fleet, disturbed) == self.adapter(fleet, undisturbed)

    def adapter(self, fleet: Fleet, job: JobId) -> str:
        (artifact,) = fleet.artifacts(job, Kind.ADAPTER)
        return artifact.sha256
