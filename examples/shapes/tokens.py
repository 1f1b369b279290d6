"""A byte-pair vocabulary in CLIP's format: every word of the small world is one token, other text falls to pieces."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from worker.shapes.scene import COLOURS, RELATIONS, SHAPES

LENGTH = 24
"""Tokens a prompt is padded or cut to."""
START, END = "<|startoftext|>", "<|endoftext|>"


def words() -> list[str]:
    """Every word that a prompt can hold."""
    return sorted({"a", *COLOURS, *SHAPES, *" ".join(RELATIONS).split()})


def merges() -> list[tuple[str, str]]:
    """Byte-pair merges in rank order, the most frequent pair first, until each word is whole."""
    split = [[*word[:-1], word[-1] + "</w>"] for word in words()]
    found = []
    while any(len(parts) > 1 for parts in split):
        pairs = Counter(pair for parts in split for pair in itertools.pairwise(parts))
        best = max(sorted(pairs), key=pairs.__getitem__)
        found.append(best)
        split = [_merged(parts, best) for parts in split]
    return found


def build(folder: Path) -> CLIPTokenizer:
    """Write the vocabulary into `folder` and load it as a CLIPTokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(ByteLevel.alphabet())
    ranks = merges()
    pieces = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in ranks), START, END]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in ranks))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "pad_token": END, "unk_token": END}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return CLIPTokenizer.from_pretrained(folder)


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    done: list[str] = []
    for part in parts:
        if done and (done[-1], part) == pair:
            done[-1] += part
        else:
            done.append(part)
    return done
