"""From the recipe's word to the function: which method of `worker/sharpening`, with which settings, on which prompts."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import assert_never

from service.domain.methods import (
    DDPO,
    SFT,
    DiffusionDPO,
    ForwardProcess,
    Method,
    OnlineDPO,
    SharpeningRLHF,
    SharpeningSFT,
)
from service.domain.methods.common import Drawn, Noised, Paired, Trained
from service.domain.recipes import Recipe
from worker.sharpening import update
from worker.sharpening.beta import Beta
from worker.sharpening.ddpo import ddpo_step
from worker.sharpening.forward import forward_step
from worker.sharpening.offline import diffusion_dpo_step, plain_sft_step
from worker.sharpening.paper import paper_step
from worker.sharpening.sft import rollout_step, sft_step
from worker.sharpening.step import step
from worker.sharpening.world import Settings
from worker.training.data import places_of

LATENT_PIXELS_PER_CALL = 32_768
MOST_ROWS = 128
SEARCH_FACTOR = 4
"""On a GPU a search makes calls of so many micro-batches: it keeps no activations, and the larger its calls the less the GPU waits
for launches. Elsewhere there is nothing to gain, and certificates rest on the bits."""


def method_of(  # noqa: PLR0911 — a dispatch
    recipe: Recipe,
    latent_shape: tuple[int, int, int],
    *,
    embeds_guidance: bool = False,
    free_guidance: bool = True,
    on_gpu: bool = False,
) -> update.Method:
    """The recipe's method, bound to its settings.

    `embeds_guidance`: guidance is an input of the network (FLUX.1-dev), so the losses are fed what the rollouts were.
    `free_guidance`: the family's, see `models/family.py`.
    """
    method, settings = recipe.method, settings_of(recipe, latent_shape, free_guidance=free_guidance, on_gpu=on_gpu)
    if embeds_guidance:
        settings = replace(settings, loss_guidance=settings.rollout_guidance)
    match method:
        case SharpeningRLHF():
            return partial(paper_step if method.paper else step, settings)
        case OnlineDPO():
            return partial(step, settings)
        case DiffusionDPO():
            return partial(diffusion_dpo_step, settings)
        case SharpeningSFT() if not method.walks:
            return partial(rollout_step, settings, method.anchor)
        case SharpeningSFT():
            return partial(sft_step, settings, method.anchor, method.selection_among == "noisings")
        case SFT():
            return partial(plain_sft_step, settings, method.anchor, method.keep == "all")
        case DDPO():
            return partial(ddpo_step, settings, method.noise, method.clip_range, method.steps_per_batch)
        case ForwardProcess():
            return partial(forward_step, settings, method.mix, method.old_decay, method.anchor)
        case _:
            assert_never(method)


def settings_of(recipe: Recipe, latent_shape: tuple[int, int, int], *, free_guidance: bool, on_gpu: bool) -> Settings:
    """What the methods share, out of the fields that this one has."""
    method: Drawn = recipe.method
    fields: dict[str, object] = {}
    if isinstance(method, Noised):
        fields["least_noise"] = method.least_noise
    if isinstance(method, Paired):
        fields |= {"levels": method.timesteps_per_pair, "loss_guidance": method.loss_guidance}
    if isinstance(method, SFT | ForwardProcess | SharpeningSFT):
        fields["levels"] = method.timesteps_per_sample
    if isinstance(method, SharpeningRLHF):
        fields["states"] = method.states
    if isinstance(method, SharpeningRLHF | SharpeningSFT):
        fields |= {"trajectory_length": method.trajectory_length, "walk_steps": method.walk_steps}
        fields["temperature"] = method.path_temperature if method.selection == "path-weights" else None
    rows = micro_batch(method, latent_shape, free_guidance=free_guidance)
    return Settings(
        seed=recipe.seed,
        micro_batch=rows,
        search_factor=max(1, min(SEARCH_FACTOR, MOST_ROWS // rows)) if on_gpu and method.micro_batch == "auto" else 1,
        candidates=method.candidates,
        rollout_steps=method.rollout_steps,
        rollout_guidance=method.rollout_guidance,
        **fields,  # type: ignore[arg-type]  # names and types are those of Settings
    )


def micro_batch(method: Trained, latent_shape: tuple[int, int, int], *, free_guidance: bool) -> int:
    """Most pictures of one denoiser call. Where the loss is guided by a second forward, as a family with `free_guidance` has
    it, each is two rows whose activations are kept."""
    if method.micro_batch != "auto":
        return method.micro_batch
    _, height, width = latent_shape
    rows = LATENT_PIXELS_PER_CALL // (height * width)
    return max(1, min(MOST_ROWS, rows // 2 if free_guidance and guides_loss(method) else rows))


def guides_loss(method: Trained) -> bool:
    """Whether what is differentiated is a guided prediction: DDPO's policy is what its rollouts were drawn with."""
    if isinstance(method, DDPO):
        return method.rollout_guidance > 1
    return isinstance(method, Paired) and method.loss_guidance > 1


def memory_of(method: Method) -> update.Memory:
    """What a method knows before its first update."""
    given = isinstance(method, Paired) and method.beta != "auto"
    return update.Memory(Beta(float(method.beta), fixed=True) if given else Beta())  # type: ignore[union-attr]


def prompts_at(method: Method, count: int, seed: int, number: int) -> Sequence[int]:
    """Places in the job's list of the prompts of update `number`. DDPO stays with a batch for several updates."""
    batch = number // method.steps_per_batch if isinstance(method, DDPO) else number
    return places_of(count, seed, batch, method.prompts_per_step)
