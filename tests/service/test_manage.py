"""The operator's verbs as processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from threading import Event

import pytest

from service.adapters import db, keys
from service.domain.jobs import State
from service.manage import main, receipts_beside
from service.operations.receipts import Receipts
from service.settings import Settings
from tests.eventually import eventually
from tests.service.world import World

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("STROP_")}


def manage(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "service.manage", *words]
    return subprocess.run(
        command, env={**ENVIRONMENT, **settings}, capture_output=True, text=True, timeout=60, check=False
    )


def test_migrate_makes_a_database_in_the_state_folder(tmp_path: Path) -> None:
    done = manage("migrate", STROP_STATE_DIR=str(tmp_path / "state"))
    assert (done.returncode, done.stderr) == (0, "")
    database = db.connect(f"sqlite:///{tmp_path}/state/strop.db")
    database.ping()
    database.close()


def test_a_database_that_is_away_is_a_sentence_and_no_traceback() -> None:
    done = manage("migrate", STROP_DATABASE_URL="postgresql://strop@127.0.0.1:1/strop")
    assert done.returncode == 1
    assert done.stderr.startswith("strop: the database is away")


def test_a_wrong_setting_is_a_sentence() -> None:
    done = manage("steward", STROP_LEASE_SECONDS="soon")
    assert done.returncode == 2
    assert "STROP_LEASE_SECONDS" in done.stderr


def test_an_unknown_verb_lists_the_known() -> None:
    done = manage("sharpen")
    assert done.returncode == 2
    assert "migrate" in done.stderr
    assert "steward" in done.stderr


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_steward_ends_what_was_lost_and_ends_itself_when_told(world: World, database_url: str) -> None:
    job = world.run()
    world.end_lease(job)
    settings = {"STROP_DATABASE_URL": database_url, "STROP_STATE_DIR": str(world.folder)}
    command = [sys.executable, "-m", "service.manage", "steward"]
    steward = subprocess.Popen(command, env={**ENVIRONMENT, **settings}, stderr=subprocess.PIPE)
    try:
        eventually(lambda: world.get(job).state is State.QUEUED, 30)
        steward.send_signal(signal.SIGTERM)
        _, log = steward.communicate(timeout=10)
    finally:
        steward.kill()
        steward.wait()
    assert steward.returncode == 0
    assert b'"process": "steward"' in log


class TestKeygen:
    """In this process: another would spend seconds on imports."""

    def test_makes_a_key_that_only_its_owner_reads_and_never_overwrites_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "signing.pem"
        monkeypatch.setenv("STROP_SIGNING_KEY_FILE", str(path))
        assert main(["keygen"]) == 0
        assert path.stat().st_mode & 0o777 == 0o600
        assert keys.load(path).key_id in capsys.readouterr().out
        before = path.read_bytes()
        assert main(["keygen", "--out", str(path)]) == 1
        assert path.read_bytes() == before
        assert "never overwritten" in capsys.readouterr().err

    def test_wants_to_know_where_to(self) -> None:
        assert main(["keygen"]) == 2


def test_remeasure_wants_a_name(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STROP_DATABASE_URL", sqlite_url)
    assert main(["remeasure", "red-things@1"]) == 0
    assert capsys.readouterr().out == "strop: 0 receipts will be asked for again\n"
    assert main(["remeasure", "red@stable"]) == 2


def test_adopt_makes_the_store_this_databases(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STROP_DATABASE_URL", sqlite_url)
    monkeypatch.setenv("STROP_STORE_URL", f"file://{tmp_path}/store")
    assert main(["adopt"]) == 0
    assert "is this database's now" in capsys.readouterr().out
    assert (tmp_path / "store" / "installation.json").is_file()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
class TestReceiptsBeside:
    def threads(self) -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "receipts"]

    def test_is_a_thread_that_holds_up_neither_the_steward_nor_its_end(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The endpoint takes the connection and never says a word."""
        key = keys.generate(tmp_path / "key.pem")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("STROP_INFERENCE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
            monkeypatch.setenv("STROP_SIGNING_KEY_FILE", str(tmp_path / "key.pem"))
            stop, began = Event(), time.monotonic()
            receipts_beside(Settings(), world.database, world.store, stop)
            assert time.monotonic() - began < 1
            (thread,) = self.threads()
            assert thread.daemon
            eventually(
                lambda: [each.id for each in Receipts(world.database, world.store).public_keys()] == [key.key_id]
            )
            stop.set()
        thread.join(10)
        assert not thread.is_alive()

    @pytest.mark.parametrize("lacking", ["STROP_INFERENCE_URL", "STROP_SIGNING_KEY_FILE", "STROP_RECEIPTS"])
    def test_is_not_there_where_something_is_lacking(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
    ) -> None:
        keys.generate(tmp_path / "key.pem")
        given = {"STROP_INFERENCE_URL": "http://127.0.0.1:1", "STROP_SIGNING_KEY_FILE": str(tmp_path / "key.pem")}
        for name, value in (given | {"STROP_RECEIPTS": "true"}).items():
            monkeypatch.setenv(name, "false" if name == lacking == "STROP_RECEIPTS" else value)
        if lacking != "STROP_RECEIPTS":
            monkeypatch.delenv(lacking)
        receipts_beside(Settings(), world.database, world.store, Event())
        assert self.threads() == []
