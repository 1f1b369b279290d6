"""`strop images …`"""

import argparse
from pathlib import Path

from strop.cli.verb import Out, Verb
from strop.client import Client

FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""By the file's ending; anything else is a PNG."""


def generate(client: Client, given: argparse.Namespace, out: Out) -> None:
    images = client.images.generate(
        given.model, given.prompt, given.n, seed=given.seed, num_inference_steps=given.steps,
        guidance_scale=given.guidance, negative_prompt=given.negative, scheduler=given.scheduler,
        adapters=dict(given.adapter), batch_size=given.batch_size, output_compression=given.quality,
        output_format=FORMATS.get(given.output.suffix.lower()),
    )  # fmt: skip
    target: Path = given.output
    paths = [target] if len(images) == 1 else [target.with_stem(f"{target.stem}-{i + 1}") for i in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        if image.withheld:
            out.record({"path": None, "seed": image.seed, "withheld": image.withheld}, f"withheld: {image.withheld}")
            continue
        image.save(path)
        shown = {"path": str(path), "seed": image.seed, "nfe": image.nfe, "model": image.model}
        warnings = [f"  {each}" for each in image.warnings]
        out.record(shown, f"{path}  {image.model}  seed {image.seed}  {image.nfe:g} NFE", *warnings)


def generate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a base model, an adapter, or adapter@version")
    parser.add_argument("prompt", metavar="PROMPT")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, default=Path("out.png"), help="out.png; also .jpg, .webp"
    )
    parser.add_argument("-n", type=int, default=1, metavar="N", help="how many (1); out-1.png, out-2.png, …")
    parser.add_argument("--seed", type=int, help="the same seed draws the same picture")
    parser.add_argument("--steps", type=int, help="sampler steps (default: the model's)")
    parser.add_argument("--guidance", type=float, help="guidance scale (default: the model's)")
    parser.add_argument("--negative", metavar="PROMPT", help="what to draw away from")
    parser.add_argument(
        "--adapter", metavar="NAME[=WEIGHT]", type=_weighted, action="append", default=[], help="wear it too"
    )
    parser.add_argument("--scheduler", metavar="NAME", help="ddim, euler, dpmpp-2m, flow-euler (default: the model's)")
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="1, 2, 4, 8: pin the size of denoiser calls, and the bits"
    )
    parser.add_argument("--quality", type=int, metavar="PERCENT", help="of .jpg and .webp (100)")


def _weighted(text: str) -> tuple[str, float]:
    name, equals, weight = text.partition("=")
    return name, float(weight) if equals else 1.0


VERBS = {"generate": Verb("draw pictures", generate, generate_arguments)}
