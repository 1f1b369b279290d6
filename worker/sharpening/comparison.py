"""The states on which policy and reference are compared, and the gradient of the preference loss on them.

A state is c pictures of the denoiser's batch, and its log σ needs the errors of all c. As many whole states as fit go into
one call; where not even one does (c > micro_batch), its pictures are taken one by one (`chained`, one more forward each).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.sharpening.gradient import accumulated, chained, measured
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

    @property
    def pictures(self) -> int:
        """Q·c: every candidate at every state."""
        return len(self.weight.flatten())

    def alone(self, rows: slice) -> "States":
        """Of the Q·c pictures, state by state, these rows: each a state of its own with one candidate."""
        picture = torch.arange(rows.start, rows.stop, device=self.clean.device)
        state = picture // self.clean.shape[1]
        clean, weight = self.clean.flatten(0, 1)[picture], self.weight.flatten()[picture]
        return States(self.prompt[state], self.t[state], self.noise[state], clean.unsqueeze(1), weight.unsqueeze(1))


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


def reference_errors(world: World, settings: Settings, states: States) -> Tensor:
    """The same with the adapter off, without gradients: [Q, c]"""
    with world.reference():
        if fits(states, settings):
            size = states_a_call(states, settings)
            return measured(len(states), size, lambda rows: errors(world, settings, states[rows]))
        alone = measured(
            states.pictures, settings.micro_batch, lambda rows: errors(world, settings, states.alone(rows))
        )
    return alone.view(len(states), -1)


def compare(world: World, settings: Settings, states: States, reference: Tensor, beta: float) -> Comparison:
    """∇θ of the mean over states of −log σ(−β Σ w·Δ), a micro-batch at a time."""

    def terms(policy: Tensor, rows: slice) -> tuple[Tensor, ...]:
        logit = preference_logit(policy, reference[rows], states.weight[rows], beta)
        return preference_loss(logit), logit

    if fits(states, settings):
        gradient, (loss, logit) = accumulated(
            world, len(states), states_a_call(states, settings),
            lambda rows: terms(errors(world, settings, states[rows]), rows),
        )  # fmt: skip
    else:
        gradient, (loss, logit) = chained(
            world, states.pictures, settings.micro_batch,
            lambda rows: errors(world, settings, states.alone(rows)).squeeze(1),
            lambda policy: terms(policy.view(len(states), -1), slice(None)),
        )  # fmt: skip
    return Comparison(gradient, loss, logit)


def fits(states: States, settings: Settings) -> bool:
    """Whether one call takes all candidates of a state."""
    return states.clean.shape[1] <= settings.micro_batch


def states_a_call(states: States, settings: Settings) -> int:
    """Where one fits: a state is c pictures of the denoiser's batch."""
    return settings.micro_batch // states.clean.shape[1]
