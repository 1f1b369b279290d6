"""What `up` hands to supervisord: which process is told what. Nothing is started."""

import configparser
import os
import shlex
from pathlib import Path

import pytest

from service.embedded import stack
from service.embedded.programs import programs
from service.rpc.face import GRACE_SECONDS
from service.settings import Settings
from tests.servers.processes import free_port


class Started(Exception):
    """In place of becoming supervisord."""


@pytest.fixture
def sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> configparser.RawConfigParser:
    """supervisord's file of a stack whose operator has a signing key of his own."""

    def become(*_: object) -> None:
        raise Started

    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(os, "execv", become)
    for name in ("STROP_PORT", "STROP_INFERENCE_PORT"):
        monkeypatch.setitem(os.environ, name, str(free_port()))
    monkeypatch.setitem(os.environ, "STROP_GRPC_PORT", "0")
    monkeypatch.setitem(os.environ, "STROP_STATE_DIR", str(tmp_path))
    monkeypatch.setitem(os.environ, "STROP_SIGNING_KEY_FILE", str(tmp_path / "mine.pem"))
    with pytest.raises(Started):
        stack.up(Settings())
    read = configparser.RawConfigParser()
    read.read(tmp_path / "supervisord.conf")
    return read


def test_only_the_steward_is_told_where_the_signing_key_is(
    sections: configparser.RawConfigParser, tmp_path: Path
) -> None:
    told = {name: sections[name]["environment"] for name in sections.sections() if name.startswith("program:")}
    assert set(told) == {f"program:{name}" for name in ("broker", "gateway", "steward", "worker", "inference")}
    assert f'STROP_SIGNING_KEY_FILE="{tmp_path / "mine.pem"}"' in told["program:steward"]
    assert [name for name, given in told.items() if "SIGNING_KEY" in given] == ["program:steward"]
    assert "STROP_SIGNING_KEY_FILE" not in os.environ, "all of them inherit that"


def test_the_worker_has_as_long_as_it_takes_to_stop(tmp_path: Path) -> None:
    """Which an operator may raise: supervisord kills it after that."""
    for seconds in (5.0, 28.0, 90.5):
        (worker,) = (
            each for each in programs(Settings(worker_stop_seconds=seconds), tmp_path) if each.name == "worker"
        )
        assert seconds + 1 <= worker.stop_seconds <= seconds + 3


@pytest.mark.parametrize("name", ["gateway", "inference"])
def test_what_serves_ends_by_itself_before_it_is_ended(sections: configparser.RawConfigParser, name: str) -> None:
    words = shlex.split(sections[f"program:{name}"]["command"])
    patience = int(words[words.index("--timeout-graceful-shutdown") + 1])
    assert patience + GRACE_SECONDS < int(sections[f"program:{name}"]["stopwaitsecs"])
