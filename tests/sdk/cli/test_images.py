"""`strop images generate`, and `client.images` beneath it."""

import base64
import json
from pathlib import Path

import pytest
import strop

from tests.sdk.cli.conftest import Command
from tests.sdk.servers import Reply, http_server

PNG = b"\x89PNG and more"


def drawn(*seeds: int) -> Reply:
    data = [{"b64_json": base64.b64encode(PNG).decode(), "seed": seed} for seed in seeds]
    return Reply(body={"data": data, "model": "red@1", "usage": {"nfe_per_image": 20.0}, "warnings": ["too long"]})


def test_pictures_are_written_with_what_they_cost(command: Command, tmp_path: Path) -> None:
    with http_server({"/v1/images/generations": [drawn(7), drawn(7, 8)]}) as http:
        http.script["/.well-known/strop"] = [Reply(body={"inference_url": http.url})]
        words = (
            "--url",
            http.url,
            "--key",
            "secret",
            "images",
            "generate",
            "red",
            "a circle",
            "-o",
            tmp_path / "a.png",
        )
        said = command(*words, "--seed", 7, "--steps", 10, "--guidance", 2.5, "--negative", "blue")
        assert said == (0, f"{tmp_path}/a.png  red@1  seed 7  20 NFE\n  too long\n", "")
        assert (tmp_path / "a.png").read_bytes() == PNG
        assert command(*words, "-n", 2, "--json").out.count("\n") == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.png", "a-2.png", "a.png"]
        _, headers, body = next(each for each in http.requests if each[2])
        assert headers["authorization"] == "Bearer secret"
        assert json.loads(body) == {
            "model": "red", "prompt": "a circle", "n": 1, "seed": 7, "num_inference_steps": 10, "guidance_scale": 2.5,
            "negative_prompt": "blue", "response_format": "b64_json",
        }  # fmt: skip


def test_a_file_that_cannot_be_written_is_said(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_server({"/v1/images/generations": [drawn(7)]}) as http:
        http.script["/.well-known/strop"] = [Reply(body={"inference_url": http.url})]
        said = command("--url", http.url, "images", "generate", "red", "a", "-o", tmp_path / "no" / "a.png")
    assert said.code == 1
    assert "No such file" in said.err


@pytest.mark.parametrize("body", [{}, {"data": [{}]}, {"data": [{"b64_json": "?", "seed": 1}], "usage": {}}])
def test_an_answer_that_is_not_ours_is_said(body: dict[str, object]) -> None:
    with (
        http_server({"/v1/images/generations": [Reply(body=body)]}) as http,
        strop.Client(inference_url=http.url) as client,
        pytest.raises(strop.StropError, match="not answer as Strop"),
    ):
        client.images.generate("red", "a")


def test_adapters_and_the_format_of_the_ending_are_asked_for(command: Command, tmp_path: Path) -> None:
    with http_server({"/v1/images/generations": [drawn(7)]}) as http:
        http.script["/.well-known/strop"] = [Reply(body={"inference_url": http.url})]
        words = ("--url", http.url, "images", "generate", "red", "a", "-o", tmp_path / "a.jpg")
        assert (
            command(*words, "--adapter", "x=0.5", "--adapter", "y", "--scheduler", "euler", "--quality", 80).code == 0
        )
        body = json.loads(next(each for _, _, each in http.requests if each))
    assert body["adapters"] == [{"name": "x", "weight": 0.5}, {"name": "y", "weight": 1.0}]
    told = {name: body[name] for name in ("scheduler", "output_format", "output_compression")}
    assert told == {"scheduler": "euler", "output_format": "jpeg", "output_compression": 80}
