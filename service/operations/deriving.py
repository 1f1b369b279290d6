"""Jobs made from a job: a clone is its request with overrides; a certificate is its recipe with steps to replay."""

import json
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import pairwise
from typing import Any, Never

from service.domain.artifacts import Artifact
from service.domain.catalogue import Catalogue
from service.domain.errors import Conflict, FieldError, InvalidRequest
from service.domain.jobs import Job, Kind
from service.domain.offers import unknown_model
from service.domain.recipes import CertificateRequest, JobRequest, Recipe, Replay

TAGGED = ("reward", "method")
"""Fields whose `type` says which other fields they have."""
OF_THE_BASE = {
    "method": ("learning_rate", "noise_level"),
    "samples": ("guidance", "num_inference_steps"),
    "validation": ("guidance", "num_inference_steps"),
}
"""What goes with a base model, and is settled by it where a request leaves it open."""


def clone_request(parent: Job, overrides: Mapping[str, Any], read: Callable[[bytes], JobRequest]) -> JobRequest:
    """The parent's request with the overrides merged in (JSON Merge Patch, RFC 7396), read whole by `read`.

    Beyond the RFC: where an override changes the type of the reward or of the method, nothing of the old one's is kept,
    for its fields mean nothing to the new; and where it names
    another base model, what goes with one is the new one's unless it is named too.

    Raises InvalidRequest, as for a posted body; Conflict for a certificate.
    """
    if parent.kind is Kind.CERTIFICATE:
        raise Conflict("a certificate cannot be cloned: ask for another of its parent", code="cannot_clone")
    request = parent.recipe.model_dump(mode="json", include=set(JobRequest.model_fields))
    for name in TAGGED:
        given = overrides.get(name)
        if isinstance(given, Mapping) and given.get("type", request[name]["type"]) != request[name]["type"]:
            request[name] = {}
    if overrides.get("base_model", request["base_model"]) != request["base_model"]:
        for name, fields in OF_THE_BASE.items():
            request[name] = request[name] and {key: value for key, value in request[name].items() if key not in fields}
    return read(json.dumps(merged(request, overrides)).encode())


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2: objects are merged by name, null takes a name out, all else replaces."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def check_models(recipe: Recipe, catalogue: Catalogue, remedy: str) -> None:
    """Raises Conflict unless the catalogue still has the models that the recipe was posted with, as far as bits go.

    Its job would wait for a worker that has them, and no worker of this catalogue does.
    """
    if (unknown := unknown_model(recipe, catalogue)) is not None:
        what, found = unknown
        raise Conflict(
            f"the job was posted with {what}, and the catalogue has {found} now: have the operator bring the entry back (its source, "
            f"revision, family and resolution), {remedy}",
            code="catalogue_changed",
        )


def certificate_recipe(
    parent: Job, asked: CertificateRequest, checkpoints: Sequence[Artifact], trained: Set[int]
) -> Recipe:
    """The parent's recipe with what is to be replayed. Raises Conflict and InvalidRequest, which name what is stored.

    `trained`: the attempts that told of a step or a checkpoint, by what is still known of that.
    """
    stored = {each.step: each for each in sorted(checkpoints, key=lambda each: (each.step, each.fence))}
    if parent.kind is Kind.CERTIFICATE or len(stored) < 2:
        raise Conflict(
            f"a certificate needs two stored checkpoints, and this job has {len(stored)}: let it train on, or clone it "
            "with a smaller checkpoint_every",
            code="too_few_checkpoints",
        )
    begin, end = _span(asked, list(stored))
    first, last = stored[begin].fence, stored[end].fence
    # Who told nothing has no part in these steps, unless what was told then has been trimmed.
    idle = {each.fence for each in parent.attempts} - trained - {each.fence for each in checkpoints}
    _check_devices(parent, range(first, last + 1), idle if first in trained else frozenset())
    replay = Replay(
        checkpoint_step=begin, checkpoint_fence=stored[begin].fence, to_step=end, expected_sha256=stored[end].sha256
    )
    own: dict[str, Any] = {
        "priority": asked.priority,
        "adapter_name": None,
        "max_seconds": None,
        "max_nfe": None,
        "metadata": {},
    }
    return parent.recipe.model_copy(update={**own, "parent_id": parent.id, "replay": replay})


def _check_devices(parent: Job, between: range, idle: Set[int]) -> None:
    """A GPU's bits are promised to nobody: not those of the steps that are replayed, nor those of the replay."""
    at_work = [each.device for each in parent.attempts if each.fence in between and each.fence not in idle]
    others = [device for device in at_work if device and not device.startswith("cpu")]
    if others:
        raise Conflict(
            f"steps between these checkpoints were trained on {others[0]}, and bits are promised on the same kind of CPU only: "
            "certify a job whose worker trains on the CPU (STROP_DEVICE=cpu)",
            code="not_trained_on_cpu",
        )


def _span(asked: CertificateRequest, stored: list[int]) -> tuple[int, int]:
    """(from, to) among the stored steps, which ascend."""
    after = dict(pairwise(stored))
    ends = {step: step + asked.steps for step in stored if step + asked.steps in stored} if asked.steps else after
    if asked.from_step is None:
        if not ends:
            _refuse("steps", f"no two stored checkpoints are {asked.steps} steps apart", stored)
        begin = max(ends)
    elif asked.from_step not in after:
        _refuse("from_step", f"no checkpoint with one after it is stored at step {asked.from_step}", stored)
    elif asked.from_step not in ends:
        _refuse("steps", f"no checkpoint is stored {asked.steps} steps after step {asked.from_step}", stored)
    else:
        begin = asked.from_step
    return begin, ends[begin]


def _refuse(path: str, message: str, stored: list[int]) -> Never:
    remedy = f"go from one to a later one of the stored steps: {', '.join(map(str, stored[-20:]))}"
    raise InvalidRequest(message, errors=(FieldError(path, message, remedy),), code="unknown_checkpoint")
