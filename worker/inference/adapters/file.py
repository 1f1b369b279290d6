"""An adapter's file to an adapter in host memory. Everything is checked before a weight is used, in this order: the digest,
the header (header.py), keys, pairs and shapes, and then that every number is finite.

Keys read: `unet.LAYER.lora_A.weight` and `.lora_B.weight` (ours, and diffusers' `save_lora_weights`; `transformer.` for
SD3 and FLUX), and diffusers' older `.lora.down.weight` and `.lora.up.weight`. LAYER is the denoiser's own name. A scalar
`LAYER.alpha`, or the `lora_adapter_metadata` that diffusers writes, gives a scale of alpha / rank, which is multiplied
into B: what comes out has alpha = rank. Refused by name: kohya's keys, text encoders, DoRA, biases.

No mmap: the digest must be that of the very bytes that are used later, and a mapped file can change under its reader. The
tensors are views of the one buffer that was read and hashed; only a B that has a scale is copied.
Whether the layers are a base model's is known where one is loaded: in the slots.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from service.domain.errors import FieldError
from worker.inference.adapters.header import Entry, Header, Malformed, read_header
from worker.inference.engine.requests import AdapterCorrupt, AdapterRefused, LoraFile

MAX_ADAPTER_BYTES = 2**30
MAX_ALPHA = 1e6
CONFIG = "lora_adapter_metadata"
_LAYER = re.compile(r"(?:unet|transformer)\.(?P<layer>\w+(?:\.\w+)*)", re.ASCII)
_ENDS = {
    "lora_A.weight": "a", "lora.down.weight": "a",
    "lora_B.weight": "b", "lora.up.weight": "b",
    "alpha": "alpha",
}  # fmt: skip

Parts = dict[str, str]
"""Of one layer: a, b, maybe alpha → the tensor's name in the file."""


def read(reference: str, sha256: str, data: bytes | bytearray) -> LoraFile:
    """The adapter in `data`, a whole file, on whose bytes the tensors lie. Raises AdapterCorrupt and AdapterRefused, which
    name it."""
    check_size(reference, len(data))
    try:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Malformed("its bytes do not have the SHA-256 that was stored with it")
        header = read_header(memoryview(data))
        parts = _by_layer(header.entries)
        alpha = _alpha(header.metadata)
        tensors = _tensors(data, header)
        layers = {name: _pair(name, of, tensors, alpha) for name, of in parts.items()}
    except Malformed as error:
        raise corrupt(reference, str(error)) from error
    return LoraFile(reference, sha256, max(len(a) for a, _ in layers.values()), layers, len(data))


