"""The command's surface: its nouns and verbs, its flags, its exit codes, and what it says when nobody answers."""

import shlex

import pytest
from strop.cli.program import NOUNS, parser
from strop.cli.verb import Verb

from tests.sdk.cli.conftest import Command
from tests.sdk.conftest import ROOT
from tests.sdk.servers import Reply, http_server
from tests.servers.processes import free_port

SURFACE = {
    "jobs": {
        "create",
        "clone",
        "certificate",
        "get",
        "list",
        "watch",
        "wait",
        "cancel",
        "pause",
        "resume",
        "retry",
        "download",
    },
    "files": {"upload"},
    "images": {"generate"},
    "models": {"list", "show", "alias", "unalias", "delete"},
    "receipts": {"get", "ask", "verify", "keys"},
    "rewards": None,
    "methods": None,
}


def test_the_nouns_and_verbs() -> None:
    assert {noun: None if isinstance(verbs, Verb) else set(verbs) for noun, (_, verbs) in NOUNS.items()} == SURFACE


@pytest.mark.parametrize(
    "words",
    [[], ["jobs"], ["jobs", "dream"], ["jobs", "list", "--state", "dreaming"], ["jobs", "list", "--limit", "0"]],
)
def test_what_is_not_understood_is_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    assert "usage: strop" in capsys.readouterr().err


def test_the_readme_gives_commands_that_are_understood() -> None:
    text = (ROOT / "sdk" / "README.md").read_text()
    lines = [line.split("#")[0] for line in text.splitlines() if line.startswith("strop ")]
    commands = [command for line in lines for command in line.split(";")]
    assert len(commands) >= 10
    for command in commands:
        parser().parse_args(shlex.split(command)[1:])


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    words = [[noun, verb] for noun, verbs in SURFACE.items() for verb in verbs or ()] + [["rewards"], ["--version"]]
    for each in words:
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([*each, *([] if each == ["--version"] else ["--help"])])
        assert ended.value.code == 0
    assert "strop 0." in capsys.readouterr().out


def test_global_flags_stand_before_the_noun_or_after_the_verb() -> None:
    before = parser().parse_args(["--url", "http://a", "--key", "k", "--json", "jobs", "list"])
    after = parser().parse_args(["jobs", "list", "--url", "http://a", "--key", "k", "--json"])
    assert (before.url, before.key, before.json) == (after.url, after.key, after.json) == ("http://a", "k", True)
    neither = parser().parse_args(["jobs", "list"])
    assert (neither.url, neither.key, neither.json) == (None, None, False)


def test_nobody_at_the_address_is_said_with_what_to_do(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    said = command("--url", f"http://127.0.0.1:{free_port()}", "jobs", "get", "x")
    assert said.code == 1
    assert "refused" in said.err
    assert said.err.endswith("--url or STROP_URL names another gateway\n")


def test_a_wrong_key_is_said_with_what_to_do(command: Command) -> None:
    with http_server({"/.well-known/strop": [Reply(401)]}) as http:
        said = command("--url", http.url, "jobs", "get", "x")
    assert (said.code, said.err.splitlines()[-1]) == (1, "  give --key, or set STROP_API_KEY")


def test_what_is_no_address_is_said(command: Command) -> None:
    said = command("--url", "ftp://a", "jobs", "list")
    assert (said.code, "http://HOST:PORT" in said.err) == (1, True)
