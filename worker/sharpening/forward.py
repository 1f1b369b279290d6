"""Forward-process policy optimisation as in DiffusionNFT (arXiv 2509.16117): a rival that uses every candidate.

For each prompt c:
  1. draw n pictures with the old policy, reward each finished one
  2. r = ½ + ½ clip((R − mean R)/Z, −1, 1), the mean over the prompt's n, Z the standard deviation over the update
  3. at J levels (t, ε): v⁺ = (1 − β) v_old + β v_θ,  v⁻ = (1 + β) v_old − β v_θ        (implicit policies, their Eq. 6)
  4. L = r ‖v⁺ − v‖² + (1 − r) ‖v⁻ − v‖² + a ‖v_θ − v_ref‖², each divided by the old policy's own error at that state
  5. old ← η old + (1 − η) θ, at the start of the next update
v stands for whatever the model predicts. Step 4's unit is the same as sharpening's, so that levels weigh alike. The anchor
is the KL penalty that implementations of it have: without, what holds v_θ is the old policy alone, which follows it, and a long training leaves the base until
pictures get worse (docs/experiments.md).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from worker.sharpening.comparison import States, fits, predictions, renoised, states_a_call
from worker.sharpening.gradient import accumulated, measured
from worker.sharpening.objective import error
from worker.sharpening.offline import everyone
from worker.sharpening.rollout import candidate_seeds, search
from worker.sharpening.selection import TIE
from worker.sharpening.update import Memory, Step, judged
from worker.sharpening.world import Settings, World


def forward_step(  # noqa: PLR0917 — three hyper-parameters, then what every method takes
    settings: Settings,
    mix: float,
    old_decay: float,
    anchor: float,
    world: World,
    memory: Memory,
    update: int,
    prompts: Sequence[int],
) -> Step:
    """One update."""
    old = moved(world, memory, old_decay)
    memory = replace(memory, tensors={f"old/{place}": value for place, value in enumerate(old)})
    with world.wearing(old):
        found = search(world, settings, candidate_seeds(settings, update, len(prompts)))
    rewards = found.rewards[..., -1]
    ties = int((rewards.amax(dim=1) - rewards.amin(dim=1) <= TIE).sum())
    seen = replace(judged(rewards), ties=ties)
    if ties == len(prompts):
        return Step(None, memory, seen)
    chosen = replace(everyone(tuple(rewards.shape)), weight=optimality(rewards))
    states = renoised(world, settings, update, found.clean, chosen)
    gradient, loss = gradient_of(world, settings, states, old, mix, anchor)
    return Step(gradient, memory, replace(seen, loss=loss))


def gradient_of(  # noqa: PLR0917 — what is learned from, then how
    world: World, settings: Settings, states: States, old: tuple[Tensor, ...], mix: float, anchor: float
) -> tuple[tuple[Tensor, ...], float]:
    """(∇θ of the mean over states and candidates of step 4's L, that mean), a micro-batch at a time."""

    def former(part: States) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), world.wearing(old):
            return predictions(world, settings, part)

    def loss_of(part: States, before: Tensor, target: Tensor, unit: Tensor) -> Tensor:
        now, _ = predictions(world, settings, part)
        towards = error(before + mix * (now - before), target).view(len(part), -1)
        away = error(before - mix * (now - before), target).view(len(part), -1)
        loss = part.weight * towards + (1 - part.weight) * away
        if anchor:
            with torch.no_grad(), world.reference():
                base, _ = predictions(world, settings, part)
            loss = loss + anchor * error(now, base).view(len(part), -1)
        return (loss / unit).mean(dim=1)

    def terms(rows: slice) -> tuple[Tensor, ...]:
        part = states[rows]
        before, target = former(part)
        return (loss_of(part, before, target, error(before, target).view(len(part), -1).mean(dim=1, keepdim=True)),)

    if fits(states, settings):
        gradient, (loss,) = accumulated(world, len(states), states_a_call(states, settings), terms)
        return gradient, loss.mean().item()

    # The unit needs a state's candidates together; with it known, L is a sum over them. What the old policy said is kept
    # for that: no forward is paid twice.
    said = measured(states.pictures, settings.micro_batch, lambda rows: former(states.alone(rows))[0])

    def target_of(part: States) -> Tensor:
        return world.target(part.clean.flatten(0, 1), part.noise, part.t)

    own = measured(states.pictures, settings.micro_batch, lambda rows: error(said[rows], target_of(states.alone(rows))))
    c = states.clean.shape[1]
    unit = own.view(-1, c).mean(dim=1).repeat_interleave(c).unsqueeze(1)

    def alone(rows: slice) -> tuple[Tensor, ...]:
        part = states.alone(rows)
        return (loss_of(part, said[rows], target_of(part), unit[rows]),)

    gradient, (loss,) = accumulated(world, states.pictures, settings.micro_batch, alone)
    return gradient, loss.mean().item()


def moved(world: World, memory: Memory, decay: float) -> tuple[Tensor, ...]:
    """The old policy's θ as it is in this update; in the first it is θ."""
    now = tuple(parameter.detach().clone() for parameter in world.parameters)
    if "old/0" not in memory.tensors:
        return now
    return tuple(memory.tensors[f"old/{place}"].to(value).lerp(value, 1 - decay) for place, value in enumerate(now))


def optimality(rewards: Tensor) -> Tensor:
    """r in [0, 1] from R [P, n]: above ½ is better than the prompt's mean."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return 0.5 + 0.5 * (centred / centred.std().clamp(min=TIE)).clamp(-1, 1)