def check_size(reference: str, size: int) -> None:
    """Raises AdapterRefused for a file of more bytes than are read."""
    if size > MAX_ADAPTER_BYTES:
        mib, most = -(-size // 2**20), MAX_ADAPTER_BYTES // 2**20
        what = f"the file of the adapter {reference} has {mib} MiB, and this endpoint reads {most} MiB at most"
        raise AdapterRefused(
            errors=(
                FieldError("adapters", what, "use one of a smaller rank, or of fewer targets, or in half precision"),
            )
        )


def corrupt(reference: str, what: str) -> AdapterCorrupt:
    return AdapterCorrupt(
        f"The file of the adapter {reference} was not used: {what}. Use another version, or train it again."
    )


def _by_layer(entries: Mapping[str, Entry]) -> dict[str, Parts]:
    """Every key sorted to its layer, and every layer's shapes checked."""
    layers: dict[str, Parts] = {}
    for key in entries:
        layer, part = _split(key)
        of = layers.setdefault(layer, {})
        if part in of:
            raise Malformed(f"the layer {layer} has {ascii(key)[:96]} beside another one of the same meaning")
        of[part] = key
    for layer, of in layers.items():
        if not {"a", "b"} <= of.keys():
            raise Malformed(f"the layer {layer} lacks its {'A' if 'a' not in of else 'B'}")
        a, b = entries[of["a"]].shape, entries[of["b"]].shape
        kinds = (len(a), len(b))
        if kinds not in ((2, 2), (4, 4)) or a[0] != b[1] or math.prod(b[2:]) != 1:
            raise Malformed(f"the layer {layer} has A {list(a)} and B {list(b)}, which are no pair")
        if "alpha" in of and math.prod(entries[of["alpha"]].shape) != 1:
            raise Malformed(f"the layer {layer} has an alpha of shape {list(entries[of['alpha']].shape)}")
    return layers


def _split(key: str) -> tuple[str, str]:
    for end, part in _ENDS.items():
        if key.endswith(f".{end}") and (match := _LAYER.fullmatch(key.removesuffix(f".{end}"))):
            return match["layer"], part
    hint = "; kohya's keys are not read here" if key.startswith(("lora_unet_", "lora_te", "lora_transformer_")) else ""
    raise Malformed(f"its key {ascii(key)[:96]} is none of a LoRA's on a U-Net or a transformer{hint}")


def _alpha(metadata: Mapping[str, str]) -> float | None:
    """diffusers' alpha of all layers, where the file tells it. Raises Malformed for what is no plain LoRA."""
    if CONFIG not in metadata:
        return None
    try:
        said = {name.rpartition(".")[2]: value for name, value in json.loads(metadata[CONFIG]).items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise Malformed(f"its {CONFIG} are not a JSON object") from error
    odd = [name for name in ("use_dora", "use_rslora", "alpha_pattern", "lora_bias") if said.get(name)]
    if odd:
        raise Malformed(f"it was made with {', '.join(odd)}, which this endpoint does not serve")
    alpha = said.get("lora_alpha")
    if alpha is None:
        return None
    if type(alpha) not in (int, float) or not abs(alpha) <= MAX_ALPHA:
        raise Malformed(f"its lora_alpha is {ascii(alpha)[:96]}")
    return float(alpha)


def _tensors(data: bytes | bytearray, header: Header) -> dict[str, Tensor]:
    """Views of `data`, all finite. Bytes, which are read-only, are copied once; so is each tensor of a file whose data lie
    askew for their dtypes."""
    askew = header.data % 8 or any(entry.begin % entry.dtype.itemsize for entry in header.entries.values())
    whole = data if isinstance(data, bytearray) else bytearray(data)
    tensors = {}
    for name, entry in header.entries.items():
        begin, count = header.data + entry.begin, math.prod(entry.shape)
        raw, at = (whole[begin : header.data + entry.end], 0) if askew else (whole, begin)
        tensor = torch.frombuffer(raw, dtype=entry.dtype, count=count, offset=at).view(entry.shape)
        if not _finite(tensor):
            raise Malformed(f"{ascii(name)[:96]} holds numbers that are not finite")
        tensors[name] = tensor
    return tensors


def _finite(tensor: Tensor) -> bool:
    """One pass: NaN and infinities reach the sum. Where large numbers overflow it, each is looked at."""
    return math.isfinite(tensor.sum(dtype=torch.float32).item()) or bool(torch.isfinite(tensor).all())


def _pair(layer: str, of: Parts, tensors: Mapping[str, Tensor], alpha: float | None) -> tuple[Tensor, Tensor]:
    """(A, B), with alpha / rank in B."""
    a, b = tensors[of["a"]], tensors[of["b"]]
    if "alpha" in of:
        if alpha is not None:
            raise Malformed(f"the layer {layer} has an alpha, and its {CONFIG} has one too")
        alpha = float(tensors[of["alpha"]])
    if alpha is None or alpha == len(a):
        return a, b
    scaled = (b.float() * (alpha / len(a))).to(b.dtype)
    if not _finite(scaled):
        raise Malformed(f"the layer {layer} overflows with alpha {alpha:g} at rank {len(a)}")
    return a, scaled
