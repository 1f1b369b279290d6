"""docs/openapi.json is what the routes are."""

import json
from pathlib import Path

import pytest

from service import manage


def test_the_file_is_fresh() -> None:
    assert manage.main(["openapi", "--check"]) == 0, "say make openapi"


def test_a_stale_file_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manage, "OPENAPI", tmp_path / "openapi.json")
    assert manage.main(["openapi", "--check"]) == 1
    assert "make openapi" in capsys.readouterr().err
    assert manage.main(["openapi"]) == 0
    assert manage.main(["openapi", "--check"]) == 0


def test_every_answer_and_every_refusal_is_described() -> None:
    paths = json.loads(manage.OPENAPI.read_text())["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            responses = operation["responses"]
            assert operation["description"], (method, path)
            if "security" in operation:
                assert "application/problem+json" in responses["401"]["content"], (method, path)
