"""Training on a GPU is training on a CPU up to rounding, and its failures are told as a CPU's are."""

from dataclasses import replace

import pytest
import torch

from service.domain.errors import JobFailure
from tests.worker.conftest import FolderOf
from tests.worker.gpu.conftest import OnGPU
from tests.worker.training.conftest import METHODS, PROMPTS, bright, jpeg, recipe
from worker.memory import told
from worker.models.base import PipelineFamily
from worker.models.load import load
from worker.training.attention import without_cudnn
from worker.training.events import Checkpointed, Finished, Stepped
from worker.training.loop import train
from worker.training.methods import memory_of, method_of
from worker.training.world import world_of

KINDS = ("sd", "sdxl", "sd3", "flux-dev")


def update(family: PipelineFamily, name: str) -> tuple[float, torch.Tensor]:
    """Loss and gradient of a first update from an adapter that is not the base."""
    parameters = family.add_adapter(2, ["attention"], seed=0)
    for place, parameter in enumerate(parameters.values()):
        drawn = torch.empty(parameter.shape).normal_(std=0.1, generator=torch.Generator().manual_seed(place))
        parameter.data.copy_(drawn)
    job = recipe(name)
    method = method_of(
        job,
        family.latent_shape,
        embeds_guidance=family.embedded_guidance is not None,
        free_guidance=family.free_guidance,
        on_gpu=family.device.type == "cuda",
    )
    with without_cudnn():
        done = method(world_of(family, bright, parameters, PROMPTS[:2]), memory_of(job.method), 0, (0, 1))
    return done.metrics.loss, torch.cat([part.flatten() for part in done.gradient]).cpu()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("sd", name) for name in METHODS),
        *((kind, name) for kind in KINDS[1:] for name in ("sharpening-rlhf", "forward-process", "ddpo")),
    ],
)
@pytest.mark.parametrize(("dtype", "least"), [("fp32", 0.999), ("bf16", 0.95)])
def test_an_update_is_the_cpus(  # noqa: PLR0917 — what is compared
    kind: str, name: str, dtype: str, least: float, on_gpu: OnGPU, folder_of: FolderOf
) -> None:
    of_kind = kind.split("-", maxsplit=1)[0]
    cpu = load(of_kind, folder_of(kind), device="cpu", resolution=64)  # type: ignore[arg-type]
    wanted, exact = update(cpu, name)  # type: ignore[arg-type]
    loss, gradient = update(on_gpu(kind, dtype=dtype), name)
    assert loss == pytest.approx(wanted, rel=0.1, abs=0.05)
    assert torch.cosine_similarity(gradient, exact, dim=0) > least


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_resumed_job_goes_on_as_it_would_have(dtype: str, on_gpu: OnGPU) -> None:
    """Not bit for bit: some of CUDA's sums have no fixed order, which is why a GPU's checkpoints are not certified."""
    job = recipe(samples={"every": 0})
    whole = list(train(on_gpu("sd", dtype=dtype), jpeg(), job, PROMPTS))
    checkpoint = next(event for event in whole if isinstance(event, Checkpointed))
    rest = list(train(on_gpu("sd", dtype=dtype), jpeg(), job, PROMPTS, resume=checkpoint.data))
    timeless = [
        [replace(event, seconds=0) for event in events if isinstance(event, Stepped)][-2:] for events in (whole, rest)
    ]
    for one, other in zip(*timeless, strict=True):
        assert one.training_nfe == other.training_nfe
        assert one.loss == pytest.approx(other.loss, rel=0.02)
    assert isinstance(rest[-1], Finished)


@pytest.mark.parametrize("kind", KINDS)
def test_a_parked_text_encoder_reads_as_one_that_stays(kind: str, on_gpu: OnGPU) -> None:
    staying, parked = on_gpu(kind, dtype="bf16"), on_gpu(kind, dtype="bf16", parks_text=True)
    before = torch.cuda.memory_allocated()
    wanted, found = staying.encode(PROMPTS), parked.encode(PROMPTS)
    for name, value in wanted.positive.items():
        assert found.positive[name].device.type == "cuda"
        torch.testing.assert_close(found.positive[name], value)
    encoders = [
        part
        for part in parked.pipeline.components.values()
        if part is not None and hasattr(part, "get_input_embeddings")
    ]
    assert encoders
    assert {each.device.type for each in encoders if each is not parked.denoiser} == {"cpu"}
    assert torch.cuda.memory_allocated() - before < 2**22, "rows of text alone are kept there"


def test_want_of_the_gpus_memory_is_told_as_such() -> None:
    with pytest.raises(JobFailure, match="the device's memory ran out") as failure, told("ran out"):
        torch.empty(2**50, device="cuda")
    assert failure.value.code == "out_of_memory"
