"""Unpacking the job's own pictures: by numbers, within the upload's bounds, and nothing beside the folder."""

import json
from pathlib import Path

import pytest

from service.domain import archives
from tests.service.domain.archives import png, zipped
from worker.attempt.pictures import unpack
from worker.attempt.staging import NotStaged

ENTRIES = {
    "x/a.png": png(16), "x/a.txt": b"a cat", "b.png": png(17), "b.txt": b"a dog", "c.PNG": png(18),
    "metadata.jsonl": b'{"file_name": "c.PNG", "prompt": "a  cat"}',
}  # fmt: skip


def archive(folder: Path, content: bytes) -> Path:
    path = folder / "images.zip"
    path.write_bytes(content)
    return path


def test_each_picture_is_a_numbered_file_that_the_index_names(tmp_path: Path) -> None:
    index, captions = unpack(archive(tmp_path, zipped(ENTRIES)), tmp_path / "pictures")
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    assert [(line["name"], line["prompt"]) for line in lines] == [
        ("x/a.png", "a cat"),
        ("b.png", "a dog"),
        ("c.PNG", "a cat"),
    ]
    assert [(index.parent / line["file"]).read_bytes() for line in lines] == [png(16), png(17), png(18)]
    assert {path.name for path in index.parent.iterdir()} == {"0", "1", "2", index.name}
    assert captions == ("a cat", "a dog"), "each once, in the order of their first pictures"


@pytest.mark.parametrize(
    "content",
    [
        zipped({**ENTRIES, "../out.png": png(), "../out.txt": b"a cat"}),
        zipped({**ENTRIES, "/out.png": png(), "/out.txt": b"a cat"}),
        zipped({**ENTRIES, "d.png": png()[:-20], "d.txt": b"a cat"}),
        zipped(ENTRIES)[:-40],
        b"a red circle",
    ],
)
def test_what_would_not_have_been_taken_is_not_unpacked(tmp_path: Path, content: bytes) -> None:
    inside = tmp_path / "scratch"
    inside.mkdir()
    with pytest.raises(NotStaged, match="upload it again") as failure:
        unpack(archive(inside, content), inside / "pictures")
    assert (failure.value.code, failure.value.retry) == ("images_unreadable", False)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["images.zip"]


def test_the_bounds_are_those_of_the_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 100)
    with pytest.raises(NotStaged, match="MiB"):
        unpack(archive(tmp_path, zipped(ENTRIES)), tmp_path / "pictures")
