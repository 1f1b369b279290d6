"""The operator's catalogue: read from TOML, folders relative to it, faults told with the place."""

from pathlib import Path

import pytest

from service.adapters import catalogue
from service.domain.catalogue import CatalogueError

REPOSITORY = Path(catalogue.__file__).parents[2]


def write(folder: Path, text: str) -> Path:
    path = folder / "catalogue.toml"
    path.write_text(text)
    return path


def test_folders_are_relative_to_the_file_and_other_sources_stay(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[bases.small]\nsource = "models/small"\nfamily = "sd"\npreview_decoder = "models/taesd"\n'
        '[bases.big]\nsource = "hub:owner/big"\nfamily = "sd"\nrevision = "abc"\n'
        '[rewards.judge]\nsource = "/srv/judge"\ntype = "clip"\n',
    )
    known = catalogue.load(path)
    assert known.bases["small"].source == f"{tmp_path}/models/small"
    assert known.bases["small"].preview_decoder == f"{tmp_path}/models/taesd"
    assert "taesd" not in str(known.bases["small"].public())
    assert (known.bases["big"].source, known.bases["big"].name) == ("hub:owner/big", "big")
    assert known.rewards["judge"].source == "/srv/judge"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[bases", "cannot be read"),
        ('[bases.x]\nfamily = "sd"\n', "source"),
        ('[bases.x]\nsource = "x"\nfamily = "gan"\n', "family"),
        ('[bases."../x"]\nsource = "x"\nfamily = "sd"\n', "name"),
        ('[bases.x]\nsource = "x"\nfamily = "sd"\ncolour = 1\n', "colour"),
        (
            '[bases.x]\nsource = "x"\nfamily = "sd"\npreview_decoder = "hub:a/b"\n',
            r"bases\.x\.preview_decoder.*hf download",
        ),
        ('[bases.x]\nsource = "x"\nfamily = "sd"\npreview_decoder = "s3://a/b"\n', r"name the folder"),
    ],
)
def test_a_file_that_does_not_fit_is_told_with_the_place(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(CatalogueError, match=words):
        catalogue.load(write(tmp_path, text))


def test_a_missing_file_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="STROP_CATALOGUE"):
        catalogue.load(tmp_path / "none.toml")


def test_the_one_that_ships_is_good() -> None:
    known = catalogue.load(REPOSITORY / "catalogue.toml")
    assert "shapes" in known.bases
    assert "shapes-clip" in known.rewards
