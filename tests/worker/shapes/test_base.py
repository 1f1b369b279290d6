"""The small world's base and CLIP: what the card says is what lies there, and plain diffusers draws with it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
SHAPES = ROOT / "examples" / "shapes"
CARD = json.loads((SHAPES / "card.json").read_text())["weights"]


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", sorted(CARD["recipe_sha256"]))
def test_the_recipe_is_the_one_on_the_card(name):
    assert digest(ROOT / name) == CARD["recipe_sha256"][name]


def test_the_weights_are_the_ones_on_the_card():
    found = {p.relative_to(SHAPES).as_posix() for part in ("base", "clip") for p in (SHAPES / part).rglob("*")}
    files = {name for name in found if (SHAPES / name).is_file()}
    assert {name: digest(SHAPES / name) for name in files} == CARD["weights_sha256"]


def test_everything_is_at_most_15_mib():
    assert sum(path.stat().st_size for path in SHAPES.rglob("*") if path.is_file()) <= 15 * 2**20


def test_plain_diffusers_draws_without_a_warning():
    import torch
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(SHAPES / "base", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    assert pipeline.scheduler.config.timestep_spacing == "trailing"
    noise = torch.Generator().manual_seed(0)
    drawn = pipeline(["a red circle left of a blue square"] * 2, num_inference_steps=4, generator=noise)
    assert [image.size for image in drawn.images] == [(64, 64)] * 2
    assert np.asarray(drawn.images[0]).std() > 5


def test_every_word_is_one_token_and_other_text_still_tokenises():
    from transformers import CLIPTokenizer

    from worker.shapes.scene import every_scene

    tokenizer = CLIPTokenizer.from_pretrained(SHAPES / "base" / "tokenizer", local_files_only=True)
    for scene in every_scene()[::7]:
        assert len(tokenizer(scene.prompt).input_ids) == len(scene.prompt.split()) + 2
    assert tokenizer.unk_token_id not in tokenizer("zebras, 3 mauve ones").input_ids[:-1]


def test_the_clip_prefers_the_true_caption():
    import torch
    from transformers import CLIPModel, CLIPProcessor

    from worker.shapes.render import render
    from worker.shapes.scene import parse

    model = CLIPModel.from_pretrained(SHAPES / "clip", local_files_only=True)
    processor = CLIPProcessor.from_pretrained(SHAPES / "clip", local_files_only=True)
    captions = [
        "a red circle left of a blue square",
        "a red circle right of a blue square",
        "a green circle left of a blue square",
        "a red cross left of a blue square",
    ]
    rng = np.random.default_rng(0)
    images = [render(parse(captions[0]), rng) for _ in range(50)]
    with torch.no_grad():
        scores = model(**processor(text=captions, images=images, return_tensors="pt", padding=True)).logits_per_image
    assert (scores.argmax(1) == 0).float().mean() > 0.8
