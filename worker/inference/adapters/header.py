"""The header of a safetensors file, read as what it may be: somebody's attack. Nothing here touches a byte of weights.

The format (safetensors 0.x, README "Format"): 8 bytes, little-endian: N; N bytes of JSON: name → dtype, shape,
data_offsets, and maybe `__metadata__`, strings to strings; then the data, which the tensors cover without a hole and
without an overlap. Beyond the format we refuse what no adapter has: other dtypes than floats, more than four dimensions,
dimensions of 0, headers above MAX_HEADER_BYTES.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

import torch

MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS = 20_000
MAX_DIMENSIONS = 4
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Malformed(ValueError):
    """What is wrong with a file, as a clause."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies: bytes `begin` up to `end` of the data."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """`data`: where the data begins in the file."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    data: int


def read_header(file: memoryview) -> Header:
    """`file`: all of it. Raises Malformed."""
    if len(file) < 8:
        raise Malformed(f"it has {len(file)} bytes, too few for a safetensors file")
    length = int.from_bytes(file[:8], "little")
    if not 2 <= length <= min(len(file) - 8, MAX_HEADER_BYTES):
        raise Malformed(f"it claims a header of {length} bytes, and has {len(file)} in all")
    said = _json(bytes(file[8 : 8 + length]))
    metadata = said.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise Malformed("its metadata are not strings")
    if not 1 <= len(said) <= MAX_TENSORS:
        raise Malformed(f"it has {len(said)} tensors, and an adapter has 1 to {MAX_TENSORS}")
    entries = {name: _entry(name, value) for name, value in said.items()}
    _check_cover(entries, len(file) - 8 - length)
    return Header(entries, metadata, 8 + length)


def _json(raw: bytes) -> dict[str, Any]:
    try:
        said = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of thousands of digits
        raise Malformed(f"its header is not JSON ({type(error).__name__})") from error
    if not isinstance(said, dict):
        raise Malformed("its header is not a JSON object")
    return said


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for name, each in pairs:
        if name in value:
            raise Malformed(f"its header has {_short(name)} twice")
        value[name] = each
    return value


def _no_number(word: str) -> Never:
    raise Malformed(f"its header has {word} for a number")


def _entry(name: str, value: Any) -> Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"{_short(name)} is not told by dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise Malformed(f"{_short(name)} is of dtype {_short(dtype)}, not one of {', '.join(DTYPES)}")
    if not _whole(shape, least=1) or len(shape) > MAX_DIMENSIONS:
        raise Malformed(f"{_short(name)} has the shape {_short(shape)}")
    if not _whole(offsets, least=0) or len(offsets) != 2:
        raise Malformed(f"{_short(name)} has the offsets {_short(offsets)}")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPES[dtype].itemsize:
        raise Malformed(f"{_short(name)} of shape {_short(shape)} in {dtype} does not fill its {end - begin} bytes")
    return Entry(DTYPES[dtype], tuple(shape), begin, end)


def _whole(numbers: Any, *, least: int) -> bool:
    return isinstance(numbers, list) and all(type(each) is int and each >= least for each in numbers)


def _check_cover(entries: Mapping[str, Entry], size: int) -> None:
    at = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != at:
            raise Malformed(
                f"{_short(name)} begins at byte {entry.begin} of the data, and what is before it ends at {at}"
            )
        at = entry.end
    if at != size:
        raise Malformed(f"its tensors have {at} bytes, and {size} follow the header")


def _short(value: Any) -> str:
    """Hostile words are quoted, escaped, and cut."""
    return ascii(value)[:96]
