"""A job all the way on the embedded stack: gateway, broker, SQLite, a folder, a worker process, its child, the base `shapes`."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from pydantic import SecretStr
from starlette.testclient import TestClient

from service.app import create_app
from service.domain.artifacts import Kind
from service.domain.ids import JobId
from service.domain.jobs import State
from service.settings import Settings
from tests.eventually import eventually
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
KEY = "a-key-of-sixteen"
CATALOGUE = ROOT / "catalogue.toml"


@pytest.fixture
def fleet(tmp_path: Path, sqlite_url: str, broker_url: str) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, sqlite_url, broker_url, CATALOGUE)
    yield fleet
    fleet.close()


@pytest.fixture
def gateway(tmp_path: Path, sqlite_url: str, broker_url: str, fleet: Fleet) -> Iterator[TestClient]:
    given = Settings(
        state_dir=tmp_path,
        database_url=sqlite_url,
        broker_url=broker_url,
        catalogue=CATALOGUE,
        api_key=SecretStr(KEY),
    )
    with TestClient(create_app(given), headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


def follow(gateway: TestClient, job: str, seconds: float = 60) -> dict[str, Any]:
    """Poll until the job has ended."""

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = gateway.get(f"/jobs/{job}").json()
        return found if found["state"] in ("succeeded", "failed", "cancelled") else None

    return eventually(ended, seconds) or {}


def picture(pipeline: StableDiffusionPipeline) -> np.ndarray:
    generator = torch.Generator("cpu").manual_seed(0)
    drawn = pipeline(PROMPTS[0], num_inference_steps=4, guidance_scale=2.0, generator=generator, output_type="np")
    return drawn.images[0]


@pytest.mark.slow
class TestAJob:
    def test_goes_from_post_to_an_adapter_that_plain_diffusers_loads(
        self, gateway: TestClient, fleet: Fleet, tmp_path: Path
    ) -> None:
        fleet.worker(REAL, lease_seconds=10)
        posted = gateway.post("/jobs", json=JOB)
        assert posted.status_code == 201, posted.text
        done = follow(gateway, posted.json()["id"])
        assert (done["state"], done["adapter"], done["error"]) == ("succeeded", "sharp@1", None)
        assert done["progress"]["step"] == 3
        assert done["progress"]["training_nfe"] > 0

        events = gateway.get(f"/jobs/{done['id']}/events").json()["data"]
        assert [event["step"] for event in events if event["type"] == "job.step"] == [1, 2, 3]
        assert [event["number"] for event in events] == list(range(1, len(events) + 1))
        samples = [event for event in events if event["type"] == "job.samples"][-1]["data"]

        artifacts = {each["name"]: each for each in gateway.get(f"/jobs/{done['id']}/artifacts").json()["data"]}
        for name in ("pytorch_lora_weights.safetensors", "manifest.json", *samples["names"]):
            content = TestClient(gateway.app).get(artifacts[name]["url"]).content  # by the link alone, without the key
            assert hashlib.sha256(content).hexdigest() == artifacts[name]["sha256"]
            (tmp_path / name).write_bytes(content)
        with Image.open(tmp_path / samples["names"][0]) as sample:
            assert sample.size == (64, 64)

        torch.set_num_threads(1)
        pipeline = StableDiffusionPipeline.from_pretrained(ROOT / "examples/shapes/base", safety_checker=None)
        pipeline.set_progress_bar_config(disable=True)
        before = picture(pipeline)
        pipeline.load_lora_weights(tmp_path)
        assert np.abs(picture(pipeline) - before).max() > 1e-3

    def test_whose_worker_is_killed_ends_with_the_same_bits(self, fleet: Fleet) -> None:
        """Killed after a checkpoint: another worker reaps, resumes, and makes the adapter that an undisturbed job makes."""
        longer = JOB | {"steps": 6, "samples": {"every": 0}, "reward": {"type": "jpeg-compressibility"}}
        first = fleet.worker(REAL)
        undisturbed = fleet.submit(**longer)
        fleet.reaches(undisturbed, State.SUCCEEDED, 60)
        disturbed = fleet.submit(**longer)
        eventually(lambda: fleet.artifacts(disturbed, Kind.CHECKPOINT), 60)
        first.kill()
        fleet.worker(REAL)
        done = fleet.reaches(disturbed, State.SUCCEEDED, 60)
        assert [attempt.cause for attempt in done.attempts] == ["lease_lost", "succeeded"]
        assert fleet.events(disturbed, "job.resumed")[0].data["step"] >= 1
        assert self.adapter(fleet, disturbed) == self.adapter(fleet, undisturbed)

    def adapter(self, fleet: Fleet, job: JobId) -> str:
        (artifact,) = fleet.artifacts(job, Kind.ADAPTER)
        return artifact.sha256
