"""The demo, told in order: start the stack, post a job, follow it, fetch the adapter, draw with it, compare, report.

The base's pictures are drawn while the worker trains. Everything that is written lies under `demo/`.
"""

import base64
import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from rich.console import Console

from examples.demo import pictures
from examples.demo.compare import BaseSide, compare
from examples.demo.follow import follow
from examples.demo.measure import BASE, Setting
from examples.demo.stack import Stack, running
from worker.shapes.oracle import judge as look
from worker.shapes.scene import parse

OUT = Path("demo")
STATE = Path(".strop/demo")
JOB = Path("examples/shapes.json")
SHOWN = 8
console = Console()
seconds: dict[str, float] = {}


@contextmanager
def timed(part: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    seconds[part] = round(time.monotonic() - start, 1)


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    with timed("all"), BaseSide() as base_side, ExitStack() as stops:
        with timed("start"), console.status("starting gateway, steward, worker, inference endpoint and broker"):
            stack = stops.enter_context(running(STATE))
        with timed("job"):
            job = post(stack.gateway)
            done = follow(stack.gateway, job["id"], console)
        with timed("download"):
            adapter = download(stack.gateway, done)
        with timed("compare"):
            report = compare(base_side, adapter, console)
        with timed("pictures"):
            draw_side_by_side(stack, done["adapter"], report)
            pictures.reward_curve(OUT / "reward.png", step_events(stack.gateway, done["id"]))
        with timed("stop"):
            stops.close()
    progress = done["progress"]
    report |= {
        "job": done["id"], "adapter": done["adapter"], "base_path": str(BASE),
        "training_nfe": progress["training_nfe"], "training_fe": progress["training_fe"],
        "break_even_images": report.pop("break_even")(progress["training_fe"]), "seconds": seconds,
    }  # fmt: skip
    (OUT / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    pictures.table(console, report)
    console.print(
        f"wrote {OUT}/side-by-side.png, {OUT}/reward.png, {OUT}/adapter/ and {OUT}/report.json in {seconds['all']:.0f} s"
    )


def post(gateway: httpx.Client) -> dict[str, Any]:
    """`POST /jobs` with the example, as the README does it with curl."""
    answer = gateway.post("/jobs", content=JOB.read_bytes(), headers={"Content-Type": "application/json"})
    if answer.status_code != httpx.codes.CREATED:
        raise SystemExit(f"demo: the job was refused: {answer.text}")
    job: dict[str, Any] = answer.json()
    console.print(f"posted {JOB} to {gateway.base_url}/jobs: {job['id']}")
    return job


def download(gateway: httpx.Client, job: dict[str, Any]) -> Path:
    """Fetch adapter and manifest by their links into `demo/adapter/`; returns the adapter's file."""
    folder = OUT / "adapter"
    folder.mkdir()
    found = None
    for artifact in gateway.get(f"/jobs/{job['id']}/artifacts").raise_for_status().json()["data"]:
        if artifact["kind"] in {"adapter", "manifest"}:
            path = folder / artifact["name"]
            path.write_bytes(gateway.get(artifact["url"]).raise_for_status().content)
            found = path if artifact["kind"] == "adapter" else found
    if found is None:
        raise SystemExit(f"demo: job {job['id']} lists no adapter among its artifacts")
    return found


def draw_side_by_side(stack: Stack, adapter: str, report: dict[str, Any]) -> None:
    """Ask the inference endpoint for the first held-out prompts, base and sharpened, each at its own best setting."""
    prompts, seeds = report["prompts"][:SHOWN], report["seeds"][:SHOWN]
    rows: dict[str, list[np.ndarray]] = {}
    exact: dict[str, list[bool]] = {}
    for name, model in (("base", "shapes"), ("sharpened", adapter)):
        setting = Setting(report[name]["guidance"], report[name]["num_inference_steps"])
        rows[name] = [
            endpoint_picture(stack.inference, model, prompt, seed, setting)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        exact[name] = [look(picture, parse(prompt)).exact for picture, prompt in zip(rows[name], prompts, strict=True)]
    pictures.side_by_side(OUT / "side-by-side.png", prompts, rows, exact)


def endpoint_picture(inference: httpx.Client, model: str, prompt: str, seed: int, setting: Setting) -> np.ndarray:
    body = {
        "model": model, "prompt": prompt, "seed": seed, "n": 1, "response_format": "b64_json",
        "guidance_scale": setting.guidance, "num_inference_steps": setting.steps,
    }  # fmt: skip
    answer = inference.post("/v1/images/generations", json=body).raise_for_status().json()
    return np.array(Image.open(io.BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))).convert("RGB"))


def step_events(gateway: httpx.Client, job: str) -> list[dict[str, Any]]:
    """Step events in order; where a step was run twice, the highest fence counts."""
    after, by_step = 0, {}
    while True:
        page = gateway.get(f"/jobs/{job}/events", params={"after": after, "limit": 100}).raise_for_status().json()
        for event in page["data"]:
            after = event["number"]
            if event["type"] == "job.step":
                by_step[event["step"]] = event
        if not page["has_more"]:
            return [by_step[step] for step in sorted(by_step)]


if __name__ == "__main__":
    main()
