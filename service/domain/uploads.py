"""Reading uploaded prompts: text (one a line) and JSONL (`{"prompt": …}` a line). Whole, or refused with the line number."""

import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NoReturn

from service.domain.errors import FieldError, InvalidRequest
from service.domain.files import FileKind
from service.domain.prompts import fault, normalise
from service.domain.recipes import MAX_PROMPT_LENGTH, MAX_PROMPTS


def refuse(message: str, remedy: str, *, code: str = "invalid_file") -> NoReturn:
    raise InvalidRequest(
        f"the file cannot be used: {message}", errors=(FieldError("file", message, remedy),), code=code
    )


def detect(content: bytes) -> FileKind:
    """Text or JSONL, by the first line that is not blank. Raises InvalidRequest for what is neither."""
    first = next((line for _, line in _lines(content)), "")
    try:
        return FileKind.JSONL if isinstance(json.loads(first), dict) else FileKind.TEXT
    except (ValueError, RecursionError):
        return FileKind.TEXT


def read_prompts(content: bytes, kind: FileKind) -> tuple[str, ...]:
    """The prompts, normalised, in their order; blank lines are passed over. Raises InvalidRequest for the first fault."""
    prompts = []
    for number, line in _lines(content):
        prompt = normalise(_prompt_of(line, number) if kind is FileKind.JSONL else line)
        wrong = fault(prompt)
        if wrong:
            refuse(f"line {number}: {wrong}", f"give each prompt 1 to {MAX_PROMPT_LENGTH} printable characters")
        prompts.append(prompt)
        if len(prompts) > MAX_PROMPTS:
            refuse(f"line {number}: more than {MAX_PROMPTS} prompts", "split the file over several jobs")
    if not prompts:
        refuse("it holds no prompt", "write one prompt a line")
    return tuple(prompts)


def _lines(content: bytes) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of those that are not blank."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            refuse(f"line {number} is not UTF-8 text", "upload UTF-8 text, JSONL, or a zip archive of pictures")
        if "\0" in text:
            refuse(f"line {number} is binary data", "upload UTF-8 text, JSONL, or a zip archive of pictures")
        if text.strip():
            yield number, text


def _prompt_of(line: str, number: int) -> str:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        refuse(f"line {number} is not JSON", 'write one object a line: {"prompt": "…"}')
    prompt = entry.get("prompt") if isinstance(entry, dict) else None
    if not isinstance(prompt, str):
        refuse(f"line {number} has no prompt", 'write one object a line, with a text under "prompt": {"prompt": "…"}')
    return prompt


_SUFFIXES = {
    ".txt": FileKind.TEXT,
    ".jsonl": FileKind.JSONL,
    ".ndjson": FileKind.JSONL,
    ".zip": FileKind.IMAGES,
}


def check_name(filename: str, kind: FileKind) -> None:
    """A name with an ending that we know must not say another kind than the content. Raises InvalidRequest."""
    ending = PurePosixPath(filename.lower()).suffix
    if _SUFFIXES.get(ending, kind) is not kind:
        refuse(f"its name ends with {ending}, but its content is {kind.value}", "give it the ending of what it is")
    if ending == ".json":
        refuse("its name ends with .json", "write JSONL, one object a line, and end its name with .jsonl")
