"""Starts the embedded stack: clears what a crash left, makes the key, writes supervisord's file, and becomes supervisord.

What dies is restarted at once; what dies while it starts is retried after 1, 2, 3 … seconds. SIGTERM or Ctrl-C stops all.
"""

import hashlib
import os
import secrets
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Never

from service.adapters import keys
from service.embedded import record
from service.embedded.programs import Program, programs
from service.settings import Settings
from service.wire.listening import refuse_taken_port

MAX_SOCKET_PATH = 100
LEFT_OVER_PATIENCE = 10.0
START_RETRIES = 1000


def refuse_second(settings: Settings) -> None:
    """SystemExit with a sentence where a supervisor lives on this state folder already."""
    state = settings.state_dir.absolute()
    if running := record.living(state / "pids" / "supervisor.json"):
        raise SystemExit(
            f"strop: a stack already runs on {state} (process {running.pid}). "
            "Stop it, or set STROP_STATE_DIR to another folder"
        )


def up(settings: Settings) -> Never:
    """Never returns: this process becomes the supervisor. Raises SystemExit with a sentence when it cannot start."""
    state = settings.state_dir.absolute()
    pids = state / "pids"
    for folder in (pids, state / "logs", state / "store", state / "scratch", state / "cache"):
        folder.mkdir(parents=True, exist_ok=True)
    if left := record.stop_left_over(pids, patience=LEFT_OVER_PATIENCE):
        print(f"strop: stopped what an earlier stack left running: {', '.join(left)}")
    ports = {
        "STROP_PORT": settings.port,
        "STROP_INFERENCE_PORT": settings.inference_port,
        "STROP_GRPC_PORT": settings.grpc_port,
    }
    for name, port in ports.items():
        refuse_taken_port(name, settings.host, port)

    broker = _broker_socket(state)
    os.environ |= {
        "STROP_STATE_DIR": str(state),
        "STROP_BROKER_URL": f"redis+socket://{broker}?virtual_host=0",
        "STROP_CATALOGUE": str(settings.catalogue.absolute()),
        "STROP_API_KEY": _key(settings, state),
        "OMP_NUM_THREADS": str(settings.threads),
    }
    os.environ.pop("STROP_SIGNING_KEY_FILE", None)  # the steward's alone
    signing = settings.model_copy(update={"signing_key_file": _signing_key(settings, state)})
    file = state / "supervisord.conf"
    file.write_text(_configuration(state, programs(signing, broker)))
    record.write(pids / "supervisor.json")
    print(
        f"strop: gateway http://{settings.host}:{settings.port}, inference http://{settings.host}:{settings.inference_port}"
    )
    print(f"strop: key {os.environ['STROP_API_KEY']} (Authorization: Bearer …), logs in {state / 'logs'}", flush=True)
    os.execv(
        sys.executable, [sys.executable, "-m", "supervisor.supervisord", "--nodaemon", "--configuration", str(file)]
    )


def _configuration(state: Path, wanted: tuple[Program, ...]) -> str:
    """supervisord's INI. `%` starts an expansion there, so it is doubled."""
    lines = [
        "[supervisord]", "nodaemon=true", "loglevel=warn", f"logfile={_plain(state / 'logs' / 'supervisord.log')}",
        f"pidfile={_plain(state / 'supervisord.pid')}", f"directory={_plain(Path.cwd())}",
        *(["user=root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    for priority, program in enumerate(wanted):
        note = (sys.executable, "-m", "service.embedded.record", str(state / "pids" / f"{program.name}.json"))
        lines += [
            "", f"[program:{program.name}]", f"command={_plain(shlex.join((*note, *program.command)))}",
            f"priority={priority}", "autorestart=true", f"startretries={START_RETRIES}", "startsecs=2",
            f"stopwaitsecs={program.stop_seconds}", "killasgroup=true", "redirect_stderr=true",
            "environment=" + ",".join(f'{name}="{_plain(value)}"' for name, value in program.environment.items()),
            f"stdout_logfile={_plain(state / 'logs' / (program.name + '.log'))}",
            "stdout_logfile_maxbytes=10MB", "stdout_logfile_backups=2",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    return str(value).replace("%", "%%")


def _broker_socket(state: Path) -> Path:
    """In the state folder, unless that path is too long for a Unix socket (107 bytes on Linux)."""
    path = state / "broker.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    short = Path(tempfile.gettempdir()) / f"strop-{os.getuid()}-{hashlib.sha256(os.fsencode(state)).hexdigest()[:12]}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise SystemExit(
            f"strop: {short} belongs to somebody else; set STROP_STATE_DIR to a folder with a shorter path"
        )
    return short / "broker.sock"


def _signing_key(settings: Settings, state: Path) -> Path:
    """The operator's, else one made once and kept."""
    if settings.signing_key_file:
        return settings.signing_key_file.absolute()
    path = state / "signing-key.pem"
    if not path.exists():
        keys.generate(path)
    return path


def _key(settings: Settings, state: Path) -> str:
    """The operator's key, else one made once and kept, readable by its owner only."""
    if settings.api_key:
        return settings.api_key.get_secret_value()
    path = state / "key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text().strip()
