"""Slots against peft: the same output for mixed batches of every family, and nothing at all where nothing is worn."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.worker.conftest import LoadKind
from tests.worker.inference.random_adapters import ALL, LINEAR, lora_file, random_file, random_files
from worker.inference.engine.requests import AdapterRefused, LoraFile
from worker.inference.engine.slots import Slots, Wearing
from worker.inference.engine.slotted import can_be_slotted
from worker.models.base import PipelineFamily

UNETS, TRANSFORMERS = ["sd", "sdxl"], ["sd3", "flux-dev"]
RANK = 8


class Bench:
    """A family with slots, and peft's layers in another copy of it as the reference."""

    def __init__(self, load_kind: LoadKind, kind: str, targets: Sequence[str]) -> None:
        self.family, self.peft = load_kind(kind), load_kind(kind)
        data = random_files(load_kind(kind), (1, 2), targets=targets)
        self.files = [lora_file(each, f"red-things@{seed}") for seed, each in enumerate(data, 1)]
        for seed, each in enumerate(data):
            self.peft.load_adapter(f"a{seed}", each)
        self.layers = {name: each for name, each in self.family.denoiser.named_modules() if can_be_slotted(each)}
        generator = torch.Generator().manual_seed(0)
        self.latents = torch.randn((4, *self.family.latent_shape), generator=generator)
        self.conditions = self.family.encode(["red", "blue", "no", "a dot"])
        self.time = self.family.sampler(4).timesteps[1]

    def with_new_slots(self) -> "Bench":
        for name, module in self.layers.items():
            parent, _, leaf = name.rpartition(".")
            setattr(self.family.denoiser.get_submodule(parent), leaf, module)
        self.slots = Slots(self.family.denoiser, count=3, rank=RANK)
        return self

    def predict(self, family: PipelineFamily, rows: slice | list[int] = slice(None), guidance: float = 1.0) -> Tensor:
        with torch.no_grad():
            return family.predict(self.latents[rows], self.time, self.conditions[rows], guidance)

    def mixed(self, wearings: Sequence[Wearing], guidance: float = 1.0) -> Tensor:
        placed = self.slots.place(wearings)
        self.slots.wear([*placed, *placed] if guidance > 1 and self.family.embedded_guidance is None else placed)
        return self.predict(self.family, guidance=guidance)

    def by_peft(self, names: Sequence[str | None], guidance: float = 1.0) -> Tensor:
        """Each row with its adapter worn by everybody, in a batch of the same size."""
        rows = []
        for row, name in enumerate(names):
            self.peft.wear(name)
            rows.append(self.predict(self.peft, guidance=guidance)[row])
        return torch.stack(rows)


BenchOf = Callable[[str, tuple[str, ...]], Bench]


@pytest.fixture(scope="module")
def benches() -> dict[tuple[str, tuple[str, ...]], Bench]:
    return {}


@pytest.fixture
def bench_of(benches: dict[tuple[str, tuple[str, ...]], Bench], load_kind: LoadKind) -> BenchOf:
    """Made once for each (family, targets); its slots are new in each test."""

    def bench(kind: str, targets: tuple[str, ...]) -> Bench:
        if (kind, targets) not in benches:
            benches[kind, targets] = Bench(load_kind, kind, targets)
        return benches[kind, targets].with_new_slots()

    return bench


@pytest.mark.parametrize(
    ("kind", "targets"), [*((kind, ALL) for kind in UNETS), *((kind, LINEAR) for kind in TRANSFORMERS)]
)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_mixed_batch_is_pefts_output_adapter_by_adapter(
    bench_of: BenchOf, kind: str, targets: Sequence[str], guidance: float
) -> None:
    bench = bench_of(kind, targets)
    first, second = (((file, 1.0),) for file in bench.files)
    ours = bench.mixed([second, (), first, second], guidance)
    theirs = bench.by_peft(["a1", None, "a0", "a1"], guidance)
    base = bench.by_peft([None] * 4, guidance)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours[1], base[1], atol=0, rtol=0)
    assert (theirs[[0, 2, 3]] - base[[0, 2, 3]]).abs().amax((1, 2, 3)).min() > 0.01


class TestSlotZero:
    def test_is_the_plain_layer_bit_for_bit_beside_any_neighbour(self, bench_of: BenchOf) -> None:
        bench = bench_of("sd", ALL)
        before = bench.predict(bench.family)
        ours = bench.mixed([(), ((bench.files[0], 1.0),), (), ()])
        torch.testing.assert_close(ours[[0, 2, 3]], before[[0, 2, 3]], atol=0, rtol=0)
        assert not torch.equal(ours[1], before[1])

    def test_alone_costs_no_operation(self, bench_of: BenchOf) -> None:
        bench = bench_of("sd", ALL)
        before = operations(bench)
        bench.mixed([((file, 1.0),) for file in (*bench.files, *bench.files)])
        bench.slots.wear([0, 0, 0, 0])
        assert operations(bench) == before

    def test_linear_adapters_never_pay_for_convolutions(self, bench_of: BenchOf, load_kind: LoadKind) -> None:
        bench, with_conv = bench_of("sd", LINEAR), lora_file(random_file(load_kind("sd"), 3, targets=ALL))
        linear: list[Wearing] = [((bench.files[0], 1.0),), (), (), ()]
        bench.mixed(linear)
        before = operations(bench)
        assert not any(type(each).__name__ == "SlottedConv" for each in bench.family.denoiser.modules())
        bench.mixed([((with_conv, 1.0),), *linear[1:]])
        bench.mixed(linear)
        assert operations(bench) == before


