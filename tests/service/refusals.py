"""Bad input, one table for every face: the same code, the same place and the same remedy, whichever face is asked.

A row is what a caller gets wrong, in the words of the JSON that REST takes. `not_grpc` says why a message cannot hold it;
tests/service/rpc/test_refusals.py checks that it really cannot.
"""

from dataclasses import dataclass
from typing import Any

from service.wire.guard import MAX_BODY
from tests.service.running import KEY

METHOD = {"type": "sharpening-rlhf"}
SFT = {"type": "sharpening-sft"}
CLIP = {"type": "clip", "model": "shapes-clip"}
NO_FILE = "file_" + "0" * 26
NO_JOB = "job_" + "0" * 26
FINISHED = "the id of a job that has failed"
USED = "a-key-that-made-a-job"
INVALID = "invalid_request"

NO_FIELD = "a message has no field of that name"
NO_EMPTY_LIST = "in a message an empty list is no list"
TYPED = "the field's type takes nothing of that kind"
UTF_8 = "a message's strings are UTF-8"


@dataclass(frozen=True)
class Refusal:
    """`verb` create: `given` changes a good body; here and in an alias `...` takes a field out. `path` "": no field is to blame."""

    verb: str
    given: dict[str, Any]
    code: str
    path: str = ""
    remedy: str = ""
    not_grpc: str = ""
    status: int = 422
    key: str | None = KEY
    idempotency_key: str | None = None


def create(given: dict[str, Any], code: str, path: str, remedy: str, not_grpc: str = "") -> Refusal:
    return Refusal("create", given, code, path, remedy, not_grpc)


def alias(
    given: dict[str, Any], code: str, path: str = "", remedy: str = "", not_grpc: str = "", **more: Any
) -> Refusal:
    whole = {"name": "red", "alias": "stable", "version": 1, **given}
    return Refusal("alias", whole, code, path, remedy, not_grpc, **more)


def unfit_key(key: str) -> Refusal:
    code, remedy = "invalid_idempotency_key", "send 1 to 255 printable ASCII characters"
    return Refusal("create", {}, code, "Idempotency-Key", remedy, idempotency_key=key)


