"""A folder's weights are pinned by one digest, which anyone can recompute with sha256sum."""

import subprocess
from pathlib import Path

import pytest

from service.adapters import catalogue, weights
from service.domain.catalogue import BaseModelEntry

SHIPPED = catalogue.load(Path("catalogue.toml"))


def entry(revision: str) -> BaseModelEntry:
    return BaseModelEntry(name="base", source="base", family="sd", revision=revision)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("vae/b.safetensors", "unet/a.safetensors", "unet/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_it_is_what_sha256sum_says(folder: Path) -> None:
    command = "sha256sum unet/a.safetensors vae/b.safetensors | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=True).stdout
    assert weights.digest(folder) == "sha256:" + printed.split()[0]


def test_other_weights_are_refused_with_a_sentence(folder: Path) -> None:
    pinned = entry(weights.digest(folder))
    weights.check(pinned, folder)
    (folder / "unet/a.safetensors").write_text("other")
    with pytest.raises(ValueError, match="not those that the catalogue pins"):
        weights.check(pinned, folder)


def test_a_folder_without_a_pin_is_taken_as_it_is(folder: Path) -> None:
    weights.check(entry(""), folder)


@pytest.mark.parametrize(
    "model", [SHIPPED.bases["shapes"], SHIPPED.rewards["shapes-clip"]], ids=lambda model: model.name
)
def test_what_ships_is_pinned_and_is_what_lies_there(model: BaseModelEntry) -> None:
    assert model.revision == weights.digest(Path(model.source))
