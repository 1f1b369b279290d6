"""Prompts out of an uploaded file that a job names."""

from service.domain.files import File, FileKind
from service.domain.ports import Store
from service.domain.uploads import read_prompts


def read(store: Store, file: File) -> tuple[str, ...]:
    """The prompts of a text or JSONL file, normalised, in order. It was checked when it was uploaded."""
    assert file.kind in (FileKind.TEXT, FileKind.JSONL)
    return read_prompts(b"".join(store.open(file.key)), file.kind)
