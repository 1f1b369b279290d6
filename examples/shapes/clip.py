"""Step 2 of the recipe: a tiny CLIP, the project's learned reward, whose text tower is the pipeline's text encoder.

A batch holds 16 scenes and three one-attribute mutations of each (64 pictures). Loss: CLIP's symmetric contrast over
the batch, and a softmax of each caption against hard negatives of its own picture (relation turned, axis changed,
attributes swapped, one colour, one shape, one thing missing or added).
The vision tower's position embeddings start as slow sines of row and column: with the default start the relation is
learned very late.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTextModel, CLIPTokenizer

from examples.shapes import tokens
from examples.shapes.data import mutations, pictures, random_scene, to_float
from examples.shapes.progress import Progress, cosine
from worker.shapes.scene import Scene

STEPS, SCENES, MUTANTS, NEGATIVES, RATE = 1700, 16, 3, 5, 2e-3
WIDTH, PATCH, SIDE = 96, 8, 64
SHORT = 12
"""Tokens of the longest prompt, with start and end, rounded up: padding is left out while training."""


def build(tokenizer: CLIPTokenizer) -> CLIPModel:
    """A fresh CLIP, 0.6 M parameters."""
    common = {"hidden_size": WIDTH, "num_attention_heads": 4, "projection_dim": 64}
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": tokens.LENGTH, "num_hidden_layers": 2}
    vision = {"image_size": SIDE, "patch_size": PATCH, "num_hidden_layers": 4}
    model = CLIPModel(
        CLIPConfig(
            text_config={**common, **ends, **text, "intermediate_size": 2 * WIDTH},
            vision_config={**common, **vision, "intermediate_size": 2 * WIDTH},
            projection_dim=64,
        )
    )
    place = model.vision_model.embeddings.position_embedding.weight
    with torch.no_grad():
        place[1:] = 0.5 * _sines(SIDE // PATCH, WIDTH)
        model.text_model.embeddings.token_embedding.weight.normal_(0, 0.3)
        model.text_model.embeddings.position_embedding.weight.normal_(0, 0.3)
    return model


def train(seed: int, tokenizer: CLIPTokenizer, steps: int = STEPS) -> CLIPModel:
    """Train from a seed."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    model = build(tokenizer).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05, fused=True)
    progress = Progress("clip", steps, every=50)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * cosine(step, steps)
        scenes = batch_of_scenes(rng)
        wrong = [_negatives(scene, rng) for scene in scenes]
        captions = [scene.prompt for scene in scenes] + [said.prompt for row in wrong for said in row]
        text = embed_texts(model, tokenizer, captions)
        image = embed_images(model, to_float(pictures(scenes, rng)))
        scale = model.logit_scale.exp()
        count = len(scenes)
        own, other = text[:count], text[count:].view(count, NEGATIVES, -1)
        batch = scale * image @ own.T
        batch = batch.masked_fill(_same(scenes), -1e4)
        truth = torch.arange(count)
        contrast = (F.cross_entropy(batch, truth) + F.cross_entropy(batch.T, truth)) / 2
        rivals = scale * torch.einsum("nd,nkd->nk", image, other)
        hard_logits = torch.cat([batch.diagonal()[:, None], rivals], 1)
        hard = F.cross_entropy(hard_logits, torch.zeros(count, dtype=torch.long))
        optimiser.zero_grad()
        (contrast + hard).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=4.6)
        turned = (rivals[:, 0] < batch.diagonal()).float().mean()
        progress.tell(
            step, contrast=contrast, hard=hard, first=turned, right=(hard_logits.argmax(1) == 0).float().mean()
        )
    return model.eval()


def batch_of_scenes(rng: np.random.Generator) -> list[Scene]:
    """16 random scenes, each followed by three mutations of it."""
    found: list[Scene] = []
    for _ in range(SCENES):
        scene = random_scene(rng)
        options = list(mutations(scene, rng).values())
        found += [scene, *(options[i] for i in rng.permutation(len(options))[:MUTANTS])]
    return found


def embed_texts(model: CLIPModel, tokenizer: CLIPTokenizer, prompts: list[str]) -> torch.Tensor:
    """Unit vectors [n, 64] of prompts of the small world."""
    ids = tokenizer(prompts, padding="max_length", max_length=SHORT, truncation=True, return_tensors="pt").input_ids
    pooled = model.text_model(input_ids=ids).pooler_output
    return F.normalize(model.text_projection(pooled), dim=-1)


def embed_images(model: CLIPModel, images: torch.Tensor) -> torch.Tensor:
    """Unit vectors [n, 64] of images [n, 3, 64, 64] in -1..1."""
    pooled = model.vision_model(pixel_values=images).pooler_output
    return F.normalize(model.visual_projection(pooled), dim=-1)


def save(model: CLIPModel, clip: Path, base: Path) -> None:
    """Write the CLIP with its processor, and the text encoder and tokenizer of the pipeline, all in fp16."""
    tokenizer = tokens.build(base / "tokenizer")
    half = [0.5, 0.5, 0.5]
    images = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, image_mean=half, image_std=half
    )
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(clip)
    model.half().save_pretrained(clip)
    # Read back from the CLIP's folder, so that the parts' names in the file are the usual ones.
    CLIPTextModel.from_pretrained(clip, dtype=torch.float16).save_pretrained(base / "text_encoder")
    for folder in (clip, base / "text_encoder"):
        _opened_as_fp32(folder / "config.json")


def _opened_as_fp32(path: Path) -> None:
    """Stored in fp16, opened in fp32 where nothing else is asked: diffusers opens the other parts so too."""
    config = json.loads(path.read_text())
    for part in (config, config.get("text_config", {}), config.get("vision_config", {})):
        if "dtype" in part:
            part["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2) + "\n")


def _negatives(scene: Scene, rng: np.random.Generator) -> list[Scene]:
    found = mutations(scene, rng)
    first = found.pop("relation", None)
    rest = list(found.values())
    picked = [rest[i % len(rest)] for i in rng.permutation(max(NEGATIVES, len(rest)))]
    return [first, *picked][:NEGATIVES] if first is not None else picked[:NEGATIVES]


def _same(scenes: list[Scene]) -> torch.Tensor:
    """Where two different rows of a batch have the same meaning: bool [n, n]."""
    keys = [min(scene.prompt, scene.inverse.prompt) for scene in scenes]
    same = torch.tensor([[a == b for b in keys] for a in keys])
    return same & ~torch.eye(len(keys), dtype=torch.bool)


def _sines(side: int, width: int) -> torch.Tensor:
    """Slow sines and cosines of column and row: [side * side, width]."""
    place = (torch.arange(side) + 0.5) / side
    speed = torch.pi * torch.arange(1, width // 4 + 1).div(2).clamp(max=side / 2)
    waves = torch.cat([(place[:, None] * speed).sin(), (place[:, None] * speed).cos()], 1)
    column = waves[None].expand(side, side, -1)
    row = waves[:, None].expand(side, side, -1)
    return torch.cat([column, row], -1).reshape(side * side, width)
