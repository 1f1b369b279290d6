"""Does what a request brings along fit it: pictures the prompts and the method, an adapter the base model and the layout."""

from collections.abc import Sequence

from service.domain.catalogue import BaseModelEntry
from service.domain.errors import FieldError
from service.domain.methods import SharpeningSFT
from service.domain.recipes import JobRequest, Lora
from service.operations.shelf import Beginning, Pictures, Shelf

Faults = list[tuple[str, FieldError]]
"""(code, place, message and remedy) of each."""


def without_pictures(request: JobRequest, place: str, prompts: Sequence[str], pictures: Pictures | None) -> Faults:
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


def start_of(request: JobRequest, base: BaseModelEntry | None, shelf: Shelf, faults: Faults) -> Beginning | None:
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


def layout_of(lora: Lora, start: Beginning, faults: Faults) -> Lora:
    """The start adapter's; what was chosen must be that."""
    before = start.recipe.lora
    if "rank" in lora.model_fields_set and lora.rank != before.rank:
        message, remedy = f"{start.reference} has rank {before.rank}", f"set it to {before.rank}, or leave it out"
        faults.append(("start_adapter_layout", FieldError("lora.rank", message, remedy)))
    if "targets" in lora.model_fields_set and set(lora.targets) != set(before.targets):
        named = ", ".join(before.targets)
        message, remedy = f"{start.reference} has the targets {named}", f"set them to {named}, or leave them out"
        faults.append(("start_adapter_layout", FieldError("lora.targets", message, remedy)))
    return before
