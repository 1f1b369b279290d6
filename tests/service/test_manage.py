"""The operator's verbs as processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.adapters import db
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
