"""The SFT step of `benchmarks/step` in seconds: the published loop and search-then-recompute, without decodes.

train = "lora" wears peft's own layers on both sides, as there; no side recomputes activations.
"""

import torch
from diffusers import UNet2DConditionModel

from benchmarks.bf16 import in_bf16
from benchmarks.contest import contest, cost, row
from benchmarks.gpu.updates import GIB, Row, forget
from benchmarks.step import shapes
from benchmarks.step.__main__ import START, process, trainable
from benchmarks.step.loops import CANDIDATES, Bench, published, search_then_recompute
from worker.training.attention import without_cudnn

UNETS = {"sd15": shapes.SD15_UNET, "sdxl": shapes.SDXL_UNET}


class Step:
    """Both loops on one network; `train`: see `benchmarks/step`."""

    def __init__(self, model: str, pixels: int, train: str, device: str) -> None:
        forget()
        config = UNETS[model]
        self.device, self.model = device, f"{model}-{pixels}, random weights"
        torch.manual_seed(0)
        with in_bf16(device):
            unet = UNet2DConditionModel(**config).eval()
        parameters = trainable(unet, train)
        text = torch.randn(1, 77, config["cross_attention_dim"], device=device, dtype=torch.bfloat16)
        added = {
            "text_embeds": torch.randn(1, 1280, device=device, dtype=torch.bfloat16),
            "time_ids": torch.full((1, 6), float(pixels), device=device, dtype=torch.bfloat16),
        }

        def inputs(rows: int) -> dict[str, object]:
            more = {name: value.expand(rows, -1) for name, value in added.items()}
            return {
                "encoder_hidden_states": text.expand(rows, -1, -1),
                "added_cond_kwargs": more if model == "sdxl" else None,
            }

        shape = (4, pixels // 8, pixels // 8)
        self._bench = Bench(
            unet, parameters, process(), shape, inputs,
            judge=lambda previews: previews.detach().float().tanh().flatten(1).mean(dim=1).cpu(),
        )  # fmt: skip
        self._clean, self._noise = torch.randn(2, CANDIDATES, *shape, device=device)

    def ours(self) -> tuple[torch.Tensor, ...]:
        with without_cudnn():
            return search_then_recompute(self._bench, self._clean, self._noise, START)

    def theirs(self) -> tuple[torch.Tensor, ...]:
        with without_cudnn():
            return published(self._bench, self._clean, self._noise, START, detach=False)


def rows(model: str, pixels: int, train: str, device: str, turns: int) -> list[Row]:
    step = Step(model, pixels, train, device)
    seconds = contest(f"{step.model}, train {train}", {"ours": step.ours, "published": step.theirs}, turns)
    held = {}
    for name, run in (("ours", step.ours), ("published", step.theirs)):
        forget()
        run()
        held[name] = round(torch.cuda.max_memory_allocated() / GIB, 2)
    compared = cost(seconds, "ours", "published")
    return [row(f"an SFT step, train {train}, ours : the published loop", step, compared, peak_gib=held)]
