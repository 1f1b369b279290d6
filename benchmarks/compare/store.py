"""Outcomes: a JSON file a task, written whole or not at all; small enough to be committed."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.compare.world import ROOT, base_sha256


def write(path: Path, content: Any) -> None:
    """Atomically: a stop leaves the old file or the new one. Lists of numbers stay on one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(f".{os.getpid()}.new")
    new.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    new.replace(path)


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """The outcome of a task; None where there is none, or where it is of another base model."""
    path = folder / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text())
    return found if found.get("base_sha256") == base_sha256() else None


def mine(scratch: Path, of: dict[str, Any]) -> None:
    """Claim a task's scratch folder: what lies there of other values, or of another base model, is dropped.

    A task's name does not tell what it trains with: that may be chosen anew between two runs.
    """
    path, said = scratch / "of.json", json.loads(json.dumps({**of, "base_sha256": base_sha256()}))
    if path.exists() and json.loads(path.read_text()) == said:
        return
    shutil.rmtree(scratch, ignore_errors=True)
    write(path, said)


def keep(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Store an outcome with where it came from."""
    write(folder / f"{name}.json", {**content, "base_sha256": base_sha256(), **provenance()})


@cache
def provenance() -> dict[str, Any]:
    """Commit, "-dirty" where code or the base differ from it, and kind of machine; no names. As it was when the process asked first,
    which a runner's does before its first task: a checkout may be moved on while it works."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD")
    changed = commit and git("status", "--porcelain", "--", "*.py", "catalogue.toml", "examples")
    return {"commit": f"{commit}-dirty" if changed else commit or None, "machine": machine()}


def machine() -> dict[str, Any]:
    """CPU model and cores."""
    info = Path("/proc/cpuinfo")
    models = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return {"cpu": models[0] if models else platform.processor() or platform.machine(), "cores": os.cpu_count()}
