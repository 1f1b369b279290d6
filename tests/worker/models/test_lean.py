"""In bf16 the adapter's layers compute as the base does; their weights, and what they learn from, stay in fp32. peft judges."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.worker.conftest import LoadKind
from worker.evaluation.draw import noise
from worker.models import lean
from worker.models.base import PipelineFamily

PROMPTS = ("a", "b")
PRODUCTS = ("aten.mm", "aten.addmm", "aten.bmm", "aten.convolution")


class Products(TorchDispatchMode):
    """The dtypes in which matrix products and convolutions are made inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[torch.dtype] = Counter()
        self.casts = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func).startswith(PRODUCTS):
            self.seen[args[-1].dtype if isinstance(args[-1], torch.Tensor) else args[0].dtype] += 1
        self.casts += str(func).startswith("aten._to_copy")
        return func(*args, **(kwargs or {}))


def adapted(family: PipelineFamily, targets: Sequence[str] = ("attention", "feed-forward")) -> dict[str, torch.Tensor]:
    tensors = family.add_adapter(4, targets, seed=0)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.copy_(torch.randn(tensor.shape, generator=chance) * 0.2)
    return tensors


def gradient(family: PipelineFamily, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    prediction = family.predict(noise(family, (1, 2)), family.train_timesteps // 2, family.encode(PROMPTS))
    made = torch.autograd.grad(prediction.float().square().mean(), list(tensors.values()))
    assert {each.dtype for each in made} == {torch.float32}
    return torch.cat([each.flatten() for each in made])


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3", "flux-dev"])
class TestSlim:
    def test_no_product_is_made_in_fp32(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind, dtype="bf16")
        x, conditions = noise(family, (1, 2)), family.encode(PROMPTS)
        with torch.no_grad(), Products() as base:
            family.predict(x, 10, conditions)
        adapted(family)
        with torch.no_grad(), Products() as worn:
            family.predict(x, 10, conditions)
        assert worn.seen[torch.float32] == base.seen[torch.float32]
        assert worn.seen[torch.bfloat16] > base.seen[torch.bfloat16]

    def test_the_gradient_is_about_as_near_to_fp32s_as_with_pefts_layers(
        self, kind: str, load_kind: LoadKind, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exact, family = load_kind(kind), load_kind(kind, dtype="bf16")
        wanted, found = gradient(exact, adapted(exact)), gradient(family, adapted(family))
        monkeypatch.setattr(lean, "slim", lambda denoiser, adapter: None)
        lifted = load_kind(kind, dtype="bf16")
        of_peft = gradient(lifted, adapted(lifted))
        assert not torch.equal(found, of_peft)
        assert (found - wanted).norm() <= 1.5 * (of_peft - wanted).norm()

    def test_recomputing_activations_changes_nothing(self, kind: str, load_kind: LoadKind) -> None:
        """As sdxl, sd3 and flux always do."""
        keeping, recomputing = load_kind(kind, dtype="bf16"), load_kind(kind, dtype="bf16")
        recomputing.enable_gradient_checkpointing()
        recomputing.denoiser.train()
        assert torch.equal(gradient(recomputing, adapted(recomputing)), gradient(keeping, adapted(keeping)))

    def test_an_adapter_is_exported_as_it_was_made(self, kind: str, load_kind: LoadKind) -> None:
        exact, family = load_kind(kind), load_kind(kind, dtype="bf16")
        assert family.export(adapted(family)) == exact.export(adapted(exact))

    def test_the_base_is_untouched_where_the_adapter_is_off(self, kind: str, load_kind: LoadKind) -> None:
        family = load_kind(kind, dtype="bf16")
        x, conditions = noise(family, (1, 2)), family.encode(PROMPTS)
        with torch.no_grad():
            before = family.predict(x, 10, conditions)
            adapted(family)
            with family.adapter_off():
                assert torch.equal(family.predict(x, 10, conditions), before)
            assert not torch.equal(family.predict(x, 10, conditions), before)

    def test_an_adapter_of_zeros_is_the_base_bit_for_bit(self, kind: str, load_kind: LoadKind) -> None:
        """So that a first update's preference is no preference."""
        family = load_kind(kind, dtype="bf16")
        x, conditions = noise(family, (1, 2)), family.encode(PROMPTS)
        with torch.no_grad():
            before = family.predict(x, 10, conditions)
            family.add_adapter(4, ["attention", "feed-forward"], seed=0)
            assert torch.equal(family.predict(x, 10, conditions), before)


class TestCast:
    @pytest.mark.parametrize("targets", [["attention", "feed-forward"], ["conv"]])
    def test_calls_of_a_search_are_calls_of_a_training(self, targets: list[str], load_kind: LoadKind) -> None:
        """DDPO's ratios, and a first update's preference, rest on it."""
        family = load_kind("sd", dtype="bf16")
        adapted(family, targets)
        x, conditions = noise(family, (1, 2)), family.encode(PROMPTS)
        with torch.no_grad():
            learning = family.predict(x, 10, conditions)
            with family.adapter_folded():
                assert torch.equal(family.predict(x, 10, conditions), learning)

    def test_weights_that_changed_are_cast_anew(self, load_kind: LoadKind) -> None:
        family = load_kind("sd", dtype="bf16")
        tensors = adapted(family)
        x, conditions = noise(family, (1, 2)), family.encode(PROMPTS)
        with torch.no_grad():
            with family.adapter_folded():
                before = family.predict(x, 10, conditions)
            for tensor in tensors.values():
                tensor.mul_(2)
            with family.adapter_folded():
                assert not torch.equal(family.predict(x, 10, conditions), before)

    def test_a_search_makes_two_products_a_layer_and_casts_nothing(self, load_kind: LoadKind) -> None:
        family = load_kind("sd", dtype="bf16")
        x, conditions = noise(family, (1, 2)), family.encode(PROMPTS)
        with torch.no_grad():
            with Products() as base:
                family.predict(x, 10, conditions)
            layers = len(adapted(family)) // 2
            with family.adapter_folded(), Products() as worn:
                family.predict(x, 10, conditions)
        assert worn.seen.total() - base.seen.total() == 2 * layers
        assert worn.casts == base.casts


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_other_dtypes_are_left_to_peft(dtype: str, load_kind: LoadKind) -> None:
    family = load_kind("sd", dtype=dtype)
    adapted(family)
    assert not any(isinstance(layer.forward, lean.Lean) for layer in family.denoiser.modules())


def test_a_dropped_adapter_leaves_the_base_and_room_for_the_next(load_kind: LoadKind) -> None:
    family, fresh = load_kind("sd", dtype="bf16"), load_kind("sd", dtype="bf16")
    x, conditions = noise(family, (1, 2)), family.encode(PROMPTS)
    with torch.no_grad():
        base = family.predict(x, 10, conditions)
        adapted(family)
        family.drop_adapter("trained")
        with family.adapter_folded():
            assert torch.equal(family.predict(x, 10, conditions), base)
        adapted(family, ["feed-forward"])
        adapted(fresh, ["feed-forward"])
        with family.adapter_folded():
            found = family.predict(x, 10, conditions)
        assert torch.equal(found, fresh.predict(x, 10, conditions))
    assert not torch.equal(found, base)


def test_where_memory_runs_out_while_casting_nothing_stays_cast(
    load_kind: LoadKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = load_kind("sd", dtype="bf16")
    tensors = adapted(family)
    whole, calls = lean.Lean.cast, iter(range(3))

    def failing(layer: lean.Lean) -> tuple[torch.Tensor, torch.Tensor]:
        if next(calls, None) is None:
            raise torch.OutOfMemoryError
        return whole(layer)

    with monkeypatch.context() as patched:
        patched.setattr(lean.Lean, "cast", failing)
        with pytest.raises(torch.OutOfMemoryError), family.adapter_folded():
            pass
    assert gradient(family, tensors).abs().sum() > 0


def test_convolutions_learn_as_pefts_do(load_kind: LoadKind, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, family = load_kind("sd"), load_kind("sd", dtype="bf16")
    wanted, found = gradient(exact, adapted(exact, ["conv"])), gradient(family, adapted(family, ["conv"]))
    monkeypatch.setattr(lean, "slim", lambda denoiser, adapter: None)
    lifted = load_kind("sd", dtype="bf16")
    of_peft = gradient(lifted, adapted(lifted, ["conv"]))
    assert (found - wanted).norm() <= 1.5 * (of_peft - wanted).norm()


def test_another_adapter_on_the_same_layers_is_left_to_peft(load_kind: LoadKind) -> None:
    family, alone = load_kind("sd", dtype="bf16"), load_kind("sd", dtype="bf16")
    data = family.export(adapted(family))
    family.load_adapter("other@1", data)
    alone.load_adapter("other@1", data)
    x, conditions = noise(family, (1, 2)), family.encode(PROMPTS)
    for each in (family, alone):
        each.wear("other@1")
    with torch.no_grad():
        assert torch.equal(family.predict(x, 10, conditions), alone.predict(x, 10, conditions))
