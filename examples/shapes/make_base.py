"""Makes the small world's base model and CLIP from a seed: `python -m examples.shapes.make_base`.

Steps: autoencoder, clip, unet, web (the U-Net's second stage). Each may be named to run it alone, needs those before it,
and leaves its weights, rounded to fp16, in its folder and its seconds in `seconds.json`; `measure.py` writes the card.
`--into FOLDER` works on a copy elsewhere, and `--web-steps` changes the last stage there: so convergence is measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from examples.shapes import autoencoder, clip, tokens, unet

HERE = Path(__file__).parent
BASE, CLIP = HERE / "base", HERE / "clip"
SEED = 0


def make(step: str, base: Path, clip_folder: Path, web_steps: int) -> None:
    """Train and save one part into the pipeline's folder (and the CLIP's)."""
    if step == "autoencoder":
        autoencoder.train(SEED).half().save_pretrained(base / "vae")
    elif step == "clip":
        clip.save(clip.train(SEED, tokens.build(base / "tokenizer")), clip_folder, base)
    elif step == "unet":
        unet.save(unet.train(SEED, base, unet.CLEAN), base)
    else:
        start = UNet2DConditionModel.from_pretrained(base / "unet")
        unet.save(unet.train(SEED + 1, base, replace(unet.WEB, steps=web_steps), start), base)


def main() -> None:
    """Run the named steps, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ("autoencoder", "clip", "unet", "web")
    parser.add_argument("steps", nargs="*", help=f"of {', '.join(names)}; all if none is named")
    parser.add_argument(
        "--into", type=Path, default=HERE, help="work in this folder, on copies of base/ and clip/ unless it has them"
    )
    parser.add_argument("--web-steps", type=int, default=unet.WEB.steps)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for folder in (BASE, CLIP):
        if not (arguments.into / folder.name).exists() and folder.exists():
            shutil.copytree(folder, arguments.into / folder.name)
    path = arguments.into / "seconds.json"
    for name in arguments.steps or names:
        start = time.monotonic()
        make(name, arguments.into / BASE.name, arguments.into / CLIP.name, arguments.web_steps)
        seconds = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**seconds, name: round(time.monotonic() - start)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
