"""From chosen pictures to the gradient of the preference loss: what sharpening-rlhf, online DPO and Diffusion-DPO share."""

from dataclasses import replace

from torch import Tensor

from worker.sharpening.beta import calibrated
from worker.sharpening.comparison import Comparison, compare, reference_errors, renoised
from worker.sharpening.objective import unit
from worker.sharpening.selection import Chosen
from worker.sharpening.update import Memory, Metrics, Step
from worker.sharpening.world import Settings, World


def prefer(  # noqa: PLR0917 — an update's parts, in their order
    world: World, settings: Settings, memory: Memory, update: int, clean: Tensor, chosen: Chosen, seen: Metrics
) -> Step:
    """Make the chosen of `clean` [P, n, C, H, W] likelier, or less, than under the reference, as their weights say."""
    if not len(chosen):
        return Step(None, memory, seen)
    states = renoised(world, settings, update, clean, chosen)
    reference = reference_errors(world, settings, states)
    gaps = (states.weight * reference).sum(dim=1) / unit(reference, states.weight).squeeze(1)
    beta = calibrated(memory.beta, update, gaps)
    compared = compare(world, settings, states, reference, beta.value)
    return Step(compared.gradient, replace(memory, beta=beta), compared_metrics(seen, compared))


def compared_metrics(seen: Metrics, compared: Comparison) -> Metrics:
    return replace(
        seen,
        loss=compared.loss.mean().item(),
        preference=compared.logit.abs().median().item(),
        accuracy=(compared.logit > 0).double().mean().item(),
    )
