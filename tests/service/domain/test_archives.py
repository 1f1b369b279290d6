"""A zip of pictures: whole, bounded, and nothing in it leads anywhere."""

import io
import stat
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from service.domain import archives
from service.domain.errors import InvalidRequest
from service.domain.images import fault_of_image
from tests.service.domain.archives import png, zipped

GOOD = {"a.png": png(), "a.txt": b"a cat"}


def read(tmp_path: Path, content: bytes) -> dict[str, str]:
    path = tmp_path / "set.zip"
    path.write_bytes(content)
    return archives.read_captions(path)


def encoded(form: str, side: int = 32) -> bytes:
    made = io.BytesIO()
    Image.radial_gradient("L").resize((side, side)).convert("RGB").save(made, form)
    return made.getvalue()


class TestCaptions:
    def test_stand_beside_the_pictures(self, tmp_path: Path) -> None:
        entries = {"x/a.png": png(), "x/a.txt": b"a  cat\n", "b.PNG": png(), "b.txt": b"no", "c.jpg": encoded("JPEG")}
        metadata = b'{"file_name": "c.jpg", "prompt": "a dog"}\n\n{"file_name": "b.PNG", "prompt": "a cow"}\n'
        found = read(tmp_path, zipped({**entries, "metadata.jsonl": metadata, "__MACOSX/._a.png": b"x"}))
        assert found == {"x/a.png": "a cat", "c.jpg": "a dog", "b.PNG": "a cow"}

    def test_of_an_archive_that_was_checked_are_had_without_its_pictures(self, tmp_path: Path) -> None:
        path = tmp_path / "set.zip"
        path.write_bytes(zipped({"b.png": png(), "a.png": b"damaged", "b.txt": b"a cow", "a.txt": b"a cat"}))
        assert list(archives.read_captions(path, checked=True).items()) == [("b.png", "a cow"), ("a.png", "a cat")]
        with pytest.raises(InvalidRequest):
            archives.read_captions(path)

    def test_come_with_the_pictures_in_the_archive_s_order(self, tmp_path: Path) -> None:
        path = tmp_path / "set.zip"
        path.write_bytes(zipped({"b.png": png(17), "b.txt": b"a cow", "a.png": png(), "a.txt": b"a cat"}))
        assert list(archives.read_pictures(path)) == [("b.png", "a cow", png(17)), ("a.png", "a cat", png())]

    @pytest.mark.parametrize(
        ("entries", "words"),
        [
            ({"a.png": png()}, "caption of a.png"),
            ({"a.png": png(), "a.txt": b" "}, "empty"),
            ({"a.png": png(), "a.txt": b"x" * 2001}, "2001 characters"),
            ({"a.txt": b"a"}, "no pictures"),
            ({**GOOD, "run.exe": b"MZ"}, "run.exe"),
            ({**GOOD, "metadata.jsonl": b"{}"}, "line 1"),
            ({**GOOD, "metadata.jsonl": b"[" * 100_000}, "line 1"),
            ({**GOOD, "metadata.jsonl": b'{"file_name": "a.png"}'}, "line 1"),
            ({"a.png": b"not a picture", "a.txt": b"a"}, "not a PNG"),
            ({"a.png": png()[:-20], "a.txt": b"a"}, "cut off"),
            ({"a.png": png(8), "a.txt": b"a"}, "8 x 8"),
            ({"a.png": png(), "a.txt": b"\xff\xfe"}, "broken"),
        ],
    )
    def test_faults(self, tmp_path: Path, entries: dict[str, bytes], words: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            read(tmp_path, zipped(entries))
        assert words in refused.value.errors[0].message


class TestNames:
    @pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png", "C:a.png", "x\\a.png", "a\n.png"])
    def test_that_lead_out_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InvalidRequest, match="plain relative name"):
            read(tmp_path, zipped({**GOOD, name: png()}))

    def test_links_are_refused(self, tmp_path: Path) -> None:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            link = zipfile.ZipInfo("a.png")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
        with pytest.raises(InvalidRequest, match="link"):
            read(tmp_path, made.getvalue())

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_twice_the_same_is_refused(self, tmp_path: Path) -> None:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            archive.writestr("a.png", png())
            archive.writestr("a.png", png())
        with pytest.raises(InvalidRequest, match="same name"):
            read(tmp_path, made.getvalue())


class TestBombs:
    def test_what_unpacks_to_too_much_is_refused_by_its_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archives, "MAX_TOTAL_BYTES", 2**20)
        bomb = {f"{number}.png": bytes(2**19 + 1) for number in range(2)}
        with pytest.raises(InvalidRequest, match="MiB"):
            read(tmp_path, zipped(bomb))

    def test_a_directory_that_lies_is_not_believed(self, tmp_path: Path) -> None:
        content = zipped({"a.png": bytes(archives.MAX_ENTRY_BYTES + 2**20)})
        size = (archives.MAX_ENTRY_BYTES + 2**20).to_bytes(4, "little")
        with pytest.raises(InvalidRequest):
            read(tmp_path, content.replace(size, (100).to_bytes(4, "little")))

    def test_too_many_files_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archives, "MAX_ENTRIES", 1)
        with pytest.raises(InvalidRequest, match="more than 1"):
            read(tmp_path, zipped(GOOD))

    @pytest.mark.parametrize("cut", [10, 30, 200])
    def test_a_broken_archive_is_refused(self, tmp_path: Path, cut: int) -> None:
        with pytest.raises(InvalidRequest, match="broken"):
            read(tmp_path, zipped(GOOD)[:-cut])

    def test_a_flipped_byte_is_found(self, tmp_path: Path) -> None:
        content = bytearray(zipped(GOOD, zipfile.ZIP_STORED))
        content[60] ^= 1
        with pytest.raises(InvalidRequest, match="broken"):
            read(tmp_path, bytes(content))


class TestPictures:
    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
    def test_whole_ones_are_good_and_any_cut_is_found(self, form: str) -> None:
        content = encoded(form)
        assert fault_of_image(content) is None
        for length in range(0, len(content) - 1, max(1, len(content) // 50)):
            assert fault_of_image(content[:length]) is not None, length

    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
    def test_their_size_is_read_as_pillow_reads_it(self, form: str) -> None:
        assert fault_of_image(encoded(form, 15)) == "the picture has 15 x 15 pixels"
        assert fault_of_image(encoded(form, 16)) is None

    def test_lossless_and_progressive_ones_are_known(self) -> None:
        made = {"webp": io.BytesIO(), "jpeg": io.BytesIO(), "alpha": io.BytesIO()}
        picture = Image.radial_gradient("L").resize((40, 24)).convert("RGB")
        picture.save(made["webp"], "WEBP", lossless=True)
        picture.save(made["jpeg"], "JPEG", progressive=True)
        picture.convert("RGBA").save(made["alpha"], "WEBP", exif=b"Exif\0\0")
        assert [fault_of_image(each.getvalue()) for each in made.values()] == [None] * 3
