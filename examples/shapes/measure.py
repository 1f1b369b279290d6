"""Measures the base and the CLIP: `python -m examples.shapes.measure` writes card.json, the sweep's figure, the tables.

Parts (name some to run only those; the rest of the card stays): weights (digests and sizes), autoencoder, clip, sweep,
search, convergence (needs `--longer FOLDER`, a base whose U-Net went on training). All pictures of a part start from
the same noise, prompt by prompt, so that differences are paired. The fp16-rounded weights are measured, in fp32.
NFE: denoiser calls a picture; one a step at guidance 1, else two.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPModel, CLIPTokenizer

from examples.shapes import autoencoder, clip, report, tokens, unet
from examples.shapes.data import mutations, pictures, random_scene, to_float
from examples.shapes.make_base import BASE, CLIP, HERE, SEED
from worker.shapes.oracle import judge
from worker.shapes.scene import parse
from worker.shapes.splits import prompts

ROOT = HERE.parent.parent
WORLD = [ROOT / "worker" / "shapes" / f"{name}.py" for name in ("scene", "render", "oracle", "splits")]
FIGURE = ROOT / "docs" / "figures" / "base-sweep.png"
GUIDANCES, CALLS = (1.0, 1.5, 2.0, 3.0, 5.0), (10, 20, 40)
MAIN_CALLS, MAIN_PICTURES, PICTURES = 20, 1024, 256
"""The NFE at which the base is known, and how many pictures of test prompts are drawn there, and elsewhere."""


class Base:
    """The base model, opened for drawing many pictures of a few settings."""

    def __init__(self, folder: Path) -> None:
        self.rows, self.table = unet.text_table(folder)
        self.vae = AutoencoderKL.from_pretrained(folder / "vae").float().eval()
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet").float().eval()

    @torch.no_grad()
    def draw(self, texts: list[str], guidance: float, calls: int, seed: int) -> np.ndarray:
        """uint8 [n, 64, 64, 3]; `calls` is the NFE a picture."""
        noise = torch.randn(len(texts), 8, 8, 8, generator=torch.Generator().manual_seed(seed))
        rows = torch.tensor([self.rows[text] for text in texts])
        done = [self._draw(x, self.table[r], guidance, calls) for x, r in zip(noise.split(64), rows.split(64))]  # noqa: B905
        return autoencoder.decode(self.vae, torch.cat(done) / self.vae.config.scaling_factor)

    def _draw(self, x: torch.Tensor, text: torch.Tensor, guidance: float, calls: int) -> torch.Tensor:
        schedule = unet.scheduler()
        schedule.set_timesteps(calls if guidance == 1 else calls // 2)
        for t in schedule.timesteps:
            guess = self.unet(x, t, text).sample
            if guidance != 1:
                plain = self.unet(x, t, self.table[:1].expand(len(x), -1, -1)).sample
                guess = plain + guidance * (guess - plain)
            x = schedule.step(guess, t, x).prev_sample
        return x


def exact(images: np.ndarray, texts: list[str]) -> np.ndarray:
    """Whether each picture is exactly right: bool [n]."""
    return np.array([judge(image, parse(text)).exact for image, text in zip(images, texts, strict=True)])


def share(hits: np.ndarray) -> dict[str, float | int]:
    """A share with its 95 % half-width and the number of pictures."""
    p = float(hits.mean())
    return {
        "exact": round(p, 4),
        "half_width": round(1.96 * (p * (1 - p) / hits.size) ** 0.5, 4),
        "pictures": hits.size,
    }


def weights() -> dict[str, Any]:
    """Digests of the recipe and of the weights, parameter counts and bytes."""
    recipe = sorted([*HERE.glob("*.py"), *WORLD])
    files = sorted(path for folder in (BASE, CLIP) for path in folder.rglob("*") if path.is_file())
    tower = CLIPModel.from_pretrained(CLIP)
    counts = {
        "vae": AutoencoderKL.from_pretrained(BASE / "vae").num_parameters(),
        "unet": UNet2DConditionModel.from_pretrained(BASE / "unet").num_parameters(),
        "clip": tower.num_parameters(),
        "text_encoder": tower.text_model.num_parameters(),
    }
    return {
        "recipe_sha256": {path.relative_to(ROOT).as_posix(): digest(path) for path in recipe},
        "weights_sha256": {path.relative_to(HERE).as_posix(): digest(path) for path in files},
        "parameters": counts,
        "bytes": sum(path.stat().st_size for path in files),
    }


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def reconstruction() -> dict[str, Any]:
    """Share of exact reconstructions of 1,024 fresh renders."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED + 10)
    scenes = [random_scene(rng) for _ in range(1024)]
    vae = AutoencoderKL.from_pretrained(BASE / "vae").float().eval()
    images = autoencoder.decode(vae, autoencoder.encode(vae, pictures(scenes, rng)))
    return share(exact(images, [scene.prompt for scene in scenes]))