def operations(bench: Bench) -> int:
    """ATen operations of one forward as the slots stand."""

    class Count(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.count += 1
            return func(*args, **(kwargs or {}))

    with Count() as mode:
        bench.predict(bench.family)
    return mode.count


class TestSeveralAdapters:
    def test_side_by_side_in_one_slot_are_the_weighted_sum(self, bench_of: BenchOf) -> None:
        bench = bench_of("sd", ALL)
        both: Wearing = ((bench.files[0], 0.5), (bench.files[1], -1.25))
        bench.peft.denoiser.set_adapters(["a0", "a1"], [0.5, -1.25])
        bench.peft.denoiser.enable_adapters()
        theirs = bench.predict(bench.peft)
        torch.testing.assert_close(bench.mixed([both] * 4), theirs, atol=1e-5, rtol=0)

    def test_above_the_slots_rank_are_refused_with_the_remedy(self, bench_of: BenchOf) -> None:
        bench = bench_of("sd", LINEAR)
        with pytest.raises(AdapterRefused) as caught:
            bench.slots.place([tuple((file, 1.0) for file in (*bench.files, bench.files[0]))])
        (wrong,) = caught.value.errors
        assert wrong.path == "adapters"
        assert (
            wrong.message == "red-things@1 + red-things@2 + red-things@1 has rank 12, and a slot of this endpoint has 8"
        )
        assert "STROP_SLOT_RANK" in wrong.remedy


class TestRefusals:
    def test_of_another_bases_layers_name_the_layer_and_touch_nothing(self, bench_of: BenchOf) -> None:
        bench = bench_of("sd", LINEAR)
        before = bench.predict(bench.family)
        name, (a, b) = next(iter(bench.files[0].layers.items()))
        for layers in ({"nowhere.to_q": (a, b)}, {name: (a[:, :-1], b)}, {name: (a, b[:-1])}, {name: (a, b[:, :-1])}):
            with pytest.raises(AdapterRefused) as caught:
                bench.slots.place([((replace(bench.files[0], layers=layers), 1.0),)])
            (wrong,) = caught.value.errors
            assert wrong.message.startswith("the adapter red-things@1 does not fit this base model: its layer")
        torch.testing.assert_close(bench.predict(bench.family), before, atol=0, rtol=0)
        assert bench.slots.loads == 0

    def test_more_different_adapters_than_slots_in_one_call_is_the_callers_mistake(self, bench_of: BenchOf) -> None:
        bench = bench_of("sd", LINEAR)
        with pytest.raises(ValueError, match="more than 3"):
            bench.slots.place([((bench.files[0], weight / 8),) for weight in range(4)])


class TestWithoutConvolutions:
    def test_adapters_that_have_them_are_refused_by_name_with_the_setting(
        self, bench_of: BenchOf, load_kind: LoadKind
    ) -> None:
        bench = bench_of("sd", LINEAR)
        slots = Slots(bench.with_new_slots().family.denoiser, count=3, rank=RANK, conv=False)
        with_conv = lora_file(random_file(load_kind("sd"), 3, targets=ALL))
        with pytest.raises(AdapterRefused) as caught:
            slots.place([((with_conv, 1.0),)])
        (wrong,) = caught.value.errors
        assert wrong.message.startswith("the adapter red-things@1 changes convolutions (")
        assert "STROP_SLOT_CONV=1" in wrong.remedy
        assert (slots.bytes, slots.place([((bench.files[0], 1.0),)])) == (0, [1])


class TestPlaces:
    def test_least_recently_worn_makes_room_and_comes_back_the_same(self, bench_of: BenchOf) -> None:
        bench = bench_of("sd", LINEAR)
        worn: list[Wearing] = [((bench.files[0], weight),) for weight in (1.0, 0.5, 0.25, 2.0)]
        assert bench.slots.place(worn[:3]) == [1, 2, 3]
        first = bench.mixed([worn[0]] * 4)  # now the second is the oldest
        assert bench.slots.place([worn[3], worn[0]]) == [2, 1]
        assert (bench.slots.holds(worn[1]), bench.slots.loads) == (False, 4)
        bench.mixed([worn[1], worn[2], worn[3], worn[3]])
        torch.testing.assert_close(bench.mixed([worn[0]] * 4), first, atol=0, rtol=0)
        assert bench.slots.loads == 6

    def test_a_smaller_adapter_leaves_nothing_of_the_larger_before_it(
        self, bench_of: BenchOf, load_kind: LoadKind
    ) -> None:
        bench = bench_of("sd", ALL)
        small = lora_file(random_file(load_kind("sd"), 5, rank=2, targets=("attention",)))
        alone = Slots(fresh := load_kind("sd").denoiser, count=1, rank=RANK)
        alone.wear(alone.place([((small, 1.0),)]) * 4)
        bench.slots.count = 1
        bench.mixed([((bench.files[0], 1.0),)] * 4)
        ours = bench.mixed([((small, 1.0),)] * 4)
        bench.family.denoiser = fresh
        torch.testing.assert_close(ours, bench.predict(bench.family), atol=0, rtol=0)

    def test_a_dropped_adapter_is_gone_from_every_slot(self, bench_of: BenchOf) -> None:
        bench = bench_of("sd", LINEAR)
        first, second = bench.files
        bench.slots.place([((first, 1.0),), ((first, 0.5), (second, 1.0)), ((second, 1.0),)])
        bench.slots.drop(first.sha256)
        assert [bench.slots.holds(each) for each in (((first, 1.0),), ((second, 1.0),))] == [False, True]
        layer = next(each for each in bench.family.denoiser.modules() if hasattr(each, "filled"))
        assert [float(layer.a[slot].abs().sum()) > 0 for slot in range(4)] == [False, False, False, True]


class TestRemoved:
    def test_the_original_layers_are_back_and_then_ours_again(self, bench_of: BenchOf, load_kind: LoadKind) -> None:
        bench = bench_of("sd", ALL)
        original = [type(each) for each in load_kind("sd").denoiser.modules()]
        worn = bench.mixed([((bench.files[0], 1.0),)] * 4)
        with bench.slots.removed():
            assert [type(each) for each in bench.family.denoiser.modules()] == original
            assert not torch.equal(bench.predict(bench.family), worn)
        torch.testing.assert_close(bench.mixed([((bench.files[0], 1.0),)] * 4), worn, atol=0, rtol=0)


class TestCompiled:
    def test_loading_a_slot_compiles_nothing_anew(self) -> None:
        compiled = []

        def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
            compiled.append(graph)
            return graph

        net = nn.Sequential(nn.Linear(6, 5))
        slots = Slots(net, count=2, rank=3)
        call = torch.compile(net, backend=backend, fullgraph=True)
        x = torch.randn(2, 4, 6)
        files = [LoraFile(f"a@{n}", str(n), n, {"0": (torch.randn(n, 6), torch.randn(5, n))}) for n in (1, 2, 3)]
        drawn = []
        with torch.no_grad():
            for one, other in ((0, 1), (2, 0), (1, 2)):
                slots.wear(slots.place([((files[one], 1.0),), ((files[other], 1.0),)]))
                drawn.append(call(x))
                torch.testing.assert_close(drawn[-1], net(x))
        assert (len(compiled), slots.loads) == (1, 4)
        assert not torch.equal(drawn[0], drawn[1])

    def test_in_a_u_net_nothing_after_the_first_adapter(self) -> None:
        """From the base to an adapter the stacks come, and the U-Net is compiled with them; then never again."""
        torch.manual_seed(0)
        net = UNet2DConditionModel(
            sample_size=4, block_out_channels=(4,), layers_per_block=1, norm_num_groups=1, attention_head_dim=2,
            cross_attention_dim=4, down_block_types=("CrossAttnDownBlock2D",), up_block_types=("UpBlock2D",),
            mid_block_type=None,
        ).requires_grad_(False)  # fmt: skip
        compiled: list[torch.fx.GraphModule] = []

        def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
            compiled.append(graph)
            return graph

        slots, call = Slots(net, count=2, rank=2), torch.compile(net, backend=backend)
        layers = {name: each for name, each in net.named_modules() if type(each) is nn.Linear and ".attn" in name}
        first, second = (
            LoraFile(
                f"a@{rank}", str(rank), rank,
                {n: (torch.randn(rank, e.in_features), torch.randn(e.out_features, rank)) for n, e in layers.items()},
            )
            for rank in (1, 2)
        )  # fmt: skip
        inputs = torch.randn(2, 4, 4, 4), torch.tensor([1.0, 2.0]), torch.randn(2, 3, 4)
        seen = []
        for wearings in ([(), ()], [((first, 1.0),), ()], [((second, 1.0),), ((first, 1.0),)], [((second, 0.5),), ()]):
            slots.wear(slots.place(wearings))
            torch.testing.assert_close(call(*inputs).sample, net(*inputs).sample)
            seen.append(len(compiled))
        assert 0 < seen[0] < seen[1] == seen[2] == seen[3]
        assert slots.loads == 3
