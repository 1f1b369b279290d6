"""POST /files: the content decides, all of it is checked, and a wrong file leaves nothing."""

import hashlib
import io
import json
from collections.abc import Iterator

import pytest

from service.domain.errors import InvalidRequest, NotFound, TooLarge
from service.domain.files import MAX_FILE_BYTES, FileKind
from service.domain.principals import LOCAL
from tests.service.domain.archives import png, zipped
from tests.service.world import World


def test_text_is_one_prompt_a_line(world: World) -> None:
    content = "\ufeffa red circle\r\n\r\n  ein grünes Quadrat \n".encode()
    file = world.files.upload(LOCAL, "prompts.txt", io.BytesIO(content))[0]
    assert (file.kind, file.prompts, file.bytes, file.filename) == (FileKind.TEXT, 2, len(content), "prompts.txt")
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert b"".join(world.store.open(file.key)) == content
    assert world.files.get(LOCAL, file.id) == file


def test_jsonl_is_one_object_a_line(world: World) -> None:
    lines = "\n".join(json.dumps({"prompt": f"cat {number}", "extra": 1}) for number in range(3))
    file = world.files.upload(LOCAL, "data", io.BytesIO(lines.encode()))[0]
    assert (file.kind, file.prompts) == (FileKind.JSONL, 3)


def test_a_zip_is_pictures_with_captions(world: World) -> None:
    content = zipped({"a.png": png(), "a.txt": b"a cat", "b.png": png(), "b.txt": b"a dog"})
    file = world.files.upload(LOCAL, "set.zip", io.BytesIO(content))[0]
    assert (file.kind, file.prompts) == (FileKind.IMAGES, 2)
    with pytest.raises(InvalidRequest) as refused:
        world.post(prompts=None, prompts_file=file.id)
    assert refused.value.code == "wrong_file_kind"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what is refused reaches no database
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.txt", b"", "no prompt"),
        ("p.txt", b"\n \n", "no prompt"),
        ("p.txt", b"good\n\xff\xfe", "line 2"),
        ("p.txt", b"good\nnul \x00", "line 2"),
        ("p.txt", b"good\n\n" + b"x" * 2001, "line 3"),
        ("p.txt", b"bell \x07", "line 1"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": 7}', "line 2"),
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": ""}', "line 2"),
        ("p.jsonl", b'{"prompt": "a"}\n["a"]', "line 2"),
        ("p.jsonl", b'{"prompt": "a"}\nb', "line 2"),
        ("p.jsonl", b'{"prompt": "\\ud800"}', "line 1"),
        ("p.jsonl", b"[" * 100_000, "jsonl"),
        ("p.jsonl", b"a red circle", ".jsonl"),
        ("p.txt", b'{"prompt": "a"}', ".txt"),
        ("p.zip", b"a red circle", ".zip"),
        ("p.json", b'["a"]', ".json"),
        ("p.txt", zipped({"a.png": png(), "a.txt": b"a"}), ".txt"),
        ("p.png", png(), "line 1"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_nothing_is_stored(
    world: World, name: str, content: bytes, words: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        world.files.upload(LOCAL, name, io.BytesIO(content))
    error = refused.value.errors[0]
    assert refused.value.code == "invalid_file"
    assert (error.path, words in error.message, bool(error.remedy)) == ("file", True, True), error
    assert list(world.store.list("")) == []
    assert world.sql("SELECT count(*) FROM files") == [(0,)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what is refused reaches no database
def test_more_than_the_bound_is_not_read_to_its_end(world: World) -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return b"x" * size

    source = Endless()
    with pytest.raises(TooLarge):
        world.files.upload(LOCAL, "p.txt", source)  # type: ignore[arg-type]
    assert source.given <= MAX_FILE_BYTES + 2**20
    assert list(world.store.list("")) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what is refused reaches no database
@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\x\\passwd", "a\0/passwd", "passwd"])
def test_a_filename_is_only_shown(world: World, name: str) -> None:
    file = world.files.upload(LOCAL, name, io.BytesIO(b"a cat"))[0]
    assert (file.filename, file.key) == ("passwd", f"files/{file.id}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what is refused reaches no database
@pytest.mark.parametrize("odd", ["file_1", "", "x", "file_" + "0" * 26, "file_\0"])
def test_an_id_that_is_none_is_not_found(world: World, odd: str) -> None:
    with pytest.raises(NotFound):
        world.files.get(LOCAL, odd)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_litter(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Whatever happens, no upload stays in the temporary folder."""
    folder = tmp_path_factory.mktemp("uploads")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []
