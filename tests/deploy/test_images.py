"""What the images start, started where only the libraries of their image are."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
ELSEWHERE = {"embedded": EXTRAS["embedded"], "worker": EXTRAS["worker"]}
LACKING = {
    "service.app": ("embedded", "worker"),
    "service.manage": ("embedded", "worker"),
    "worker.app": ("embedded",),
    "worker.inference.app": ("embedded",),
}


@pytest.mark.parametrize("module", LACKING)
def test_a_process_imports_without_what_its_image_lacks(module: str) -> None:
    lacking = [re.split(r"[=<>\[]", name)[0] for extra in LACKING[module] for name in ELSEWHERE[extra]]
    code = f"import sys; sys.modules.update(dict.fromkeys({lacking!r})); import {module}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_dockerfile_names_no_index_and_no_syntax() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert "://" not in text and "# syntax" not in text


def test_what_the_dockerfile_copies_is_let_through() -> None:
    """.dockerignore shuts everything out but a list."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        word.removeprefix("./")
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
        for word in line.split()
    }
    assert all(any(name == way or name.startswith(f"{way}/") for way in let_through) for name in copied)
    assert all((ROOT / name).exists() for name in copied)
