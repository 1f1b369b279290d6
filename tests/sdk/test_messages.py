"""Messages become plain values by the wire's names, and a job's fields become the message that creates it."""

from typing import Any

import pytest
import strop
from google.protobuf.timestamp_pb2 import Timestamp
from strop.messages import create_request, plain
from strop.v1 import jobs_pb2

WHOLE: dict[str, Any] = {
    "base_model": "shapes",
    "prompts": ["a red circle"],
    "images_file": "file_0",
    "start_adapter": "red@2",
    "reward": {"type": "clip", "weights": [1, 0.5, None, True, {"deep": "x"}]},
    "method": {"type": "sharpening-rlhf", "candidates": 8},
    "lora": {"rank": 4, "targets": ["attention"]},
    "steps": 3,
    "seed": 2**63 - 1,
    "dtype": "fp32",
    "gradient_checkpointing": True,
    "samples": {"every": 3, "prompts": ["a"], "guidance": 2, "num_inference_steps": 3},
    "validation": {
        "every": 3,
        "prompts": ["b"],
        "guidance": 2,
        "num_inference_steps": 3,
        "keep_best": False,
        "patience": 2,
    },
    "checkpoint_every": 2,
    "max_seconds": 1.5,
    "max_nfe": 2**40,
    "needs": {"memory_gib": 12, "labels": ["gpu=h100"]},
    "adapter_name": "sharp",
    "priority": -1,
    "metadata": {"who": "me"},
}


def test_every_field_of_a_body_goes_in_and_comes_out() -> None:
    assert plain(create_request(WHOLE)) == {**WHOLE, "prompts_file": None, "idempotency_key": None}


def test_what_is_none_is_left_out() -> None:
    message = create_request({"base_model": "shapes", "lora": None, "steps": None})
    assert message == jobs_pb2.JobsCreateRequest(base_model="shapes")


def test_a_list_that_may_be_empty_is() -> None:
    message = create_request({"samples": {"prompts": []}, "validation": {"prompts": []}, "needs": {"labels": []}})
    assert message.HasField("samples")


def test_an_empty_object_is_there_all_the_same() -> None:
    message = create_request({"reward": {}, "lora": {}})
    assert message.HasField("reward")
    assert message.HasField("lora")


@pytest.mark.parametrize(
    ("fields", "path", "remedy"),
    [
        ({"stps": 3}, "stps", "remove it; known here: base_model, prompts"),
        ({"lora": {"rnk": 3}}, "lora.rnk", "remove it; known here: rank, targets"),
        ({"steps": "3"}, "steps", "send a whole number"),
        ({"steps": True}, "steps", "send a whole number"),
        ({"steps": 3.0}, "steps", "send a whole number"),
        ({"seed": 2**63}, "seed", "send a whole number below 2^63"),
        ({"samples": {"guidance": "2"}}, "samples.guidance", "send a number"),
        ({"base_model": 5}, "base_model", "send a string"),
        ({"prompts": "a red circle"}, "prompts", "send a list of strings"),
        ({"lora": {"targets": [1]}}, "lora.targets", "send a list of strings"),
        ({"prompts": []}, "prompts", "send at least one, or leave it out"),
        ({"prompts": [], "prompts_file": "file_1"}, "prompts", "send at least one, or leave it out"),
        ({"lora": {"targets": []}}, "lora.targets", "send at least one, or leave it out"),
        ({"lora": [4]}, "lora", "send a JSON object"),
        ({"reward": "clip"}, "reward", "send a JSON object"),
        ({"reward": {"x": float("nan")}}, "reward", "send a JSON object"),
        ({"metadata": {"run": 7}}, "metadata", "send an object of strings"),
        ({"idempotency_key": "k"}, "idempotency_key", "remove it"),
    ],
)
def test_what_no_message_can_carry_is_refused_with_place_and_remedy(
    fields: dict[str, Any], path: str, remedy: str
) -> None:
    with pytest.raises(strop.InvalidRequest) as caught:
        create_request(fields)
    (wrong,) = caught.value.errors
    assert wrong.path == path
    assert wrong.remedy.startswith(remedy)
    assert path in caught.value.message


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(strop.InvalidRequest, match=r"and 2 more") as caught:
        create_request({"stps": 1, "lora": {"rnk": 1, "rank": "4"}})
    assert [each.path for each in caught.value.errors] == ["stps", "lora.rnk", "lora.rank"]


def test_states_and_moments_become_words_and_datetimes() -> None:
    job = jobs_pb2.Job(state=jobs_pb2.JOB_STATE_SUCCEEDED, created_at=Timestamp(seconds=1, nanos=5_000_000))
    found = plain(job)
    assert found["state"] == "succeeded"
    assert found["created_at"].isoformat() == "1970-01-01T00:00:01.005000+00:00"
    assert found["adapter"] is found["progress"] is None
    assert plain(jobs_pb2.Job(state=77))["state"] == "unknown"  # type: ignore[arg-type]
