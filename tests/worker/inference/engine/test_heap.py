import ctypes
import os
import subprocess
import sys

import psutil
import pytest

from worker.inference.engine import heap
from worker.inference.engine.heap import EVERY, Heap

MIB = 2**20
PIECES = 512
CONVOLUTIONS = """
import torch
from worker.inference.engine import heap
heap.bound_primitives()
torch.set_num_threads(1)
weight = torch.zeros(64, 64, 3, 3)
for _ in range(2):
    for side in range(8, 48):
        torch.nn.functional.conv2d(torch.zeros(2, 64, side, side), weight)
"""


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def resident() -> int:
    """Bytes."""
    return int(psutil.Process().memory_info().rss)


def test_what_was_freed_between_what_was_not_is_given_back() -> None:
    clock = Clock()
    trimmed = Heap(clock)
    malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
    malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [malloc(MIB // 16) for _ in range(2 * PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, MIB // 16)
    for piece in pieces[::2]:
        free(piece)
    held, clock.now = resident(), EVERY
    assert trimmed.give_back()
    assert held - resident() > PIECES * MIB // 16 // 2
    for piece in pieces[1::2]:
        free(piece)


def test_is_asked_for_once_in_a_while() -> None:
    clock = Clock()
    trimmed, given = Heap(clock), 0
    for tenths in range(int(10 * 3.5 * EVERY)):
        clock.now = tenths / 10
        given += trimmed.give_back()
    assert given == 3


@pytest.mark.parametrize(("capacity", "all_kept"), [(None, True), ("20", False)])
def test_compiled_convolutions_are_kept_up_to_the_bound(capacity: str | None, all_kept: bool) -> None:
    """By oneDNN's own words: of 40 shapes, twice, the second time finds what the first one left."""
    environment = {**os.environ, "ONEDNN_VERBOSE": "all"}
    environment.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY", None)
    if capacity:
        environment["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = capacity
    said = subprocess.run(
        [sys.executable, "-c", CONVOLUTIONS], env=environment, capture_output=True, text=True, check=True
    ).stdout
    missed = said.count("create:cache_miss")
    assert missed > 0
    assert (missed < said.count("create:cache_hit")) == all_kept
    assert heap.PRIMITIVES > 3 * 40, "three primitives a shape"
