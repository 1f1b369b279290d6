"""The engine on a GPU: another adapter in each row, and each row is what plain diffusers draws with that adapter alone."""

import pytest
import safetensors.torch
import torch

from tests.worker.conftest import FolderOf, LoadKind
from tests.worker.gpu.conftest import OnGPU
from tests.worker.inference.random_adapters import ALL, LINEAR, lora_file, random_files
from tests.worker.models import plain
from worker.inference.engine.served import Served

STEPS = 3
OWN = {"sd": "ddim", "sdxl": "ddim", "sd3": "flow-euler", "flux-dev": "flow-euler"}


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 5e-3), ("bf16", 0.05)])
@pytest.mark.parametrize("kind", list(OWN))
def test_a_mixed_batch_is_plain_diffusers_row_by_row(  # noqa: PLR0917 — what is compared
    kind: str, dtype: str, tolerance: float, load_kind: LoadKind, on_gpu: OnGPU, folder_of: FolderOf
) -> None:
    """Tolerance: of the latents' greatest; fp32 convolutions are TF32 on both sides."""
    data = random_files(load_kind(kind), (1, 2), targets=ALL if kind in ("sd", "sdxl") else LINEAR)
    wearings = [(), *(((lora_file(each, f"red@{place}"), 1.0),) for place, each in enumerate(data, 1))]
    served = Served(on_gpu(kind, dtype=dtype), slots=4, rank=8)
    samples = [
        served.begin(prompt, seed, guidance=3.0, steps=STEPS, wearing=wearing, scheduler=OWN[kind])  # type: ignore[arg-type]
        for prompt, seed, wearing in zip(plain.PROMPTS, plain.SEEDS, wearings, strict=True)
    ]
    for _ in range(STEPS):
        served.step(samples, 4)
    pipeline = plain.load(kind, folder_of(kind), served.family.dtype).to("cuda")
    for row, sample in enumerate(samples):
        pipeline.unload_lora_weights()
        if row:
            pipeline.load_lora_weights(safetensors.torch.load(data[row - 1]))
        drawn = plain.draw(pipeline, guidance=3.0, steps=STEPS, prompts=[plain.PROMPTS[row]], seeds=[plain.SEEDS[row]])[
            0
        ]
        scale = drawn.abs().max()
        torch.testing.assert_close(sample.latents / scale, drawn / scale, atol=tolerance, rtol=0)
