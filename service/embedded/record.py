"""Process ids that outlive a crash of the supervisor, so that the next start can stop what was left, and nothing else.

    python -m service.embedded.record PIDS/NAME.json COMMAND …

writes its own id and start time, then becomes the command. A process is ours only while both still agree: ids are reused.
"""

import json
import os
import sys
from pathlib import Path

import psutil

SAME_START_SECONDS = 2.0


def write(path: Path) -> None:
    """Record this process: it keeps its id and its start time when it becomes another program."""
    me = psutil.Process()
    aside = path.with_suffix(f".{me.pid}")
    aside.write_text(json.dumps({"pid": me.pid, "started": me.create_time()}))
    aside.replace(path)


def living(path: Path) -> psutil.Process | None:
    """The recorded process, if it still runs."""
    try:
        noted = json.loads(path.read_text())
        process = psutil.Process(noted["pid"])
        if (
            abs(process.create_time() - noted["started"]) < SAME_START_SECONDS
            and process.status() != psutil.STATUS_ZOMBIE
        ):
            return process
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        pass
    return None


def stop_left_over(folder: Path, *, patience: float) -> list[str]:
    """End every recorded process that still runs: SIGTERM, then SIGKILL after `patience` seconds. Returns their names."""
    left = {path.stem: process for path in sorted(folder.glob("*.json")) if (process := living(path))}
    for process in left.values():
        process.terminate()
    _, stubborn = psutil.wait_procs(left.values(), timeout=patience)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=patience)
    for path in folder.glob("*.json"):
        path.unlink()
    return list(left)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