@torch.no_grad()
def hard_negatives() -> dict[str, float]:
    """Share of 2,000 fresh renders whose own caption beats the wrong one, by the kind of error."""
    rng = np.random.default_rng(SEED + 11)
    model, tokenizer = CLIPModel.from_pretrained(CLIP).float().eval(), CLIPTokenizer.from_pretrained(BASE / "tokenizer")
    scenes = [random_scene(rng) for _ in range(2000)]
    image = torch.cat([clip.embed_images(model, to_float(part)) for part in pictures(scenes, rng).split(100)])
    own = (image * clip.embed_texts(model, tokenizer, [scene.prompt for scene in scenes])).sum(-1)
    wrong: dict[str, list[tuple[int, str]]] = {}
    for row, scene in enumerate(scenes):
        for kind, said in mutations(scene, rng).items():
            wrong.setdefault(kind, []).append((row, said.prompt))
    found = {}
    for kind, pairs in sorted(wrong.items()):
        rows = torch.tensor([row for row, _ in pairs])
        rival = (image[rows] * clip.embed_texts(model, tokenizer, [text for _, text in pairs])).sum(-1)
        found[kind] = round((rival < own[rows]).float().mean().item(), 4)
    return found


def test_prompts(count: int) -> list[str]:
    """So many test prompts, in their fixed order, from the start again where they run out."""
    return list(itertools.islice(itertools.cycle(prompts("test")), count))


def sweep() -> dict[str, Any]:
    """Exact share on the test prompts at every guidance and NFE; the figure."""
    base, found = Base(BASE), []
    for calls in CALLS:
        for guidance in GUIDANCES:
            many = test_prompts(MAIN_PICTURES if calls == MAIN_CALLS else PICTURES)
            row = share(exact(base.draw(many, guidance, calls, SEED + 12), many))
            found.append({"guidance": guidance, "nfe": calls, **row})
            print(found[-1], flush=True)
    report.plot(found, FIGURE)
    best = max((row for row in found if row["nfe"] == MAIN_CALLS), key=lambda row: row["exact"])
    return {"prompts": "test", "sampler": "DDIM, trailing", "grid": found, f"best_at_nfe_{MAIN_CALLS}": best}


@torch.no_grad()
def search(texts_count: int = 96, each: int = 32) -> dict[str, Any]:
    """The CLIP as a judge of the base's own pictures: correlation within a prompt, and best-of-N (guidance 1)."""
    base, chosen = Base(BASE), prompts("test")[:texts_count]
    many = [text for text in chosen for _ in range(each)]
    images = base.draw(many, 1.0, MAIN_CALLS, SEED + 13)
    hits = exact(images, many).reshape(-1, each).astype(float)
    partial = np.array([judge(i, parse(t)).partial for i, t in zip(images, many, strict=True)]).reshape(-1, each)
    model, tokenizer = CLIPModel.from_pretrained(CLIP).float().eval(), CLIPTokenizer.from_pretrained(BASE / "tokenizer")
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    image = torch.cat([clip.embed_images(model, to_float(part)) for part in pixels.split(128)])
    text = clip.embed_texts(model, tokenizer, chosen).repeat_interleave(each, 0)
    scores = (image * text).sum(-1).view(-1, each).numpy()
    groups = {count: scores.reshape(-1, count) for count in (1, 2, 4, 8, 16, 32)}
    best = {
        str(count): round(float(np.take_along_axis(hits.reshape(-1, count), s.argmax(1)[:, None], 1).mean()), 4)
        for count, s in groups.items()
    }
    return {
        "prompts": texts_count,
        "pictures": len(many),
        "guidance": 1.0,
        "nfe": MAIN_CALLS,
        "within_prompt_correlation_with_exact": round(within(scores, hits), 4),
        "within_prompt_correlation_with_partial": round(within(scores, partial), 4),
        "best_of_n_by_clip": best,
        "best_of_8_by_oracle": round(float(hits.reshape(-1, 8).max(1).mean()), 4),
    }


def within(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of two arrays [prompts, pictures] after each prompt's mean is taken away."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def convergence(longer: Path, guidance: float) -> dict[str, Any]:
    """The base against one whose U-Net went on training, same prompts and noise, at the best guidance."""
    texts = test_prompts(MAIN_PICTURES)
    one, two = (exact(Base(folder).draw(texts, guidance, MAIN_CALLS, SEED + 12), texts) for folder in (BASE, longer))
    gain = two.astype(float) - one
    half = 1.96 * gain.std() / len(gain) ** 0.5
    return {
        "guidance": guidance,
        "base": share(one),
        "longer": share(two),
        "gain": round(float(gain.mean()), 4),
        "half_width": round(float(half), 4),
    }


def main() -> None:
    """Measure the named parts and write them into the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ["weights", "autoencoder", "clip", "sweep", "search", "convergence"]
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(names)}; all but the last if none is named")
    parser.add_argument("--longer", type=Path, help="folder of a base whose U-Net went on training")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "card.json"
    card = json.loads(path.read_text()) if path.exists() else {}

    def settled() -> dict[str, Any]:
        if arguments.longer is None:
            parser.error("convergence needs --longer FOLDER")
        return convergence(arguments.longer, card["sweep"][f"best_at_nfe_{MAIN_CALLS}"]["guidance"])

    work: list[Callable[[], dict[str, Any]]] = [weights, reconstruction, hard_negatives, sweep, search, settled]
    card["seed"], card["command"] = SEED, "python -m examples.shapes.make_base && python -m examples.shapes.measure"
    card["tokens"] = tokens.LENGTH
    card["licence"] = "Apache-2.0"
    card["making_seconds"] = json.loads((HERE / "seconds.json").read_text())
    for name in arguments.parts or names[:-1]:
        start = time.monotonic()
        card[name] = dict(zip(names, work, strict=True))[name]()
        card.setdefault("measuring_seconds", {})[name] = round(time.monotonic() - start)
        print(name, card[name] if name != "weights" else "", flush=True)
        path.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
        report.write_tables(card, HERE / "README.md")


if __name__ == "__main__":
    main()
