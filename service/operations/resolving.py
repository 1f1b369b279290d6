"""From a request to a recipe: every name looked up, every prompt in one spelling. Nothing that a caller wrote is opened."""

from collections.abc import Sequence
from typing import TypeVar

from service.domain import scenes
from service.domain.catalogue import CONVOLUTIONAL, DIFFUSIONS, BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.errors import FieldError, InvalidRequest
from service.domain.methods import DDPO, Method, SharpeningRLHF, SharpeningSFT
from service.domain.methods.walks import only_in_noise
from service.domain.prompts import digest, fault, normalise
from service.domain.recipes import GUARD, JobRequest, Lora, Recipe, Samples, Validation, served
from service.domain.rewards import ClipReward, SceneReward
from service.operations.bringing import Faults, layout_of, start_of, without_pictures
from service.operations.shelf import Beginning, Pictures, Shelf

MAX_ERRORS = 20
"""Places listed in one refusal."""


def resolve(request: JobRequest, catalogue: Catalogue, shelf: Shelf) -> Recipe:
    """Raises InvalidRequest, with every place that is wrong; its code is the first one's."""
    faults: Faults = []
    base = _base(request, catalogue, faults)
    reward_model = _reward_model(request, catalogue, faults)
    if request.adapter_name in catalogue.bases:
        taken = FieldError("adapter_name", f"{request.adapter_name} is the name of a base model", "choose another name")
        faults.append(("adapter_name_taken", taken))
    pictures = shelf.pictures(request.images_file) if request.images_file else None
    inline = None if request.prompts is None else tuple(normalise(prompt) for prompt in request.prompts)
    place, prompts = _prompts(request, inline, pictures, shelf)
    samples, validation = _settled(request.samples, base), _settled(_validation(request), base)
    judged = ((place, prompts), ("validation.prompts", validation.prompts if validation else ()))
    for path, words in (("prompts", inline or ()), ("samples.prompts", samples.prompts), judged[1]):
        faults += [("invalid_prompt", error) for error in _unreadable(path, words)]
    if isinstance(request.reward, SceneReward) and not faults:
        faults += [("prompt_not_a_scene", error) for path, words in judged for error in _no_scenes(path, words)]
    faults += without_pictures(request, place, prompts, pictures)
    method: Method = request.method
    if isinstance(method, SharpeningSFT):
        method = method.settled(brings_pictures=pictures is not None)
        faults += _beyond_the_rollout(method)
    faults += _no_trajectory(method)
    if base is not None:
        method = method.at(base)
    start = start_of(request, base, shelf, faults)
    lora = _lora(request, base, start, faults)
    faults += _without_preview_decoder(request, base) + _too_noisy(method, base) + _in_pure_noise(method, base)
    if faults or base is None:
        code, first = faults[0]
        raise InvalidRequest(first.message, errors=tuple(error for _, error in faults[:MAX_ERRORS]), code=code)
    resolved = {
        **{name: getattr(request, name) for name in JobRequest.model_fields},
        "prompts": inline,
        "start_adapter": start.reference if start else None,
        "lora": lora,
        "method": method,
        "samples": samples,
        "validation": validation,
    }
    return Recipe(
        **resolved,
        base=base,
        reward_model=reward_model,
        prompts_sha256=digest(prompts),
        prompt_count=len(prompts),
        images_sha256=pictures.sha256 if pictures else None,
        image_count=len(pictures.captions) if pictures else 0,
        start_adapter_sha256=start.sha256 if start else None,
    )


Shown = TypeVar("Shown", Samples, Validation | None)


def _settled(shown: Shown, base: BaseModelEntry | None) -> Shown:
    """With each of its prompts in one spelling, and the base model's guidance and steps where none were chosen."""
    if shown is None or base is None:
        return shown
    guidance, steps = served(shown, base)
    prompts = tuple(normalise(prompt) for prompt in shown.prompts)
    return shown.model_copy(update={"prompts": prompts, "guidance": guidance, "num_inference_steps": steps})


def _validation(request: JobRequest) -> Validation | None:
    """None where there is to be none. A message cannot hold null, so `every` 0 says the same.

    Who only chooses the prompts or the turns of a guarded method's validation keeps its guard.
    """
    if request.method.guarded and "validation" not in request.model_fields_set:
        return GUARD
    given = request.validation if request.validation and request.validation.every else None
    if given is not None and request.method.guarded and "patience" not in given.model_fields_set:
        return given.model_copy(update={"patience": GUARD.patience})
    return given


def _prompts(
    request: JobRequest, inline: tuple[str, ...] | None, pictures: Pictures | None, shelf: Shelf
) -> tuple[str, tuple[str, ...]]:
    """(the field that gives them, the prompts)."""
    if inline is not None:
        return "prompts", inline
    if request.prompts_file is not None:
        return "prompts_file", shelf.prompts(request.prompts_file)
    assert pictures is not None, "the request has a source of prompts"
    return "images_file", pictures.prompts


