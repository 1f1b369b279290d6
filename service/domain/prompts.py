"""Prompts as the learner sees them: one spelling of each, and one hash for the whole list in its order."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

from service.domain.recipes import MAX_PROMPT_LENGTH


def normalise(text: str) -> str:
    """One spelling: Unicode NFC, runs of blanks and line breaks become one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fault(prompt: str) -> str | None:
    """What is wrong with a normalised prompt, or None."""
    if not prompt:
        return "the prompt is empty"
    if len(prompt) > MAX_PROMPT_LENGTH:
        return f"the prompt has {len(prompt)} characters, more than {MAX_PROMPT_LENGTH}"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in prompt):
        return "the prompt holds control characters"
    return None


def digest(prompts: Iterable[str]) -> str:
    """SHA-256 of the normalised prompts, one a line."""
    total = hashlib.sha256()
    for prompt in prompts:
        total.update(prompt.encode() + b"\n")
    return total.hexdigest()


def as_file(prompts: Sequence[str]) -> bytes:
    """The prompts as a text file, one a line: the bytes that `digest` hashes."""
    return "".join(prompt + "\n" for prompt in prompts).encode()
