"""A crash of the supervisor leaves processes; the next start ends those, and no process that merely reuses an id."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.embedded import record


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A recorded process that waits on its standard input, as started by the stack."""
    note = tmp_path / "sleeper.json"
    waits = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    command = [sys.executable, "-m", "service.embedded.record", str(note), *waits]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process, note
        if process.poll() is None:
            process.kill()


class TestRecord:
    def test_a_recorded_process_keeps_its_id_when_it_becomes_the_program(self, sleeper) -> None:
        process, note = sleeper
        found = record.living(note)
        assert found is not None
        assert found.pid == process.pid
        assert "sys.stdin.read" in " ".join(found.cmdline())

    def test_what_was_left_is_ended_and_forgotten(self, sleeper) -> None:
        process, note = sleeper
        assert record.stop_left_over(note.parent, patience=5) == ["sleeper"]
        assert not psutil.pid_exists(process.pid)
        assert not note.exists()

    def test_a_process_that_reuses_the_id_is_left_alone(self, sleeper) -> None:
        process, note = sleeper
        noted = json.loads(note.read_text())
        note.write_text(json.dumps({**noted, "started": noted["started"] - 60}))
        assert record.stop_left_over(note.parent, patience=5) == []
        assert psutil.pid_exists(process.pid)
        assert process.poll() is None

    @pytest.mark.parametrize("text", ["", "{", "{}", '{"pid": 99999999, "started": 0}'])
    def test_a_torn_or_outdated_record_names_nobody(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "x.json"
        path.write_text(text)
        assert record.living(path) is None
