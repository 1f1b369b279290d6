"""Chance without state: every draw has its own generator, named by what it is for.

No generator lives longer than one draw, so there is nothing to store in a checkpoint, and neither a resume nor another
micro-batch size changes a number. Draws are made on the CPU: they are the same on every device.
"""

import hashlib

import torch


def key(seed: int, update: int, prompt: int, use: str, index: int = 0) -> int:
    """63 bits out of (seed, update, the prompt's place in the update, what for, which of several)."""
    name = f"{seed}/{update}/{prompt}/{use}/{index}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 1


def generator(seed: int, update: int, prompt: int, use: str, index: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(key(seed, update, prompt, use, index))
