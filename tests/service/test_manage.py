"""The operator's verbs as processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.adapters import db, keys
from service.domain.jobs import State
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
    assert not db.pending(database)
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
    def test_makes_a_key_that_only_its_owner_reads_and_never_overwrites_one(self, tmp_path: Path) -> None:
        path = tmp_path / "signing.pem"
        made = manage("keygen", STROP_SIGNING_KEY_FILE=str(path))
        assert (made.returncode, made.stderr) == (0, "")
        assert path.stat().st_mode & 0o777 == 0o600
        assert keys.load(path).key_id in made.stdout
        before = path.read_bytes()
        again = manage("keygen", "--out", str(path))
        assert (again.returncode, path.read_bytes()) == (1, before)
        assert "never overwritten" in again.stderr

    def test_wants_to_know_where_to(self) -> None:
        assert manage("keygen").returncode == 2

    @pytest.mark.parametrize(
        ("content", "mode", "said"),
        [(b"no key", 0o600, "holds no private key"), (None, 0o600, "cannot be read"), (b"", 0o644, "chmod 600")],
    )
    def test_a_steward_with_a_bad_key_says_so_and_ends(
        self, tmp_path: Path, content: bytes | None, mode: int, said: str
    ) -> None:
        path = tmp_path / "signing.pem"
        if content is not None:
            path.write_bytes(content)
            path.chmod(mode)
        settings = {"STROP_STATE_DIR": str(tmp_path), "STROP_INFERENCE_URL": "http://127.0.0.1:1"}
        done = manage("steward", STROP_SIGNING_KEY_FILE=str(path), **settings)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_remeasure_wants_a_name(tmp_path: Path) -> None:
    assert manage("migrate", STROP_STATE_DIR=str(tmp_path)).returncode == 0
    done = manage("remeasure", "red-things@1", STROP_STATE_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "strop: 0 receipts will be asked for again\n")
    assert manage("remeasure", "red@stable", STROP_STATE_DIR=str(tmp_path)).returncode == 2
