"""Draws pictures of a split at one setting and asks every judge: the oracle, the CLIP, the preference model, diversity."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.compare.eyes import eyes
from benchmarks.compare.preference import trained as preference
from benchmarks.compare.world import Setting, pictures_of
from worker.evaluation.diversity import diversity
from worker.evaluation.draw import draw
from worker.evaluation.score import judge_scenes
from worker.models.family import Family
from worker.shapes.splits import Split


@dataclass(frozen=True, slots=True)
class Verdicts:
    """One entry a picture: exact is 0 or 1, colour, shape and relation 0..1; embeddings [B, 64]."""

    exact: np.ndarray
    colour: np.ndarray
    shape: np.ndarray
    relation: np.ndarray
    clip: np.ndarray
    preference: np.ndarray
    embeddings: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Verdicts:
        return Verdicts(*(getattr(self, name)[rows] for name in self.__slots__))


def verdicts(pictures: np.ndarray, prompts: Sequence[str]) -> Verdicts:
    """pictures uint8 [B, 64, 64, 3]."""
    seen, scene = eyes().see(pictures), judge_scenes(pictures, prompts)
    return Verdicts(
        exact=scene.exact.astype(np.uint8),
        colour=scene.colour,
        shape=scene.shape,
        relation=scene.relation,
        clip=eyes().scores(seen, prompts).numpy(),
        preference=preference().score(seen, prompts).numpy(),
        embeddings=seen.embedding.numpy(),
    )


def told(found: Verdicts, prompts: Sequence[str]) -> dict[str, Any]:
    """As JSON: the figures, each picture's exact as a bit, each picture's CLIP score in thousandths."""
    apart = diversity(found.embeddings, prompts)
    return {
        "pictures": len(prompts),
        "exact": round(float(found.exact.mean()), 5),
        "colour": round(float(found.colour.mean()), 5),
        "shape": round(float(found.shape.mean()), 5),
        "relation": round(float(found.relation.mean()), 5),
        "score_clip": round(float(found.clip.mean()), 5),
        "score_preference": round(float(found.preference.mean()), 5),
        "diversity": None if apart is None else round(apart, 5),
        "bits": to_bits(found.exact),
        "clip": [round(1000 * float(score)) for score in found.clip],
    }


def evaluated(
    family: Family, split: Split, count: int, setting: Setting, *, prompt_count: int | None = None
) -> dict[str, Any]:
    """`told` of `count` pictures of a split with what the family wears, their counted NFE, and the core seconds that it took."""
    texts, seeds = pictures_of(split, count, prompt_count)
    started = time.process_time()
    pictures, nfe = drawn(family, texts, seeds, setting)
    found = told(verdicts(pictures, texts), texts)
    return {"setting": list(setting), "nfe": nfe, **found, "seconds": round(time.process_time() - started, 1)}


def exact_bits(family: Family, split: Split, count: int, setting: Setting, *, skip: int = 0) -> str:
    """The oracle's word alone, for curves and choices."""
    texts, seeds = pictures_of(split, count, skip=skip)
    pictures, _ = drawn(family, texts, seeds, setting)
    return to_bits(judge_scenes(pictures, texts).exact)


def drawn(family: Family, texts: Sequence[str], seeds: Sequence[int], setting: Setting) -> tuple[np.ndarray, int]:
    """(pictures, NFE of one)"""
    with family.adapter_folded():
        drawing = draw(family, texts, seeds, guidance=setting.guidance, steps=setting.steps)
    return drawing.pictures, drawing.nfe


def to_bits(exact: np.ndarray) -> str:
    """0s and 1s, hexadecimal, after their count: "5:f8" is 11111."""
    return f"{len(exact)}:{np.packbits(np.asarray(exact, dtype=np.uint8)).tobytes().hex()}"


def from_bits(bits: str) -> np.ndarray:
    """uint8 [B] of 0 and 1."""
    count, packed = bits.split(":")
    return np.unpackbits(np.frombuffer(bytes.fromhex(packed), dtype=np.uint8))[: int(count)]
