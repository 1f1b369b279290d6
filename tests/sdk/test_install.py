"""The SDK stands alone: installed into a fresh environment, it brings nothing of the server and nothing of the GPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOREIGN = ("torch", "diffusers", "fastapi", "pydantic", "sqlalchemy", "celery", "boto3", "service", "worker")
LOOK = f"""
import importlib.util, json, sys
import strop, strop.cli, strop.v1.jobs_pb2_grpc
print(json.dumps({{
    "foreign": [name for name in {FOREIGN} if importlib.util.find_spec(name)],
    "typed": (__import__("pathlib").Path(strop.__file__).parent / "py.typed").exists(),
    "home": strop.__file__,
}}))
"""


@pytest.mark.slow
def test_installed_alone_it_imports_and_runs(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "sdk", tmp_path / "sdk", ignore=shutil.ignore_patterns("*.egg-info", "build", "__pycache__"))
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: object) -> str:
        done = subprocess.run(
            list(map(str, words)), cwd=tmp_path, env=alone, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    there = tmp_path / "venv" / "bin"
    install = ("install", "-q", "--no-compile", "--disable-pip-version-check", "-c", ROOT / "constraints.txt", "./sdk")
    run(sys.executable, "-m", "pip", "--python", there / "python", *install)
    found = json.loads(run(there / "python", "-c", LOOK))
    assert found["foreign"] == []
    assert found["typed"]
    assert Path(found["home"]).is_relative_to(tmp_path / "venv")
    assert run(there / "strop", "--version").startswith("strop ")
    assert "watch" in run(there / "python", "-m", "strop", "jobs", "--help")
