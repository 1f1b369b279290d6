"""The states on which policy and reference are compared, and the gradient of the loss on them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.sharpening.objective import error, preference_logit, preference_loss
from worker.sharpening.rng import generator
from worker.sharpening.rollout import Candidates
from worker.sharpening.selection import Pairs
from worker.sharpening.world import Settings, World


@dataclass(frozen=True, slots=True)
class States:
    """K pairs at J noise levels, flat: Q = K·J rows, and in each row the best and the worst at the same (t, ε)."""

    prompt: Tensor  # int64 [Q]
    t: Tensor  # int64 [Q]
    noise: Tensor  # ε [Q, C, H, W]
    clean: Tensor  # x̂_0 of (best, worst) [Q, 2, C, H, W]

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, rows: slice) -> "States":
        return States(self.prompt[rows], self.t[rows], self.noise[rows], self.clean[rows])


@dataclass(frozen=True, slots=True)
class Comparison:
    """gradient has the shapes of θ; loss and logit are by state: [Q], on the CPU."""

    gradient: tuple[Tensor, ...]
    loss: Tensor
    logit: Tensor


def renoised(world: World, settings: Settings, update: int, found: Candidates, pairs: Pairs) -> States:
    """Every pair at J noise levels, one in each J-th part of the schedule above `least_noise`: fresh ε; t and ε shared within the pair."""
    levels = settings.timesteps_per_pair
    t, noise = [], []
    for prompt in pairs.prompt.tolist():
        spread = torch.rand(levels, generator=generator(settings.seed, update, prompt, "t"))
        share = settings.least_noise + (1 - settings.least_noise) * (torch.arange(levels) + spread) / levels
        t.append((share * world.train_timesteps).long())
        noise.append(
            torch.randn((levels, *world.latent_shape), generator=generator(settings.seed, update, prompt, "ε"))
        )
    chosen = torch.stack([found.clean[pairs.prompt, pairs.best], found.clean[pairs.prompt, pairs.worst]], dim=1)
    return States(
        prompt=pairs.prompt.repeat_interleave(levels).to(world.device),
        t=torch.cat(t).clamp(max=world.train_timesteps - 1).to(world.device),
        noise=torch.cat(noise).to(world.device),
        clean=chosen.repeat_interleave(levels, dim=0),
    )


def errors(world: World, settings: Settings, states: States) -> Tensor:
    """Mean squared error of the (guided) prediction at each state, for best and worst: [Q, 2]."""
    prompt, t, noise = (part.repeat_interleave(2, dim=0) for part in (states.prompt, states.t, states.noise))
    clean = states.clean.flatten(0, 1)
    prediction = world.denoise(world.renoise(clean, noise, t), t, prompt, settings.loss_guidance)
    return error(prediction, world.target(clean, noise, t)).view(-1, 2)


@torch.no_grad()
def reference_errors(world: World, settings: Settings, states: States) -> Tensor:
    """The same with the adapter off: [Q, 2]."""
    with world.reference():
        return torch.cat([errors(world, settings, part) for part in micro_batches(states, settings)])


def compare(world: World, settings: Settings, states: States, reference: Tensor, beta: float) -> Comparison:
    """∇θ of the mean over states of −log σ(−β(Δ_best − Δ_worst)), a micro-batch at a time."""
    gradient = tuple(torch.zeros_like(parameter) for parameter in world.parameters)
    losses, logits, start = [], [], 0
    for part in micro_batches(states, settings):
        policy = errors(world, settings, part)
        logit = preference_logit(policy, reference[start : start + len(part)], beta)
        loss = preference_loss(logit)
        terms = torch.autograd.grad(loss.sum() / len(states), world.parameters)
        gradient = tuple(total + term for total, term in zip(gradient, terms, strict=True))
        losses.append(loss.detach())
        logits.append(logit.detach())
        start += len(part)
    return Comparison(gradient, torch.cat(losses).cpu(), torch.cat(logits).cpu())


def micro_batches(states: States, settings: Settings) -> list[States]:
    """A state is two rows of the denoiser's batch."""
    size = max(1, settings.micro_batch // 2)
    return [states[start : start + size] for start in range(0, len(states), size)]
