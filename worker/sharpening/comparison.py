"""The states on which policy and reference are compared, and the gradient of the preference loss on them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.sharpening.gradient import accumulated
from worker.sharpening.objective import error, preference_logit, preference_loss
from worker.sharpening.rng import generator
from worker.sharpening.selection import Chosen
from worker.sharpening.world import Settings, World


@dataclass(frozen=True, slots=True)
class States:
    """The chosen of K prompts at J noise levels, flat: Q = K·J rows, and in each row c candidates at the same (t, ε)."""

    prompt: Tensor  # int64 [Q]
    t: Tensor  # int64 [Q]
    noise: Tensor  # ε [Q, C, H, W]
    clean: Tensor  # x̂_0 [Q, c, C, H, W]
    weight: Tensor  # float32 [Q, c]

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, rows: slice) -> "States":
        return States(self.prompt[rows], self.t[rows], self.noise[rows], self.clean[rows], self.weight[rows])


@dataclass(frozen=True, slots=True)
class Comparison:
    """gradient has the shapes of θ; loss and logit are by state: [Q], on the CPU."""

    gradient: tuple[Tensor, ...]
    loss: Tensor
    logit: Tensor


def renoised(world: World, settings: Settings, update: int, clean: Tensor, chosen: Chosen) -> States:
    """The chosen among `clean` [P, n, C, H, W] at J noise levels, one in each J-th part of the schedule above
    `least_noise`: fresh ε; t and ε are shared by all candidates of a prompt."""
    levels = settings.levels
    t, noise = [], []
    for prompt in chosen.prompt.tolist():
        spread = torch.rand(levels, generator=generator(settings.seed, update, prompt, "t"))
        share = settings.least_noise + (1 - settings.least_noise) * (torch.arange(levels) + spread) / levels
        t.append((share * world.train_timesteps).long())
        noise.append(
            torch.randn((levels, *world.latent_shape), generator=generator(settings.seed, update, prompt, "ε"))
        )
    picked = clean[chosen.prompt.unsqueeze(1), chosen.place]
    return States(
        prompt=chosen.prompt.repeat_interleave(levels).to(world.device),
        t=torch.cat(t).clamp(max=world.train_timesteps - 1).to(world.device),
        noise=torch.cat(noise).to(world.device),
        clean=picked.repeat_interleave(levels, dim=0),
        weight=chosen.weight.float().repeat_interleave(levels, dim=0).to(world.device),
    )


def predictions(world: World, settings: Settings, states: States) -> tuple[Tensor, Tensor]:
    """(prediction, target) at each state for each candidate: both [Q·c, C, H, W]"""
    c = states.clean.shape[1]
    prompt, t, noise = (part.repeat_interleave(c, dim=0) for part in (states.prompt, states.t, states.noise))
    clean = states.clean.flatten(0, 1)
    prediction = world.denoise(world.renoise(clean, noise, t), t, prompt, settings.loss_guidance)
    return prediction, world.target(clean, noise, t)


def errors(world: World, settings: Settings, states: States) -> Tensor:
    """Mean squared error of the (guided) prediction at each state, for each candidate: [Q, c]"""
    return error(*predictions(world, settings, states)).view(len(states), -1)


@torch.no_grad()
def reference_errors(world: World, settings: Settings, states: States) -> Tensor:
    """The same with the adapter off: [Q, c]"""
    size = states_a_call(states, settings)
    with world.reference():
        return torch.cat(
            [errors(world, settings, states[start : start + size]) for start in range(0, len(states), size)]
        )


def compare(world: World, settings: Settings, states: States, reference: Tensor, beta: float) -> Comparison:
    """∇θ of the mean over states of −log σ(−β Σ w·Δ), a micro-batch at a time."""

    def terms(rows: slice) -> tuple[Tensor, ...]:
        part = states[rows]
        logit = preference_logit(errors(world, settings, part), reference[rows], part.weight, beta)
        return preference_loss(logit), logit

    gradient, (loss, logit) = accumulated(world, len(states), states_a_call(states, settings), terms)
    return Comparison(gradient, loss, logit)


def states_a_call(states: States, settings: Settings) -> int:
    """A state is c rows of the denoiser's batch."""
    return max(1, settings.micro_batch // states.clean.shape[1])
