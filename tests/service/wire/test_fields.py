"""Each way in which a job request can be wrong, and the words that come back: path, message, remedy."""

import json
from typing import Any

import pytest

from service.domain.errors import InvalidRequest
from service.domain.recipes import JobRequest
from service.wire.bodies import parse
from service.wire.fields import TOLD

GOOD = {"base_model": "shapes", "prompts": ["a red circle"], "reward": {"type": "clip", "model": "shapes-clip"}}
NAME = "use 1 to 64 lower-case letters, digits, '.', '_' or '-', with a letter or digit at both ends"

WRONG: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "unknown field, near a known one": (
        {"step": 3},
        "step",
        "there is no such field",
        "remove it, or did you mean steps?",
    ),
    "unknown field inside a union's member": (
        {"reward": {"type": "scene", "modl": "x"}},
        "reward.modl",
        "there is no such field",
        "remove it; known here: type, exact",
    ),
    "unknown field inside the method": (
        {"method": {"type": "sharpening-rlhf", "canddates": 4}},
        "method.canddates",
        "there is no such field",
        "remove it, or did you mean candidates?",
    ),
    "missing field": (
        {"base_model": ...},
        "base_model",
        "this field is needed",
        "add it: Name of a base model in the catalogue",
    ),
    "missing field inside a union's member": (
        {"reward": {"type": "clip"}},
        "reward.model",
        "this field is needed",
        "add it: Name of a reward model in the catalogue",
    ),
    "no tag": (
        {"reward": {"model": "x"}},
        "reward.type",
        "this field is needed",
        "choose one of clip, jpeg-compressibility, scene",
    ),
    "unknown tag": (
        {"reward": {"type": "aesthetics"}},
        "reward.type",
        "there is no 'aesthetics' here",
        "choose one of clip, jpeg-compressibility, scene",
    ),
    "below the bound": (
        {"method": {"type": "sharpening-rlhf", "candidates": 1}},
        "method.candidates",
        "input should be greater than or equal to 2",
        "send a whole number, 2 or more and at most 64 (default 8)",
    ),
    "at an open bound": (
        {"method": {"type": "sharpening-rlhf", "learning_rate": 0.0}},
        "method.learning_rate",
        "input should be greater than 0",
        "send a number, more than 0 and at most 0.1",
    ),
    "text for a number": (
        {"steps": "60"},
        "steps",
        "input should be a valid integer",
        "send a whole number, 1 or more and at most 100000 (default 60)",
    ),
    "true for a number": (
        {"steps": True},
        "steps",
        "input should be a valid integer",
        "send a whole number, 1 or more and at most 100000 (default 60)",
    ),
    "neither alternative": (
        {"method": {"type": "sharpening-rlhf", "beta": "hot"}},
        "method.beta",
        "input should be a valid number; or: input should be 'auto'",
        "send a number, or choose auto",
    ),
    "unknown target": (
        {"lora": {"targets": ["attention", "mlp"]}},
        "lora.targets.1",
        "input should be 'attention', 'feed-forward' or 'conv'",
        "choose attention, feed-forward or conv",
    ),
    "empty prompt": (
        {"prompts": ["a red circle", "  "]},
        "prompts.1",
        "string should have at least 1 character",
        "send 1 to 2000 characters",
    ),
    "over-long prompt": (
        {"prompts": ["a" * 2001]},
        "prompts.0",
        "string should have at most 2000 characters",
        "send 1 to 2000 characters",
    ),
    "one prompt as text": ({"prompts": "a red circle"}, "prompts", "input should be a valid array", "send an array"),
    "both sources of prompts": (
        {"prompts_file": "file_" + "0" * 26},
        "prompts",
        "both prompts and prompts_file are given",
        "give either prompts or prompts_file",
    ),
    "a path for a file's id": (
        {"prompts": ..., "prompts_file": "../../etc/passwd"},
        "prompts_file",
        "string should match pattern '^file_[0-9a-z]{26}$'",
        "use the id that POST /files gave: file_ and 26 characters",
    ),
    "a rule about two fields": (
        {"method": {"type": "sharpening-rlhf", "trajectory_length": 9, "rollout_steps": 4}},
        "method.trajectory_length",
        "trajectory_length (9) is above rollout_steps (4)",
        "a walk has one state per step; lower the one or raise the other",
    ),
    "a name with capitals": ({"adapter_name": "Red Things"}, "adapter_name", "string should match pattern", NAME),
    "metadata that is not text": (
        {"metadata": {"run": 3}},
        "metadata.run",
        "input should be a valid string",
        "send a string",
    ),
    "too much metadata": (
        {"metadata": {str(number): "" for number in range(17)}},
        "metadata",
        "dictionary should have at most 16 items after validation",
        "send at most 16 of them",
    ),
}


def body(change: dict[str, Any]) -> bytes:
    """GOOD with the change; `...` takes a field out."""
    return json.dumps({name: value for name, value in {**GOOD, **change}.items() if value is not ...}).encode()


class TestOfBody:
    @pytest.mark.parametrize(("change", "path", "message", "remedy"), WRONG.values(), ids=WRONG)
    def test_says_where_what_and_what_to_do(self, change: dict[str, Any], path: str, message: str, remedy: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            parse(JobRequest, body(change))
        first = next(each for each in caught.value.errors if each.path == path)
        assert first.message.startswith(message)
        assert first.remedy == remedy

    def test_reports_every_place_at_once(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            parse(JobRequest, body({"steps": 0, "seed": -1, "lora": {"rank": 0}}))
        assert {each.path for each in caught.value.errors} == {"steps", "seed", "lora.rank"}

    def test_tells_of_the_first_places_and_counts_the_rest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many there are: a word for each, with its remedy, is work."""
        asked: list[Any] = []
        monkeypatch.setattr("service.wire.fields.remedy", lambda fault: asked.append(fault) or "mend it")
        with pytest.raises(InvalidRequest) as caught:
            parse(JobRequest, body({f"unknown{number}": 0 for number in range(9000)}))
        assert (len(caught.value.errors), caught.value.more, len(asked)) == (TOLD, 9000 - TOLD, TOLD)

    def test_of_one_place_are_one_also_at_the_end_of_what_is_told(self) -> None:
        change = {f"a{number}": 0 for number in range(TOLD)}
        with pytest.raises(InvalidRequest) as caught:
            parse(JobRequest, body(change))
        assert [each.path for each in caught.value.errors] == list(change)

    def test_takes_what_is_right(self) -> None:
        assert parse(JobRequest, body({"method": {"type": "sharpening-rlhf", "beta": 50}})).method.beta == 50
