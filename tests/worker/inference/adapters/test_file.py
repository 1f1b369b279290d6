"""An adapter's file: what a job or diffusers wrote is read whole, and whatever else comes is refused by name."""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.utils import get_peft_model_state_dict
from torch import Tensor

from tests.compared import Compared
from tests.worker.inference.random_adapters import ALL, random_file
from worker.inference.adapters import header
from worker.inference.adapters.file import CONFIG, read
from worker.inference.adapters.header import MAX_HEADER_BYTES, Malformed, read_header
from worker.inference.engine.requests import AdapterCorrupt, LoraFile
from worker.models.base import TRAINED
from worker.models.sd import StableDiffusion

LAYER = "down_blocks.0.attentions.0.to_q"
A, B = f"unet.{LAYER}.lora_A.weight", f"unet.{LAYER}.lora_B.weight"
CONV = "unet.mid_block.resnets.0.conv1"


def loaded(data: bytes | bytearray, reference: str = "red-things@3") -> LoraFile:
    """With the digest that its bytes have."""
    return read(reference, hashlib.sha256(data).hexdigest(), data)


def pair(dtype: torch.dtype = torch.float32, rank: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        A: (rank, 6),
        B: (8, rank),
        f"{CONV}.lora_A.weight": (rank, 3, 3, 3),
        f"{CONV}.lora_B.weight": (4, rank, 1, 1),
    }
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def file_of(tensors: Mapping[str, Tensor], **metadata: str) -> bytes:
    return safetensors.torch.save(dict(tensors), metadata={"format": "pt", **metadata})


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of these parts, whatever they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


GOOD = file_of(pair())
HEADER: dict[str, Any] = json.loads(GOOD[8 : 8 + struct.unpack("<Q", GOOD[:8])[0]])
DATA = GOOD[8 + struct.unpack("<Q", GOOD[:8])[0] :]


def changed(name: str, **change: Any) -> bytes:
    """GOOD with another entry for one tensor, and the same data."""
    return raw({**HEADER, name: {**HEADER[name], **change}}, DATA)


class TestReading:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_gives_the_very_tensors_in_their_dtype(self, dtype: torch.dtype) -> None:
        tensors = pair(dtype)
        file = loaded(file_of(tensors))
        assert file.layers.keys() == {LAYER, CONV.removeprefix("unet.")}
        a, b = file.layers[LAYER]
        assert a.dtype is b.dtype is dtype
        assert torch.equal(a, tensors[A])
        assert torch.equal(b, tensors[B])
        assert (file.rank, file.reference, file.bytes) == (2, "red-things@3", len(file_of(tensors)))

    def test_copies_nothing(self) -> None:
        data = bytearray(GOOD)
        a, _ = loaded(data).layers[LAYER]
        where = data.index(pair()[A].numpy().tobytes())
        data[where : where + 4] = struct.pack("<f", 7.0)
        assert a[0, 0] == 7

    def test_what_a_job_exports_is_what_it_trained(self, family: StableDiffusion) -> None:
        data = random_file(family, 3, targets=ALL)
        expected = family.read_adapter(data)
        found = {f"{name}.lora_{'AB'[place]}.weight": each for name, of in loaded(data).layers.items() for place, each in enumerate(of)}  # fmt: skip
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], each) for name, each in expected.items())
        assert found.keys() <= {
            f"{name}.lora_{end}.weight" for name, _ in family.denoiser.named_modules() for end in "AB"
        }

    @pytest.mark.parametrize("convert", [dict, convert_state_dict_to_diffusers])
    def test_what_diffusers_saves_is_the_same(
        self, family: StableDiffusion, tmp_path: Path, convert: Callable[[Any], Any]
    ) -> None:
        ours = loaded(random_file(family, 3, targets=("attention",)))
        with torch.no_grad():
            for name, each in family.denoiser.named_parameters():
                if "lora_" in name:
                    each.copy_(ours.layers[name.split(".lora_")[0]]["lora_B" in name])
        state = convert(get_peft_model_state_dict(family.denoiser, adapter_name=TRAINED))
        StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=state)
        theirs = loaded((tmp_path / "pytorch_lora_weights.safetensors").read_bytes())
        assert theirs.layers.keys() == ours.layers.keys()
        for name, of in ours.layers.items():
            assert all(torch.equal(one, other) for one, other in zip(of, theirs.layers[name], strict=True))

    def test_takes_numbers_whose_sum_overflows(self) -> None:
        large = torch.full((8, 2), 3e38)
        assert torch.equal(loaded(file_of({**pair(), B: large})).layers[LAYER][1], large)

    def test_tensors_that_lie_askew_are_read_alike(self) -> None:
        spaces = json.dumps(HEADER).encode() + b" " * 3
        assert len(spaces) % 8
        file = loaded(raw(spaces, DATA))
        assert torch.equal(file.layers[LAYER][0], pair()[A])


