"""The job's own pictures as the base takes them."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.domain.errors import JobFailure
from worker.training.pictures import Pictures

SIDE = 32


def file_of(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    made = io.BytesIO()
    picture.save(made, form, **options)
    return made.getvalue()


def flat(colour: tuple[int, ...], size: tuple[int, int] = (SIDE, SIDE), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def read(folder: Path, pictures: Mapping[str, list[bytes]], *, most: int = 4, seed: int = 0) -> Pictures:
    lines = []
    for prompt, group in pictures.items():
        for content in group:
            name = str(len(lines))
            (folder / name).write_bytes(content)
            lines.append(json.dumps({"file": name, "name": f"set/{name}.png", "prompt": prompt}) + "\n")
    (folder / "pictures.jsonl").write_text("".join(lines))
    return Pictures.read(folder / "pictures.jsonl", side=SIDE, most=most, seed=seed)


def only(folder: Path, content: bytes) -> np.ndarray:
    found = read(folder, {"a cat": [content]})("a cat", 0)
    assert found is not None
    assert (found.shape, found.dtype) == ((1, SIDE, SIDE, 3), np.uint8)
    return found[0]


class TestShape:
    def test_one_of_the_right_size_keeps_every_pixel(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        assert (only(tmp_path, file_of(Image.fromarray(pixels))) == pixels).all()

    @pytest.mark.parametrize("size", [(96, 32), (32, 96)])
    def test_the_square_in_the_middle_is_what_is_seen(self, tmp_path: Path, size: tuple[int, int]) -> None:
        wide = flat((255, 0, 0), size)
        wide.paste(flat((0, 0, 255)), ((size[0] - SIDE) // 2, (size[1] - SIDE) // 2))
        assert (only(tmp_path, file_of(wide)) == (0, 0, 255)).all()

    @pytest.mark.parametrize("side", [16, 128])
    def test_others_are_scaled_as_pillow_s_lanczos_does(self, tmp_path: Path, side: int) -> None:
        pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
        scaled = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        assert (only(tmp_path, file_of(Image.fromarray(pixels))) == np.asarray(scaled)).all()

    def test_a_turned_photograph_is_turned_back(self, tmp_path: Path) -> None:
        halves = flat((0, 255, 0))
        halves.paste(flat((255, 0, 0), (SIDE, SIDE // 2)))
        exif = Image.Exif()
        exif[0x0112] = 3  # upside down
        seen = only(tmp_path, file_of(halves, exif=exif))
        assert (seen[-1, 0].tolist(), seen[0, 0].tolist()) == ([255, 0, 0], [0, 255, 0])


class TestColour:
    @pytest.mark.parametrize(
        ("picture", "colour"),
        [
            (flat((0, 0, 0, 0), mode="RGBA"), (255, 255, 255)),
            (flat((9, 9, 9, 255), mode="RGBA"), (9, 9, 9)),
            (flat((7,), mode="L"), (7, 7, 7)),
            (flat((1, 2, 3)).quantize(2), (1, 2, 3)),
            (flat((0, 0), mode="LA"), (255, 255, 255)),
        ],
    )
    def test_every_mode_becomes_rgb_and_what_is_transparent_white(
        self, tmp_path: Path, picture: Image.Image, colour: tuple[int, int, int]
    ) -> None:
        assert (only(tmp_path, file_of(picture)) == colour).all()

    def test_sixteen_bits_of_grey_are_refused_and_not_cut(self, tmp_path: Path) -> None:
        deep = Image.fromarray(np.full((SIDE, SIDE), 40_000, dtype=np.uint16))
        with pytest.raises(JobFailure, match="8 bits a channel"):
            only(tmp_path, file_of(deep))


class TestGroups:
    def grey(self, *shades: int) -> list[bytes]:
        return [file_of(flat((shade, shade, shade))) for shade in shades]

    def shades(self, pictures: Pictures, update: int, prompt: str = "a cat") -> list[int]:
        found = pictures(prompt, update)
        assert found is not None
        return [int(shade) for shade in found[:, 0, 0, 0]]

    def test_are_by_prompt_in_the_archive_s_order(self, tmp_path: Path) -> None:
        pictures = read(tmp_path, {"a cat": self.grey(1, 2), "a dog": self.grey(3)})
        assert (self.shades(pictures, 5), self.shades(pictures, 5, "a dog")) == ([1, 2], [3])
        assert pictures("a cow", 5) is None

    def test_that_are_too_large_take_turns(self, tmp_path: Path) -> None:
        pictures = read(tmp_path, {"a cat": self.grey(*range(6))}, most=2)
        drawn = [self.shades(pictures, update) for update in range(20)]
        assert all(len(set(group)) == 2 for group in drawn)
        assert {shade for group in drawn for shade in group} == set(range(6))

    def test_are_a_function_of_seed_and_update(self, tmp_path: Path) -> None:
        given = {"a cat": self.grey(*range(6))}
        first, again, other = (read(tmp_path, given, most=2, seed=seed) for seed in (0, 0, 1))
        updates = range(8)
        assert [self.shades(first, each) for each in updates] == [self.shades(again, each) for each in updates]
        assert [self.shades(first, each) for each in updates] != [self.shades(other, each) for each in updates]


class TestCheck:
    @pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
    def test_of_whole_ones_says_nothing(self, tmp_path: Path, form: str) -> None:
        read(tmp_path, {"a cat": [file_of(flat((1, 2, 3)), form)]}).check()

    def test_names_the_first_whose_pixels_are_damaged(self, tmp_path: Path) -> None:
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        whole, cut = file_of(noise), file_of(noise)[:-800]
        with pytest.raises(JobFailure, match=r"set/1\.png.*save it anew") as failure:
            read(tmp_path, {"a cat": [whole, cut]}).check()
        assert failure.value.code == "image_unreadable"