def _base(request: JobRequest, catalogue: Catalogue, faults: Faults) -> BaseModelEntry | None:
    base = catalogue.bases.get(request.base_model)
    if base is None:
        error = _unknown("base_model", "base model", request.base_model, catalogue.bases)
        faults.append(("unknown_base_model", error))
    return base


def _without_preview_decoder(request: JobRequest, base: BaseModelEntry | None) -> Faults:
    if base is None or base.preview_decoder or request.method.preview == "vae":
        return []
    reason, remedy = f"{base.name} has no preview decoder", 'use "vae", or ask the operator for one'
    return [("no_preview_decoder", FieldError("method.preview", reason, remedy))]


def _too_noisy(method: Method, base: BaseModelEntry | None) -> Faults:
    """DDIM's next state has a variance of its own; η above 1 asks for more noise than that."""
    if base is None or base.family not in DIFFUSIONS or not isinstance(method, DDPO) or method.noise <= 1:
        return []
    reason = f"{method.noise:g} is more noise than a step of {base.name} ({base.family}, walked by DDIM) holds"
    return [("noise_level", FieldError("method.noise_level", reason, "send at most 1, DDPM's own noise"))]


def _in_pure_noise(method: Method, base: BaseModelEntry | None) -> Faults:
    """A flow's schedule begins without signal. Of the others the worker sees it, when the base model is loaded."""
    remedy = None if base is None or base.family in DIFFUSIONS else only_in_noise(method)
    if base is None or remedy is None:
        return []
    reason = f"the walks could only start in pure noise, where the schedule of {base.name} ({base.family}) begins"
    return [("walk_in_noise", FieldError("method.walk_steps", reason, remedy))]


def _beyond_the_rollout(method: SharpeningSFT) -> Faults:
    """Where the request left the states open: the method itself says so of those that it names."""
    if method.states != "rollout" or method.trajectory_length <= method.rollout_steps:
        return []
    reason = f"trajectory_length ({method.trajectory_length}) is above rollout_steps ({method.rollout_steps})"
    remedy = "lower the one or raise the other: a rollout has one state per step"
    return [(InvalidRequest.code, FieldError("method.trajectory_length", reason, remedy))]


def _no_trajectory(method: Method) -> Faults:
    """What judges the finished picture alone is not called sharpening. Recipes of the comparison and of older jobs may say so."""
    if (
        not isinstance(method, SharpeningRLHF | SharpeningSFT)
        or method.states != "rollout"
        or method.trajectory_length > 1
    ):
        return []
    same = "online-dpo" if isinstance(method, SharpeningRLHF) else "sft"
    reason = "of one state of a rollout the picture alone is judged, and no trajectory"
    return [
        (
            InvalidRequest.code,
            FieldError("method.trajectory_length", reason, f"choose the method {same}, or send 2 or more"),
        )
    ]


def _lora(request: JobRequest, base: BaseModelEntry | None, start: Beginning | None, faults: Faults) -> Lora:
    """What was not chosen of the layout is the start adapter's; targets, without one, are all that the family has."""
    lora = request.lora
    if start is not None:
        return layout_of(lora, start, faults)
    if base is None or base.family in CONVOLUTIONAL or "conv" not in lora.targets:
        return lora
    if "targets" in lora.model_fields_set:
        reason = f"{base.name} is a transformer ({base.family}): it has no convolution to adapt"
        faults.append(("lora_targets", FieldError("lora.targets", reason, 'leave "conv" out')))
    return lora.model_copy(update={"targets": tuple(target for target in lora.targets if target != "conv")})


def _reward_model(request: JobRequest, catalogue: Catalogue, faults: Faults) -> RewardModelEntry | None:
    if not isinstance(request.reward, ClipReward):
        return None
    fitting = {name: entry for name, entry in catalogue.rewards.items() if entry.type == request.reward.type}
    entry = fitting.get(request.reward.model)
    if entry is None:
        error = _unknown("reward.model", f"{request.reward.type} model", request.reward.model, fitting)
        faults.append(("unknown_reward_model", error))
    return entry


def _unknown(
    path: str, what: str, name: str, known: dict[str, BaseModelEntry] | dict[str, RewardModelEntry]
) -> FieldError:
    remedy = f"use one of the operator's catalogue: {', '.join(sorted(known)) or 'it has none'}"
    return FieldError(path, f"there is no {what} {name!r}", remedy)


def _unreadable(path: str, prompts: Sequence[str]) -> list[FieldError]:
    wrong = ((index, fault(prompt)) for index, prompt in enumerate(prompts))
    remedy = "write what the picture shows, in printable characters"
    return [FieldError(f"{path}.{index}", reason, remedy) for index, reason in wrong if reason]


def _no_scenes(path: str, prompts: Sequence[str]) -> list[FieldError]:
    remedy = f"write {scenes.GRAMMAR}, or choose another reward"
    return [
        FieldError(f"{path}.{index}", f"{prompt[:80]!r} is not a scene that the reward `scene` can judge", remedy)
        for index, prompt in enumerate(prompts)
        if not scenes.is_scene(prompt)
    ]
