"""Prompts out of an uploaded file that a job names."""

from service.domain.files import File, FileKind
from service.domain.outside import Store
from service.domain.uploads import read_prompts


def read(store: Store, file: File) -> tuple[str, ...]:
    """The prompts of a stored text or JSONL file. Raises Damaged and Unavailable."""
    return parse(b"".join(store.open(file.key)), file)


def parse(content: bytes, file: File) -> tuple[str, ...]:
    """Normalised, in order. The file was checked when it was uploaded; InvalidRequest where another release is stricter."""
    assert file.kind in (FileKind.TEXT, FileKind.JSONL)
    return read_prompts(content, file.kind)
