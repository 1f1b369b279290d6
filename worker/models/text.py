"""What families keep of encoded prompts: on the CPU and bounded in bytes, for a row of FLUX's T5 alone is 4 MB."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CACHED_BYTES = 2**30

Row = Mapping[str, Tensor]
"""One prompt, encoded: tensors [1, …] by the denoiser's argument names."""


class TextCache:
    """Encodes each text once, by itself, so that its bits do not depend on its company; forgets the least recent.

    `encode` is given with each call and not kept: a family that its own cache held would be freed by a garbage
    collection only, and its weights with it.
    """

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self._limit = limit
        self._rows: OrderedDict[str, Row] = OrderedDict()
        self._bytes = 0

    def rows(
        self,
        texts: Sequence[str],
        encode: Callable[[str], Row],
        device: torch.device,
        reading: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> dict[str, Tensor]:
        """The texts' rows one below the other [N, …], on `device`; always with the same `encode`.

        `reading` is entered once around all that is encoded, and not at all where every row is there.
        """
        with nullcontext() if all(text in self._rows for text in texts) else reading():
            found = [self._row(text, encode) for text in texts]
        return {name: torch.cat([row[name] for row in found]).to(device) for name in found[0]}

    def _row(self, text: str, encode: Callable[[str], Row]) -> Row:
        if text not in self._rows:
            with torch.no_grad():
                self._rows[text] = {name: value.cpu() for name, value in encode(text).items()}
            self._bytes += _size(self._rows[text])
        self._rows.move_to_end(text)
        row = self._rows[text]
        while self._bytes > self._limit and len(self._rows) > 1:
            self._bytes -= _size(self._rows.popitem(last=False)[1])
        return row


def _size(row: Row) -> int:
    return sum(value.nbytes for value in row.values())


@dataclass(frozen=True, slots=True)
class Reader:
    """A text encoder's eye: its tokenizer, how many tokens of a prompt it reads beside its marks, its name in sentences."""

    tokenizer: Any
    kept: int
    name: str = "the text encoder"

    def truncation(self, prompt: str) -> str | None:
        tokens = self.tokenizer(prompt, add_special_tokens=False, verbose=False).input_ids
        if len(tokens) <= self.kept:
            return None
        lost = self.tokenizer.decode(tokens[self.kept :])
        return f"{self.name} reads {self.kept} tokens; of {prompt[:60]!r}… it will not see {lost!r}"


def clip_reader(tokenizer: Any) -> Reader:
    """75 tokens of CLIP's 77, beside the marks of beginning and end."""
    return Reader(tokenizer, tokenizer.model_max_length - 2)


def t5_reader(tokenizer: Any, length: int) -> Reader:
    """T5 marks the end only."""
    return Reader(tokenizer, length - 1, "the T5 text encoder")
