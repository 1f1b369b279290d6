"""Makes the small world's base model and CLIP from a seed: `python -m examples.shapes.make_base`.

Steps: autoencoder, clip, unet (each may be named to run it alone; the U-Net needs both others). Each step leaves its
weights, rounded to fp16, in its folder and its seconds in `seconds.json`; `measure.py` then writes the card.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).parent
BASE, CLIP = HERE / "base", HERE / "clip"
SEED = 0


def make_autoencoder() -> None:
    """Train and save the autoencoder."""
    from examples.shapes import autoencoder

    autoencoder.train(SEED).half().save_pretrained(BASE / "vae")


def make_clip() -> None:
    """Train and save the CLIP, and its text tower and tokenizer once more as the pipeline's."""
    from examples.shapes import clip, tokens

    clip.save(clip.train(SEED, tokens.build(BASE / "tokenizer")), CLIP, BASE)


def make_unet() -> None:
    """Train and save the U-Net and the rest of the pipeline's folder."""
    from examples.shapes import unet

    unet.save(unet.train(SEED, BASE), BASE)


STEPS = {"autoencoder": make_autoencoder, "clip": make_clip, "unet": make_unet}


def main(names: list[str]) -> None:
    """Run the named steps, or all."""
    torch.set_num_threads(1)
    for name in names or list(STEPS):
        start = time.monotonic()
        STEPS[name]()
        path = HERE / "seconds.json"
        seconds = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**seconds, name: round(time.monotonic() - start)}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