class TestAlpha:
    @pytest.mark.parametrize("alpha", [1.0, 2.0, 6.0])
    def test_of_a_layer_is_a_scale_on_b(self, alpha: float) -> None:
        file = loaded(file_of({**pair(), f"unet.{LAYER}.alpha": torch.tensor(alpha)}))
        assert torch.allclose(file.layers[LAYER][1], pair()[B] * alpha / 2)
        assert torch.equal(file.layers[CONV.removeprefix("unet.")][1], pair()[f"{CONV}.lora_B.weight"])

    def test_of_diffusers_metadata_is_one_on_every_b(self) -> None:
        config = {"unet.r": 2, "unet.lora_alpha": 8, "unet.use_dora": False, "unet.alpha_pattern": {}}
        file = loaded(file_of(pair(), **{CONFIG: json.dumps(config)}))
        assert torch.allclose(file.layers[LAYER][1], pair()[B] * 4)

    @pytest.mark.parametrize(
        "config",
        [
            "[]", "{", "7", json.dumps({"unet.use_dora": True}), json.dumps({"unet.use_rslora": True}),
            json.dumps({"unet.alpha_pattern": {"x": 1}}), json.dumps({"unet.lora_alpha": "8"}),
            json.dumps({"unet.lora_alpha": 10**400}), '{"unet.lora_alpha": NaN}', "[" * 100_000,
        ],
    )  # fmt: skip
    def test_that_is_none_is_refused(self, config: str) -> None:
        with pytest.raises(AdapterCorrupt):
            loaded(file_of(pair(), **{CONFIG: config}))

    def test_that_overflows_the_dtype_is_refused(self) -> None:
        tensors = {name: each * 1e4 for name, each in pair(torch.float16).items()}
        with pytest.raises(AdapterCorrupt, match="overflows"):
            loaded(file_of({**tensors, f"unet.{LAYER}.alpha": torch.tensor(60000.0)}))


def without(name: str) -> bytes:
    return file_of({key: each for key, each in pair().items() if key != name})


def with_one(name: str, tensor: Tensor) -> bytes:
    return file_of({**pair(), name: tensor})


SMALL = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "0 bytes"),
    "seven bytes": (b"\0" * 7, "7 bytes"),
    "no safetensors": (b"not a safetensors file at all", "claims a header"),
    "a huge header": (raw(HEADER, DATA, 2**63), "claims a header of 9223372036854775808"),
    "a header beyond the file": (raw(HEADER, b"", len(json.dumps(HEADER)) + 1), "claims a header"),
    "a header above the bound": (raw(b" " * (MAX_HEADER_BYTES + 1)), "claims a header"),
    "no header": (raw(b""), "claims a header of 0"),
    "a header that is no JSON": (raw(b"{]", DATA), "not JSON"),
    "a header that is not UTF-8": (raw(b'{"\xff": 1}', DATA), "not JSON"),
    "a header of brackets": (raw(b"[" * 200_000, DATA), "not JSON"),
    "a header of one number": (raw(b"9" * 6_000, DATA), "not JSON"),
    "a list for a header": (raw([1], DATA), "not a JSON object"),
    "no tensors": (raw({"__metadata__": {"format": "pt"}}), "0 tensors"),
    "a tensor twice": (raw(b'{"a": 1, "a": 2}', DATA), "'a' twice"),
    "an entry's field twice": (raw(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "'dtype' twice"),
    "metadata of numbers": (raw({**HEADER, "__metadata__": {"format": 1}}, DATA), "not strings"),
    "metadata as a list": (raw({**HEADER, "__metadata__": ["pt"]}, DATA), "not strings"),
    "an entry that is none": (raw({**HEADER, A: 7}, DATA), "not told by dtype"),
    "an entry with more": (changed(A, more=1), "not told by dtype"),
    "an unknown dtype": (changed(A, dtype="F128"), "dtype 'F128'"),
    "a dtype of whole numbers": (changed(A, dtype="I32"), "dtype 'I32'"),
    "a dtype as a list": (changed(A, dtype=["F32"]), "is of dtype"),
    "a negative size": (changed(A, shape=[-2, -6]), "has the shape"),
    "a size of 0": (changed(A, shape=[0, 6], data_offsets=[0, 0]), "has the shape"),
    "a size of truth": (changed(A, shape=[True, 12]), "has the shape"),
    "half a size": (changed(A, shape=[2.0, 6]), "has the shape"),
    "a size as NaN": (raw(b'{"a": {"shape": [NaN]}}'), "NaN for a number"),
    "a size without an end": (changed(A, shape=[10**400, 6]), "does not fill"),
    "five dimensions": (changed(A, shape=[2, 6, 1, 1, 1]), "has the shape"),
    "another size than its bytes": (changed(A, shape=[2, 7]), "does not fill"),
    "negative offsets": (changed(A, data_offsets=[-48, 0]), "has the offsets"),
    "offsets backwards": (changed(A, data_offsets=[48, 0]), "does not fill"),
    "three offsets": (changed(A, data_offsets=[0, 24, 48]), "has the offsets"),
    "tensors on each other": (
        raw({**HEADER, A: {**HEADER[A], "data_offsets": HEADER[A]["data_offsets"]}, B: {**HEADER[B], "data_offsets": [16, 80]}}, DATA),
        "begins at byte",
    ),
    "a hole between tensors": (raw({"a": SMALL, "b": {**SMALL, "data_offsets": [8, 12]}}, b"\0" * 12), "begins at byte 8"),
    "tensors beyond the end": (raw(HEADER, DATA[:-1]), "follow the header"),
    "bytes that no tensor has": (raw(HEADER, DATA + b"\0"), "follow the header"),
    "an A without B": (without(B), "lacks its B"),
    "a B without A": (without(A), "lacks its A"),
    "ranks that differ": (with_one(A, torch.ones(3, 6)), "no pair"),
    "a kernel with a matrix": (with_one(A, torch.ones(2, 6, 1, 1)), "no pair"),
    "a B with a kernel": (with_one(f"{CONV}.lora_B.weight", torch.ones(4, 2, 3, 3)), "no pair"),
    "an alpha for each row": (with_one(f"unet.{LAYER}.alpha", torch.ones(2)), "alpha of shape"),
    "a pair in two styles": (with_one(f"unet.{LAYER}.lora.down.weight", torch.ones(2, 6)), "beside another one"),
    "a text encoder": (with_one("text_encoder.q_proj.lora_A.weight", torch.ones(2, 6)), "none of a LoRA's"),
    "a bias": (with_one(f"unet.{LAYER}.lora_B.bias", torch.ones(8)), "none of a LoRA's"),
    "DoRA": (with_one(f"unet.{LAYER}.lora_magnitude_vector", torch.ones(8)), "none of a LoRA's"),
    "kohya's keys": (file_of({"lora_unet_x.lora_down.weight": torch.ones(2, 6)}), "kohya's keys are not read"),
    "a path for a layer": (with_one("unet.../../etc.lora_A.weight", torch.ones(2, 6)), "none of a LoRA's"),
    "NaN": (with_one(B, torch.full((8, 2), float("nan"))), "not finite"),
    "two infinities that meet": (with_one(A, torch.tensor([[float("inf"), float("-inf"), 1, 1, 1, 1], [1.0] * 6])), "not finite"),
    "one infinity": (with_one(A, torch.tensor([[1.0] * 5 + [float("-inf")], [1.0] * 6])), "not finite"),
    "one NaN in half precision": (with_one(A, torch.tensor([[1.0] * 5 + [float("nan")], [1.0] * 6], dtype=torch.float16)), "not finite"),
}  # fmt: skip