REFUSALS: dict[str, Refusal] = {
    "an unknown field": create({"epochs": 3}, INVALID, "epochs", "remove it; known here: base_model", NO_FIELD),
    "an unknown field, nearly right": create({"promts": ["x"]}, INVALID, "promts", "remove it, or did you mean prompts?", NO_FIELD),
    "an unknown hyper-parameter": create({"method": {**METHOD, "m": 2}}, INVALID, "method.m", "remove it"),
    "no base model": create({"base_model": ...}, INVALID, "base_model", "add it: Name of a base model"),
    "no reward": create({"reward": ...}, INVALID, "reward", "add it: What is searched for"),
    "no prompts": create({"prompts": ...}, INVALID, "prompts", "give either prompts or prompts_file"),
    "an empty list of prompts": create({"prompts": []}, INVALID, "prompts", "send 1 to 100000 of them", NO_EMPTY_LIST),
    "an empty prompt": create({"prompts": ["a red circle", ""]}, INVALID, "prompts.1", "send 1 to 2000 characters"),
    "a blank prompt": create({"prompts": [" \t\n"]}, INVALID, "prompts.0", "send 1 to 2000 characters"),
    "an over-long prompt": create({"prompts": ["x" * 2001]}, INVALID, "prompts.0", "send 1 to 2000 characters"),
    "a prompt with control characters": create({"prompts": ["a\x1b[31mb"]}, "invalid_prompt", "prompts.0", "write what the picture"),
    "a prompt that is a number": create({"prompts": [3]}, INVALID, "prompts.0", "send a string", TYPED),
    "a prompt where a list belongs": create({"prompts": "a red circle"}, INVALID, "prompts", "send an array", TYPED),
    "both prompts and a file": create({"prompts_file": NO_FILE}, INVALID, "prompts", "give either prompts"),
    "an unknown file": create({"prompts": ..., "prompts_file": NO_FILE}, "unknown_file", "prompts_file", "upload it first: POST /files"),
    "a path for a file": create({"prompts": ..., "prompts_file": "/etc/passwd"}, INVALID, "prompts_file", "use the id that POST /files gave"),
    "a URL for a file": create({"prompts": ..., "prompts_file": "http://127.0.0.1/x"}, INVALID, "prompts_file", "use the id that POST /files gave"),
    "pictures for a method without use for them": create(
        {"images_file": NO_FILE}, INVALID, "images_file", "leave it out, or choose the method sharpening-sft"
    ),
    "neither prompts nor pictures": create({"prompts": ..., "method": SFT}, INVALID, "prompts", "give either prompts or prompts_file, or images_file"),
    "unknown pictures": create({"method": SFT, "images_file": NO_FILE}, "unknown_file", "images_file", "upload it first: POST /files"),
    "a path for pictures": create({"method": SFT, "images_file": "../a.zip"}, INVALID, "images_file", "use the id that POST /files gave"),
    "rollouts of pictures that had none": create(
        {"method": {**SFT, "states": "rollout"}, "images_file": NO_FILE}, INVALID, "images_file", "leave method.states out"
    ),
    "rollouts of noisings": create(
        {"method": {**SFT, "states": "rollout", "selection_among": "noisings"}}, INVALID, "method.states", "leave states out, or selection_among"
    ),
    "more states than a rollout has": create(
        {"method": {**SFT, "trajectory_length": 9}}, INVALID, "method.trajectory_length", "lower the one or raise the other"
    ),
    "noisings without pictures": create(
        {"method": {**SFT, "selection_among": "noisings"}}, "prompt_without_picture", "method.selection_among", "name an archive of pictures"
    ),
    "an unknown adapter to begin with": create({"start_adapter": "red@2"}, "unknown_adapter", "start_adapter", "use the name, or name@version"),
    "a path for an adapter to begin with": create({"start_adapter": "/tmp/a.safetensors"}, "unknown_adapter", "start_adapter", "use the name"),
    "a base model for an adapter to begin with": create({"start_adapter": "shapes"}, "unknown_adapter", "start_adapter", "use the name"),
    "an empty name of an adapter to begin with": create({"start_adapter": ""}, INVALID, "start_adapter", "send 1 to 128 characters"),
    "an unknown base model": create({"base_model": "sd3"}, "unknown_base_model", "base_model", "use one of the operator's catalogue: shapes"),
    "a path for a base model": create({"base_model": "/models/sd15"}, "unknown_base_model", "base_model", "use one of"),
    "a path upwards for a base model": create({"base_model": "../base"}, "unknown_base_model", "base_model", "use one of"),
    "a URL for a base model": create({"base_model": "https://evil.example/m"}, "unknown_base_model", "base_model", "use one of"),
    "a hub id for a base model": create({"base_model": "stabilityai/sdxl"}, "unknown_base_model", "base_model", "use one of"),
    "a reward model for a base model": create({"base_model": "shapes-clip"}, "unknown_base_model", "base_model", "use one of"),
    "an unknown reward": create({"reward": {"type": "beauty"}}, INVALID, "reward.type", "choose one of clip"),
    "a reward without a type": create({"reward": {"model": "shapes-clip"}}, INVALID, "reward.type", "choose one of clip"),
    "a reward as a word": create({"reward": "clip"}, INVALID, "reward", "send an object", TYPED),
    "a reward without its model": create({"reward": {"type": "clip"}}, INVALID, "reward.model", "add it"),
    "an unknown reward model": create(
        {"reward": {"type": "clip", "model": "big"}}, "unknown_reward_model", "reward.model", "use one of the operator's catalogue: shapes-clip"
    ),
    "a path for a reward model": create({"reward": {"type": "clip", "model": "../clip"}}, "unknown_reward_model", "reward.model", "use one of"),
    "a parameter of another reward": create({"reward": {**CLIP, "quality": 5}}, INVALID, "reward.quality", "remove it"),
    "a prompt that is no scene": create({"reward": {"type": "scene"}, "prompts": ["a red circle", "a cat"]}, "prompt_not_a_scene", "prompts.1", "write "),
    "a validation prompt that is no scene": create(
        {"reward": {"type": "scene"}, "prompts": ["a red circle"], "validation": {"prompts": ["a red circle", "a cat"]}},
        "prompt_not_a_scene", "validation.prompts.1", "write ",
    ),
    "a validation prompt with control characters": create(
        {"validation": {"prompts": ["a\x1b[31mb"]}}, "invalid_prompt", "validation.prompts.0", "write what the picture"
    ),
    "an unknown method": create({"method": {"type": "ppo"}}, INVALID, "method.type", "choose one of ddpo, "),
    "too few candidates": create({"method": {**METHOD, "candidates": 1}}, INVALID, "method.candidates", "send a whole number, 2 or more"),
    "too many candidates": create({"method": {**METHOD, "candidates": 65}}, INVALID, "method.candidates", "send a whole number, 2 or more"),
    "half a candidate": create({"method": {**METHOD, "candidates": 2.5}}, INVALID, "method.candidates", "send a whole number"),
    "a learning rate of 0": create({"method": {**METHOD, "learning_rate": 0}}, INVALID, "method.learning_rate", "send a number, more than 0"),
    "a negative beta": create({"method": {**METHOD, "beta": -1}}, INVALID, "method.beta", "beta must be"),
    "a beta of 0": create({"method": {**METHOD, "beta": 0}}, INVALID, "method.beta", "beta must be"),
    "a rival's beta of 0": create({"method": {"type": "diffusion-dpo", "beta": 0}}, INVALID, "method.beta", "beta must be"),
    "more noise than a step of DDIM holds": create(
        {"method": {"type": "ddpo", "noise_level": 1.5}}, "noise_level", "method.noise_level", "send at most 1"
    ),
    "one candidate of pictures": create({"method": {**SFT, "candidates": 1}}, INVALID, "method.candidates", "send a whole number, 2 or more"),
    "a trajectory of one state": create(
        {"method": {**METHOD, "trajectory_length": 1}}, INVALID, "method.trajectory_length", "choose the method online-dpo"
    ),
    "a trajectory of one state to learn from": create(
        {"method": {**SFT, "trajectory_length": 1}}, INVALID, "method.trajectory_length", "choose the method sft"
    ),
    "a trajectory longer than its walk": create(
        {"method": {**METHOD, "states": "renoised", "walk_steps": 4, "trajectory_length": 5}},
        INVALID, "method.trajectory_length", "a walk has one state per step",
    ),
    "a walk without a step in the noise": create(
        {"method": {**METHOD, "states": "renoised", "walk_steps": 3, "trajectory_length": 2}},
        INVALID, "method.walk_steps", "raise the one or lower the other",
    ),
    "a walk from pictures without a step in the noise": create(
        {"method": {**SFT, "walk_steps": 3, "trajectory_length": 1}}, INVALID, "method.walk_steps", "raise the one or lower the other"
    ),
    "a trajectory longer than its rollout": create(
        {"method": {**METHOD, "trajectory_length": 11}}, INVALID, "method.trajectory_length", "a walk has one state per step"
    ),
    "a rank of 0": create({"lora": {"rank": 0}}, INVALID, "lora.rank", "send a whole number, 1 or more and at most 256"),
    "an unknown target": create({"lora": {"targets": ["to_q"]}}, INVALID, "lora.targets.0", "choose attention, feed-forward or conv"),
    "no target": create({"lora": {"targets": []}}, INVALID, "lora.targets", "send 1 to 3 of them", NO_EMPTY_LIST),
    "no steps": create({"steps": 0}, INVALID, "steps", "send a whole number, 1 or more"),
    "steps as text": create({"steps": "60"}, INVALID, "steps", "send a whole number", TYPED),
    "steps as truth": create({"steps": True}, INVALID, "steps", "send a whole number", TYPED),
    "a negative seed": create({"seed": -1}, INVALID, "seed", "send a whole number, 0 or more"),
    "a seed beyond 63 bits": create({"seed": 2**63}, INVALID, "seed", "send a whole number, 0 or more", TYPED),
    "a priority beyond 10": create({"priority": 11}, INVALID, "priority", "send a whole number, -10 or more and at most 10"),
    "an unknown dtype": create({"dtype": "int4"}, INVALID, "dtype", "choose auto, fp32, bf16 or fp16"),
    "a base model's name for the adapter": create({"adapter_name": "shapes"}, "adapter_name_taken", "adapter_name", "choose another name"),
    "a path for the adapter's name": create({"adapter_name": "../x"}, INVALID, "adapter_name", "use 1 to 64 lower-case letters"),
    "a version in the adapter's name": create({"adapter_name": "red@2"}, INVALID, "adapter_name", "use 1 to 64 lower-case letters"),
    "metadata of numbers": create({"metadata": {"a": 1}}, INVALID, "metadata.a", "send a string", TYPED),
    "too much metadata": create({"metadata": {str(n): "" for n in range(17)}}, INVALID, "metadata", "send at most 16 of them"),
    "NUL in a text": create({"metadata": {"a": "x\0y"}}, "invalid_json", "metadata.a", "remove it"),
    "half a surrogate pair": create({"prompts": ["\ud83d"]}, "invalid_json", "prompts.0", "remove it", UTF_8),
    "NaN": create({"method": {**METHOD, "beta": float("nan")}}, "invalid_json", "method.beta", "send a finite number"),
    "Infinity": create({"method": {**METHOD, "learning_rate": float("inf")}}, "invalid_json", "method.learning_rate", "send a finite number"),
    "too large a body": Refusal("create", {"metadata": {"a": "x" * MAX_BODY}}, "too_large", status=413),
    "an empty idempotency key": unfit_key(""),
    "an over-long idempotency key": unfit_key("x" * 256),
    "an idempotency key of two words": unfit_key("a b"),
    "an idempotency key with another body": Refusal(
        "create", {"seed": 1}, "idempotency_key_reused", "Idempotency-Key", "send the same body", idempotency_key=USED
    ),
    "an unknown job": Refusal("get", {"id": NO_JOB}, "not_found", status=404),
    "a word for a job's id": Refusal("get", {"id": "job_1"}, "not_found", status=404),
    "another's characters in a job's id": Refusal("get", {"id": "jøb\0" * 99}, "not_found", status=404),
    "cancelling an unknown job": Refusal("cancel", {"id": NO_JOB}, "not_found", status=404),
    "cancelling a finished job": Refusal("cancel", {"id": FINISHED}, "invalid_transition", status=409),
    "pausing an unknown job": Refusal("pause", {"id": NO_JOB}, "not_found", status=404),
    "pausing a finished job": Refusal("pause", {"id": FINISHED}, "cannot_pause", status=409),
    "resuming an unknown job": Refusal("resume", {"id": NO_JOB}, "not_found", status=404),
    "resuming a failed job": Refusal("resume", {"id": FINISHED}, "cannot_resume", status=409),
    "retrying an unknown job": Refusal("retry", {"id": NO_JOB}, "not_found", status=404),
    "cloning an unknown job": Refusal("clone", {"id": NO_JOB}, "not_found", status=404),
    "cloning with an unknown field": Refusal("clone", {"id": FINISHED, "stps": 3}, INVALID, "stps", "remove it, or did you mean steps?"),
    "cloning with no steps": Refusal("clone", {"id": FINISHED, "steps": 0}, INVALID, "steps", "send a whole number, 1 or more"),
    "cloning with half a candidate": Refusal("clone", {"id": FINISHED, "method": {"candidates": 2.5}}, INVALID, "method.candidates", "send a whole number"),
    "cloning without a reward": Refusal("clone", {"id": FINISHED, "reward": None}, INVALID, "reward", "add it: What is searched for"),
    "cloning onto an unknown base model": Refusal("clone", {"id": FINISHED, "base_model": "sd3"}, "unknown_base_model", "base_model", "use one of"),
    "certifying an unknown job": Refusal("certificate", {"id": NO_JOB}, "not_found", status=404),
    "certifying a job without checkpoints": Refusal("certificate", {"id": FINISHED}, "too_few_checkpoints", status=409),
    "certifying no steps": Refusal("certificate", {"id": FINISHED, "steps": 0}, INVALID, "steps", "send a whole number, 1 or more"),
    "certifying with too high a priority": Refusal("certificate", {"id": FINISHED, "priority": 11}, INVALID, "priority", "send a whole number, -10 or more"),
    "a budget of no seconds": create({"max_seconds": 0.0}, INVALID, "max_seconds", "send a number, more than 0"),
    "a budget of no calls": create({"max_nfe": 0}, INVALID, "max_nfe", "send a whole number, 1 or more"),
    "a need of no memory": create({"needs": {"memory_gib": 0.0}}, INVALID, "needs.memory_gib", "send a number, more than 0"),
    "a label of two words": create({"needs": {"labels": ["two words"]}}, INVALID, "needs.labels.0", "use 1 to 63 letters, digits"),
    "a list of an unknown kind": Refusal("list", {"kind": "both"}, INVALID, "kind", "choose sharpening or certificate"),
    "following an unknown job": Refusal("follow", {"id": NO_JOB}, "not_found", status=404),
    "following from before the first": Refusal("follow", {"id": FINISHED, "after": -1}, INVALID, "after", "send a number, 0 or more"),
    "a page of none": Refusal("list", {"limit": 0}, INVALID, "limit", "send a number, 1 or more"),
    "a page of 101": Refusal("list", {"limit": 101}, INVALID, "limit", "send a number, at most 100"),
    "a made-up cursor": Refusal("list", {"cursor": "nonsense"}, "invalid_cursor", "cursor", "pass the next_cursor of the page before"),
    "an over-long cursor": Refusal("list", {"cursor": "x" * 513}, INVALID, "cursor", "send at most 512 characters"),
    "an unknown state": Refusal("list", {"state": "sleeping"}, INVALID, "state", "choose queued, running"),
    "an unknown model": Refusal("model", {"name": "nothing"}, "not_found", status=404),
    "an over-long model's name": Refusal("model", {"name": "x" * 98}, INVALID, "name", "send at most 97 characters"),
    "an alias of an unknown adapter": alias({"name": "nothing"}, "not_found", status=404),
    "an alias of a base model": alias({"name": "shapes"}, "not_found", status=404),
    "an alias of a version": alias({"name": "red@1"}, "not_found", status=404),
    "an alias of digits": alias({"alias": "12"}, "invalid_alias", "alias", "use 1 to 32 lower-case letters, digits and -"),
    "an alias of capitals": alias({"alias": "Stable"}, "invalid_alias", "alias", "use 1 to 32"),
    "an over-long alias": alias({"alias": "x" * 33}, "invalid_alias", "alias", "use 1 to 32"),
    "an alias to no version": alias({"version": ...}, INVALID, "version", "add it: The adapter's version"),
    "an alias to version 0": alias({"version": 0}, INVALID, "version", "send a whole number, 1 or more"),
    "an alias to a version as text": alias({"version": "1"}, INVALID, "version", "send a whole number", TYPED),
    "an alias with an unknown field": alias({"force": True}, INVALID, "force", "remove it", NO_FIELD),
    "taking away an unknown alias": Refusal("delete_alias", {"name": "red", "alias": "stable"}, "not_found", status=404),
    "taking away what is no alias": Refusal("delete_alias", {"name": "red", "alias": "1"}, "invalid_alias", "alias", "use 1 to 32"),
    "deleting an unknown model": Refusal("delete_model", {"name": "nothing"}, "not_found", status=404),
    "deleting a base model": Refusal("delete_model", {"name": "shapes"}, "not_found", status=404),
    "deleting by an alias": Refusal("delete_model", {"name": "red@stable"}, "names_an_alias", "name", "name the version by its number"),
    "no key": Refusal("list", {}, "unauthenticated", status=401, key=None),
    "a wrong key": Refusal("list", {}, "unauthenticated", status=401, key=KEY[:-1]),
    "a wrong key, and a job that is not there": Refusal("get", {"id": NO_JOB}, "unauthenticated", status=401, key="x" * 16),
    "a wrong key, and a body to be refused": Refusal("create", {"steps": 0}, "unauthenticated", status=401, key=""),
}  # fmt: skip
