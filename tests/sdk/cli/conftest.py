"""The command as people give it: words in; the exit code, what it printed, and what it said on standard error out."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from strop.cli import main

from tests.sdk.conftest import Gateway
from tests.service.running import KEY


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*words: object) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def at_gateway(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """The gateway, named by the environment."""
    monkeypatch.setenv("STROP_URL", gateway.url)
    monkeypatch.setenv("STROP_API_KEY", KEY)
    return gateway