class TestHostileFiles:
    @pytest.mark.parametrize(("data", "words"), HOSTILE.values(), ids=HOSTILE)
    def test_are_refused_by_name_with_what_is_wrong_and_what_to_do(self, data: bytes, words: str) -> None:
        with pytest.raises(AdapterCorrupt) as refused:
            loaded(data)
        message = refused.value.message
        assert message.startswith("The file of the adapter red-things@3 was not used: ")
        assert words in message
        assert message.endswith("Use another version, or train it again.")
        assert len(message) < 600

    def test_with_another_digest_are_refused_before_they_are_read(self) -> None:
        with pytest.raises(AdapterCorrupt, match="SHA-256"):
            read("red-things@3", hashlib.sha256(GOOD).hexdigest(), GOOD[:-1] + b"\1")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_whatever_becomes_of_its_bytes_it_is_refused_or_read_as_safetensors_reads_it(data: st.DataObject) -> None:
    """Bytes changed, cut out and put in, most of them in the header. The digest is made to fit: it is the last defence."""
    file = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, len(GOOD) - len(DATA)), st.integers(0, len(file))))
        put = data.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b'"', b"{", b"}", b",", b"0", b"-", b"e9", b"null"]))
        )
        file[place : place + data.draw(st.integers(0, 4))] = put
    try:
        found = loaded(bytes(file))
    except AdapterCorrupt:
        return
    expected = safetensors.torch.load(bytes(file))
    assert {each for of in found.layers.values() for each in map(total, of)} <= {
        total(each) for each in expected.values()
    }
    assert all(torch.isfinite(each).all() for of in found.layers.values() for each in of)
    assert all(len(a) == b.shape[1] for a, b in found.layers.values())


def total(tensor: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.float().numpy().tobytes()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_one_flipped_byte_is_never_used(place: int, flip: int) -> None:
    file = bytearray(GOOD)
    file[place] ^= flip
    with pytest.raises(AdapterCorrupt):
        read("red-things@3", hashlib.sha256(GOOD).hexdigest(), file)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_malformed_or_a_header(file: bytes) -> None:
    try:
        header = read_header(memoryview(file))
    except Malformed:
        return
    assert header.entries


def test_a_name_twice_is_found_in_one_pass() -> None:
    names, before = [Compared(f"n{number}") for number in range(2000)], Compared.times
    with pytest.raises(Malformed, match="'n1999' twice"):
        header._once([(name, 0) for name in (*names, Compared("n1999"))])
    assert Compared.times - before < 10 * len(names)
