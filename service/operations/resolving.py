"""From a request to a recipe: every name looked up, every prompt in one spelling. Nothing that a caller wrote is opened."""

from collections.abc import Sequence

from service.domain import scenes
from service.domain.catalogue import CONVOLUTIONAL, BaseModelEntry, Catalogue, RewardModelEntry
from service.domain.errors import FieldError, InvalidRequest
from service.domain.methods import SharpeningSFT
from service.domain.prompts import digest, fault, normalise
from service.domain.recipes import JobRequest, Lora, Recipe
from service.domain.rewards import ClipReward, SceneReward
from service.operations.shelf import Beginning, Pictures, Shelf

MAX_ERRORS = 20
"""Places listed in one refusal."""


def resolve(request: JobRequest, catalogue: Catalogue, shelf: Shelf) -> Recipe:
    """Raises InvalidRequest, with every place that is wrong; its code is the first one's."""
    faults: list[tuple[str, FieldError]] = []
    base = _base(request, catalogue, faults)
    reward_model = _reward_model(request, catalogue, faults)
    if request.adapter_name in catalogue.bases:
        taken = FieldError("adapter_name", f"{request.adapter_name} is the name of a base model", "choose another name")
        faults.append(("adapter_name_taken", taken))
    pictures = shelf.pictures(request.images_file) if request.images_file else None
    inline = None if request.prompts is None else tuple(normalise(prompt) for prompt in request.prompts)
    place, prompts = _prompts(request, inline, pictures, shelf)
    samples = tuple(normalise(prompt) for prompt in request.samples.prompts)
    for path, words in (("prompts", inline or ()), ("samples.prompts", samples)):
        faults += [("invalid_prompt", error) for error in _unreadable(path, words)]
    if isinstance(request.reward, SceneReward) and not faults:
        faults += [("prompt_not_a_scene", error) for error in _no_scenes(place, prompts)]
    faults += _without_pictures(request, place, prompts, pictures)
    start = _start(request, base, shelf, faults)
    lora = _lora(request, base, start, faults)
    faults += _without_preview_decoder(request, base)
    if faults or base is None:
        code, first = faults[0]
        raise InvalidRequest(first.message, errors=tuple(error for _, error in faults[:MAX_ERRORS]), code=code)
    resolved = {
        **{name: getattr(request, name) for name in JobRequest.model_fields},
        "prompts": inline,
        "start_adapter": start.reference if start else None,
        "lora": lora,
        "samples": request.samples.model_copy(update={"prompts": samples}),
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


def _base(request: JobRequest, catalogue: Catalogue, faults: list[tuple[str, FieldError]]) -> BaseModelEntry | None:
    base = catalogue.bases.get(request.base_model)
    if base is None:
        error = _unknown("base_model", "base model", request.base_model, catalogue.bases)
        faults.append(("unknown_base_model", error))
    return base


def _without_pictures(
    request: JobRequest, place: str, prompts: Sequence[str], pictures: Pictures | None
) -> list[tuple[str, FieldError]]:
    """A picture that no prompt asks for is passed over; where none is asked for, that is a mistake.

    Noisings are of a prompt's own picture, so each prompt needs one; other groups are filled up by the base model.
    """
    method = request.method
    captions = set(pictures.captions) if pictures else set[str]()
    if not isinstance(method, SharpeningSFT) or method.selection_among != "noisings":
        if pictures is None or captions.intersection(prompts):
            return []
        message = f"none of its {len(pictures.captions)} pictures has a caption that is one of the prompts"
        remedy = f"write the captions as {place} has them, or leave {place} out: then the captions are the prompts"
        return [("images_unused", FieldError("images_file", message, remedy))]
    if pictures is None:
        message = "noisings of a prompt's own picture are to be compared, and no pictures are given"
        remedy = "name an archive of pictures in images_file, or set selection_among to images"
        return [("prompt_without_picture", FieldError("method.selection_among", message, remedy))]
    remedy = "add a picture with this caption, leave the prompt out, or set method.selection_among to images"
    return [
        ("prompt_without_picture", FieldError(f"{place}.{index}", f"{prompt[:80]!r} has no picture of its own", remedy))
        for index, prompt in enumerate(prompts)
        if prompt not in captions
    ]


def _start(
    request: JobRequest, base: BaseModelEntry | None, shelf: Shelf, faults: list[tuple[str, FieldError]]
) -> Beginning | None:
    """The adapter to begin with, if it is of the very base model that the job is to train on."""
    if request.start_adapter is None:
        return None
    start = shelf.adapter(request.start_adapter)
    of = start.recipe.base
    if base is None or (of.name, of.family, of.revision) == (base.name, base.family, base.revision):
        return start
    message = f"{start.reference} was trained on {of.name}, and this job's base model is {base.name}"
    remedy = f"choose an adapter of {base.name}, or base_model {of.name}"
    if of.name == base.name:
        message = f"{start.reference} was trained on another revision of {base.name}"
        remedy = "leave start_adapter out, or ask the operator for the revision that it was trained on"
    faults.append(("start_adapter_base", FieldError("start_adapter", message, remedy)))
    return None


def _without_preview_decoder(request: JobRequest, base: BaseModelEntry | None) -> list[tuple[str, FieldError]]:
    if base is None or base.preview_decoder or request.method.preview == "vae":
        return []
    reason, remedy = f"{base.name} has no preview decoder", 'use "vae", or ask the operator for one'
    return [("no_preview_decoder", FieldError("method.preview", reason, remedy))]


def _lora(
    request: JobRequest, base: BaseModelEntry | None, start: Beginning | None, faults: list[tuple[str, FieldError]]
) -> Lora:
    """What was not chosen of the layout is the start adapter's; targets, without one, are all that the family has."""
    lora = request.lora
    if start is not None:
        return _as_before(lora, start, faults)
    if base is None or base.family in CONVOLUTIONAL or "conv" not in lora.targets:
        return lora
    if "targets" in lora.model_fields_set:
        reason = f"{base.name} is a transformer ({base.family}): it has no convolution to adapt"
        faults.append(("lora_targets", FieldError("lora.targets", reason, 'leave "conv" out')))
    return lora.model_copy(update={"targets": tuple(target for target in lora.targets if target != "conv")})


def _as_before(lora: Lora, start: Beginning, faults: list[tuple[str, FieldError]]) -> Lora:
    before = start.recipe.lora
    if "rank" in lora.model_fields_set and lora.rank != before.rank:
        message, remedy = f"{start.reference} has rank {before.rank}", f"set it to {before.rank}, or leave it out"
        faults.append(("start_adapter_layout", FieldError("lora.rank", message, remedy)))
    if "targets" in lora.model_fields_set and set(lora.targets) != set(before.targets):
        named = ", ".join(before.targets)
        message, remedy = f"{start.reference} has the targets {named}", f"set them to {named}, or leave them out"
        faults.append(("start_adapter_layout", FieldError("lora.targets", message, remedy)))
    return before


def _reward_model(
    request: JobRequest, catalogue: Catalogue, faults: list[tuple[str, FieldError]]
) -> RewardModelEntry | None:
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
