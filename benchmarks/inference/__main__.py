"""`make bench-inference`: the serving engine against plain diffusers, side by side in one run; writes results.json beside this.

traffic   images a second with 64 adapters, against loading for each request and against resident adapters (shapes)
calls     mixed batches and single pictures against the plain base, on shapes and in SD1.5's shapes; denoiser forwards
loading   an adapter into a slot, from host memory and from the store, against load_lora_weights
soak      30 minutes of random traffic: pictures that were wrong, and memory at the end against minute 5

--only PART …  some of them; the others' rows stay as they are in results.json. On cuda the soak, which is the CPU's, is left out
--quick        a smoke run in a minute, on shapes alone; nothing is written
--device D     cpu, or cuda; the other's rows stay as they are
--models M …   some of shapes, sd15, sdxl
--turns N      of each contender, 7 otherwise; --requests N: of a turn of traffic, 32 otherwise. For a device that is lent by the minute
"""

import argparse
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging

from benchmarks.contest import keep, machine, row, table
from benchmarks.inference import calls, loading, places, traffic
from benchmarks.inference.soak import soak
from tests.worker import tiny
from worker.inference.engine import heap

LINEAR = "linear layers"
SOAK_SECONDS = 1800
PARTS = ("soak", "traffic", "calls", "loading")
RESULTS = Path(__file__).with_name("results.json")
Row = dict[str, Any]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", nargs="+", choices=("shapes", "sd15", "sdxl"), default=("shapes", "sd15", "sdxl"))
    parser.add_argument("--turns", type=int)
    parser.add_argument("--requests", type=int, default=traffic.A_TURN)
    parser.add_argument("--into", type=Path, default=RESULTS, help="another file for the results")
    chosen = parser.parse_args(words)
    if chosen.requests < 1 or (chosen.turns is not None and chosen.turns < 1):
        parser.error("--turns and --requests are numbers from 1")
    heap.bound_primitives()  # as the endpoint does
    diffusers_logging.set_verbosity_error()  # each adapter without text-encoder layers would be a warning
    warnings.filterwarnings("ignore", message="Already found a `peft_config`")
    asked = chosen.only or [name for name in PARTS if name != "soak" or chosen.device == "cpu"]
    with tempfile.TemporaryDirectory(prefix="strop-bench-") as folder:
        turns = chosen.turns or (1 if chosen.quick else 7)
        parts = _parts(Path(folder), chosen.device, chosen.models, turns, chosen.requests, quick=chosen.quick)
        for name in asked:
            torch.set_num_threads(1 if name == "soak" else os.cpu_count() or 1)  # the soak compares bits
            run, began = machine(), time.monotonic()
            made = parts[name]()
            print("\n" + "\n".join(table(made)) + "\n", flush=True)
            if not chosen.quick:
                keep(chosen.into, name, made, run | {"seconds": round(time.monotonic() - began)})


def _parts(
    folder: Path, device: str, models: Sequence[str], turns: int, requests: int, *, quick: bool
) -> dict[str, Callable[[], list[Row]]]:
    def the_traffic() -> list[Row]:
        made = []
        asked = {"shapes": places.small, **({"sd15": places.sd15} if device != "cpu" and not quick else {})}
        for place in (place for name, place in asked.items() if name in models):
            home = folder / f"traffic-{place.__name__}"
            home.mkdir()
            made += traffic.rows(place(folder, adapters=traffic.ADAPTERS, device=device), home, turns, requests)
        return made

    def large(name: str, targets: Sequence[str]) -> Iterator[places.Place]:
        """A CPU takes seconds for one call of SD1.5's, minutes with convolutions, and has no room for SDXL's."""
        if quick or (device == "cpu" and name != LINEAR):
            return
        for model, place in (("sd15", places.sd15), *((("sdxl", places.sdxl),) if device != "cpu" else ())):
            if model in models:
                yield place(folder, adapters=8, targets=targets, device=device)

    def shapes(targets: Sequence[str]) -> Iterator[places.Place]:
        if "shapes" in models:
            yield places.small(folder, adapters=traffic.ADAPTERS, targets=targets, device=device)

    def the_calls() -> list[Row]:
        made, fast = [], device != "cpu"
        for name, targets in _kinds(quick):
            for place in shapes(targets):
                made += calls.rows(
                    place, name, steps=places.STEPS, guidance=places.GUIDANCE, turns=turns, goals=(0.75, 1.25)
                )
            for place in large(name, targets):  # on a CPU one step without guidance
                steps, guidance, often = (places.STEPS, places.GUIDANCE, turns) if fast else (1, 1.0, min(turns, 3))
                made += calls.rows(place, name, steps=steps, guidance=guidance, turns=often, goals=(0.9, 1.05))
        return made

    def the_loading() -> list[Row]:
        made = []
        for name, targets in _kinds(quick):
            for place in (*shapes(targets), *large(name, targets)):
                made += loading.rows(place, name, folder, turns)
        return made

    def the_soak() -> list[Row]:
        seconds = 20 if quick else SOAK_SECONDS
        done = soak(tiny.pipeline_folder(folder / "soaked"), seconds, tell=partial(print, flush=True))
        memory = {"ratio": round(done.rss_late / done.rss_early, 4), "ci95": None, "turns": 1}
        place = SimpleNamespace(device="cpu", model="tiny pipeline, 64 px, random weights")
        name = f"memory after {seconds // 60} minutes of random traffic with aborts and damage : after a sixth of them"
        return [row(name, place, memory, goal=("at most", 1.05)) | asdict(done)]

    return {"soak": the_soak, "traffic": the_traffic, "calls": the_calls, "loading": the_loading}


def _kinds(quick: bool) -> list[tuple[str, Sequence[str]]]:
    linear = (LINEAR, places.LINEAR)
    return [linear] if quick else [linear, ("linear and conv layers", places.ALL)]


if __name__ == "__main__":
    main()
