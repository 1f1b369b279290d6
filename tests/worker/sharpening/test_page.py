"""docs/paper.md names its tests; this is the one that keeps it honest."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/paper.md").read_text(encoding="utf-8")
CITED = re.compile(r"`([\w/-]+/test_\w+\.py)`|\*([^*`|]+)\*")


def citations() -> list[tuple[str, str]]:
    """(file, name) in the page's order: a name in italics belongs to the last file before it."""
    found, file = [], ""
    for named, words in CITED.findall(PAGE.replace("**", "")):
        if named:
            file = named
        else:
            found.append((file, "test_" + re.sub(r"\W+", "_", words.strip().lower())))
    return found


def test_every_test_that_the_page_names_exists() -> None:
    assert len(citations()) > 60
    missing = [
        f"{file}::{name}"
        for file, name in citations()
        if f"def {name}(" not in (ROOT / "tests/worker" / file).read_text(encoding="utf-8")
    ]
    assert not missing


def test_every_function_that_the_page_names_exists() -> None:
    rooms = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "worker/sharpening").glob("*.py")}
    named = [(room, name) for room, name in re.findall(r"`(\w+)\.([\w.]+)`", PAGE) if room in rooms and name != "py"]
    assert len(named) > 20
    for room, name in named:
        word = name.rpartition(".")[2]
        assert re.search(rf"(def|class) {word}\b|^    {word}: ", rooms[room], flags=re.MULTILINE), f"{room}.{name}"


def test_every_departure_that_the_code_names_is_on_the_page() -> None:
    rooms = [(ROOT / f"worker/sharpening/{room}.py").read_text(encoding="utf-8") for room in ("step", "sft")]
    named = [letter for text in rooms for letter in re.findall(r"^  ([a-z])\. ", text, flags=re.MULTILINE)]
    assert named == re.findall(r"^\| ([a-z]) \| ", PAGE, flags=re.MULTILINE)
