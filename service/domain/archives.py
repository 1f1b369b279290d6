"""A zip archive of pictures with captions, checked whole before anything is stored.

A caption stands in a text file beside its picture (`cat.png`, `cat.txt`), or in `metadata.jsonl` at the top, one object a
line: {"file_name": "cat.png", "prompt": "a cat"}. Nothing is ever extracted by a name that the archive gives.
"""

import json
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from service.domain.images import fault_of_image
from service.domain.prompts import fault, normalise
from service.domain.uploads import refuse

MAGIC = b"PK\x03\x04"
MAX_ENTRIES = 20_000
MAX_ENTRY_BYTES = 32 * 2**20
MAX_TOTAL_BYTES = 512 * 2**20
IMAGES = {".png", ".jpg", ".jpeg", ".webp"}
METADATA = "metadata.jsonl"


def read_captions(path: Path, *, checked: bool = False) -> dict[str, str]:
    """Picture's name → caption, for all, in the archive's order. Raises InvalidRequest for the first fault.

    `checked`: the archive was read once before, whole; then its pictures are not unpacked again.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _captions(archive, checked)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, UnicodeDecodeError, ValueError, OSError) as error:
        refuse(f"the archive is broken ({error})", "make it again with an ordinary zip tool")


def read_pictures(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """(name, caption, content) of each picture, in the archive's order, under the same checks and bounds."""
    captions = read_captions(path)
    with zipfile.ZipFile(path) as archive:
        for name, caption in captions.items():
            yield name, caption, _read(archive, archive.getinfo(name), MAX_ENTRY_BYTES)


def _captions(archive: zipfile.ZipFile, checked: bool) -> dict[str, str]:
    entries = [
        entry for entry in archive.infolist() if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")
    ]
    _check_entries(entries)
    captions, pictures, left = dict[str, str](), list[str](), MAX_TOTAL_BYTES
    for entry in entries:
        name = PurePosixPath(entry.filename)
        if checked and name.suffix.lower() in IMAGES:
            pictures.append(entry.filename)
            continue
        content = _read(archive, entry, min(left, MAX_ENTRY_BYTES))
        left -= len(content)
        if name.suffix.lower() in IMAGES:
            wrong = fault_of_image(content)
            if wrong:
                refuse(f"{name}: {wrong}", "use whole PNG, JPEG or WebP files, of 16 to 8192 pixels a side")
            pictures.append(entry.filename)
        elif entry.filename == METADATA:
            captions |= _metadata(content)
        elif name.suffix.lower() == ".txt":
            for suffix in IMAGES:
                captions.setdefault(str(name.with_suffix(suffix)), content.decode())
        else:
            refuse(f"{name} is neither picture nor caption", f"keep only pictures, their .txt captions and {METADATA}")
    return _matched(pictures, captions)


def _matched(pictures: list[str], captions: dict[str, str]) -> dict[str, str]:
    if not pictures:
        refuse("it holds no pictures", "put PNG, JPEG or WebP files in it")
    found = {}
    for name in pictures:
        caption = normalise(captions.get(name, ""))
        wrong = fault(caption)
        if wrong:
            beside = PurePosixPath(name).with_suffix(".txt")
            refuse(f"the caption of {name}: {wrong}", f"write it into {beside} or {METADATA}")
        found[name] = caption
    return found


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    """Names, links and sizes as the directory tells them, before anything is unpacked."""
    if len(entries) > MAX_ENTRIES:
        refuse(f"it holds {len(entries)} files, more than {MAX_ENTRIES}", "split it over several uploads")
    if len({entry.filename for entry in entries}) < len(entries):
        refuse("two files in it have the same name", "give each its own name")
    for entry in entries:
        name = entry.filename
        if (
            name.startswith("/")
            or "\\" in name
            or ":" in name
            or ".." in PurePosixPath(name).parts
            or not name.isprintable()
        ):
            refuse(f"{name!r} is not a plain relative name", "use names without .., drives and leading slashes")
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            refuse(f"{name} is a link or a device", "put the files themselves into it")
        if entry.flag_bits & 1:
            refuse(f"{name} is encrypted", "make the archive without a password")
    if sum(entry.file_size for entry in entries) > MAX_TOTAL_BYTES:
        refuse(f"unpacked it has more than {MAX_TOTAL_BYTES // 2**20} MiB", "split it over several uploads")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, at_most: int) -> bytes:
    """Unpack at most so many bytes, whatever the directory says: it may lie. Reading to the end checks the CRC."""
    with archive.open(entry) as file:
        content = file.read(at_most + 1)
    if len(content) > at_most:
        refuse(f"{entry.filename} unpacks to more than {at_most} bytes", "use smaller pictures, or split the archive")
    return content


def _metadata(content: bytes) -> dict[str, str]:
    found = {}
    for number, line in enumerate(content.decode().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            found[str(entry["file_name"])] = str(entry["prompt"])
        except (ValueError, KeyError, TypeError, RecursionError):
            remedy = 'write one object a line: {"file_name": "…", "prompt": "…"}'
            refuse(f"{METADATA}, line {number} names no picture and prompt", remedy)
    return found
