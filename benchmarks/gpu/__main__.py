"""`make bench-gpu`: what training costs on the large bases' real shapes, in bf16, with random weights; writes results.json.

Of each base: seconds and peak memory of an update by the defaults, beside the catalogue's memory_gib; milliseconds a
picture of denoiser, VAE and reward; an adapter that computes in bf16 against peft's way of lifting every input to fp32.
`steps`: the SFT step of `benchmarks/step` in seconds, against the published loop.

--only NAME …   some of the bases, or steps; the others' rows stay as they are in results.json
--into FILE     another file for the results
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.contest import keep, machine
from benchmarks.gpu import adapters, bases, steps, updates
from service.domain.rewards import ClipReward
from worker.rewards.make import make
from worker.rewards.reward import Reward

RESULTS = Path(__file__).with_name("results.json")
DEVICE = "cuda"
METHODS = {"sd15": ("sharpening-rlhf", "forward-process")}
"""Of the others the default alone."""
AN_UPDATE = {"sd15": 8, "sdxl": 1, "sd35-medium": 1, "flux-dev": 1}
"""Prompts of an update: the default's eight, or one where eight take minutes."""
UPDATES, SECONDS, TURNS = 3, 15.0, 4
Row = dict[str, Any]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=("steps", *AN_UPDATE))
    parser.add_argument("--into", type=Path, default=RESULTS)
    chosen = parser.parse_args(words)
    if not torch.cuda.is_available():
        parser.error("this measures a GPU, and torch finds none here: run it where nvidia-smi lists one")
    with tempfile.TemporaryDirectory(prefix="strop-bench-") as folder:
        for name, part in _parts(Path(folder)).items():
            if chosen.only is None or name in chosen.only:
                run = machine()
                for row in part():  # each at once: a GPU is dear, and what comes later may fail
                    keep(chosen.into, name, [row], run)


def _parts(folder: Path) -> dict[str, Callable[[], Iterator[Row]]]:
    clip = bases.clip_reward(folder / "clip")
    reward = make(ClipReward(type="clip", model="clip"), folder=clip, device=torch.device(DEVICE))
    return {"steps": of_steps, **{name: partial(of_base, name, reward) for name in AN_UPDATE}}


def of_base(name: str, reward: Reward) -> Iterator[Row]:
    updates.forget()
    family = bases.make(name, DEVICE)
    yield from updates.parts(name, family, reward, TURNS)  # before any adapter, whose empty layers peft leaves behind
    for method in METHODS.get(name, ("forward-process",)):
        words = {"type": method, "prompts_per_step": AN_UPDATE[name]}
        yield updates.measure(name, family, reward, words, updates=UPDATES, seconds=SECONDS)
    yield from adapters.rows(name, family, TURNS)


def of_steps() -> Iterator[Row]:
    for model in ("sd15", "sdxl"):
        for train in ("weights", "lora"):
            yield from steps.rows(model, 512, train, DEVICE, TURNS)


if __name__ == "__main__":
    main()
