"""The demo, told in order: start the stack, post a job, follow it, fetch the adapter, draw with it, compare, report.

The base's pictures are drawn while the worker trains. Everything that is written lies under `demo/`.
"""

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
import strop
from PIL import Image
from rich.console import Console

from examples.demo import pictures
from examples.demo.compare import BaseSide, compare
from examples.demo.follow import follow
from examples.demo.measure import BASE, Setting
from examples.demo.stack import running
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
            done, steps = follow(stack.client, post(stack.gateway), console)
        with timed("download"):
            adapter = download(stack.client, done)
        with timed("compare"):
            report = compare(base_side, adapter, console)
        with timed("pictures"):
            draw_side_by_side(stack.client, str(done.adapter), report)
            pictures.reward_curve(OUT / "reward.png", steps)
            keep_receipt(stack.client, str(done.adapter))
        with timed("stop"):
            stops.close()
    progress = done.progress
    report |= {
        "job": done.id, "adapter": done.adapter, "base_path": str(BASE),
        "training_nfe": progress.training_nfe, "training_fe": progress.training_fe,
        "break_even_images": report.pop("break_even")(progress.training_fe), "seconds": seconds,
    }  # fmt: skip
    (OUT / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    pictures.table(console, report)
    console.print(
        f"wrote {OUT}/side-by-side.png, {OUT}/reward.png, {OUT}/adapter/ and {OUT}/report.json in {seconds['all']:.0f} s"
    )


def post(gateway: httpx.Client) -> str:
    """`POST /jobs` with the example, as the README does it with curl; returns the job's id."""
    answer = gateway.post("/jobs", content=JOB.read_bytes(), headers={"Content-Type": "application/json"})
    if answer.status_code != httpx.codes.CREATED:
        raise SystemExit(f"demo: the job was refused: {answer.text}")
    job = str(answer.json()["id"])
    console.print(f"posted {JOB} to {gateway.base_url}/jobs: {job}")
    return job


def download(client: strop.Client, job: strop.Job) -> Path:
    """Fetch adapter and manifest into `demo/adapter/`; returns the adapter's file."""
    return next(path for path in client.artifacts.download(job, OUT / "adapter") if path.suffix == ".safetensors")


def keep_receipt(client: strop.Client, adapter: str) -> None:
    """The signed receipt and the keys that check it, where the steward has had it measured by now; it is not waited for."""
    try:
        receipt = client.receipts.get(adapter)
    except strop.NotFound as missing:
        console.print(missing.message)
        return
    (OUT / "receipt.json").write_bytes(receipt.content)
    (OUT / "keys.json").write_text(json.dumps(client.receipts.keys()))
    console.print(
        f"receipt of {receipt.adapter}: {receipt.verdict}, {receipt.body['calls']['ratio']:.3f} × the base's denoiser calls; "
        f"strop receipts verify {OUT}/receipt.json --keys {OUT}/keys.json"
    )


def draw_side_by_side(client: strop.Client, adapter: str, report: dict[str, Any]) -> None:
    """Ask the inference endpoint for the first held-out prompts, base and sharpened, each at its own best setting."""
    prompts, seeds = report["prompts"][:SHOWN], report["seeds"][:SHOWN]
    rows: dict[str, list[np.ndarray]] = {}
    exact: dict[str, list[bool]] = {}
    for name, model in (("base", "shapes"), ("sharpened", adapter)):
        setting = Setting(report[name]["guidance"], report[name]["num_inference_steps"])
        rows[name] = [
            endpoint_picture(client, model, prompt, seed, setting) for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        exact[name] = [look(picture, parse(prompt)).exact for picture, prompt in zip(rows[name], prompts, strict=True)]
    pictures.side_by_side(OUT / "side-by-side.png", prompts, rows, exact)


def endpoint_picture(client: strop.Client, model: str, prompt: str, seed: int, setting: Setting) -> np.ndarray:
    (drawn,) = client.images.generate(
        model, prompt, seed=seed, guidance_scale=setting.guidance, num_inference_steps=setting.steps
    )
    return np.array(Image.open(io.BytesIO(drawn.png)).convert("RGB"))


if __name__ == "__main__":
    main()
