"""What is kept of encoded prompts, and what is said of those that are too long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from worker.models.base import PipelineFamily
from worker.models.text import TextCache

LoadKind = Callable[..., PipelineFamily]
CPU = torch.device("cpu")


class Encoder:
    """Counts its calls; a row is 4 KB."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, text: str) -> dict[str, Tensor]:
        self.asked.append(text)
        return {"rows": torch.full((1, 1024), float(len(text)))}


class TestTextCache:
    def test_a_text_is_encoded_once(self) -> None:
        encoder = Encoder()
        cache = TextCache()
        rows = cache.rows(["a", "bb", "a"], encoder, CPU)["rows"]
        cache.rows(["bb"], encoder, CPU)
        assert rows[:, 0].tolist() == [1, 2, 1]
        assert encoder.asked == ["a", "bb"]

    def test_it_keeps_the_most_recent_within_its_bytes(self) -> None:
        encoder = Encoder()
        cache = TextCache(limit=2 * 4096)
        for text in ("a", "b", "a", "c", "a", "b"):
            cache.rows([text], encoder, CPU)
        assert encoder.asked == ["a", "b", "c", "b"]

    def test_the_reader_is_called_in_once_for_all_that_is_new(self) -> None:
        """A text encoder that is parked moves once for a whole batch, and not at all for texts that are known."""
        encoder, cache, visits = Encoder(), TextCache(), []

        @contextmanager
        def reading() -> Iterator[None]:
            visits.append(len(encoder.asked))
            yield

        for texts in (["a", "b"], ["b", "a"], ["a", "c", "d"], ["c"]):
            cache.rows(texts, encoder, CPU, reading)
        assert encoder.asked == ["a", "b", "c", "d"]
        assert visits == [0, 2]

    def test_a_row_above_the_bound_is_answered_all_the_same(self) -> None:
        assert TextCache(limit=1).rows(["a", "b"], Encoder(), CPU)["rows"].shape == (2, 1024)


class TestTruncations:
    LONG = "a very long prompt indeed"

    @pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3-without-t5"])
    def test_what_every_clip_loses_is_said_once(self, kind: str, load_kind: LoadKind) -> None:
        (sentence,) = load_kind(kind).truncations(["a red dot", self.LONG])
        assert "reads 14 tokens" in sentence
        assert "'t indeed'" in sentence

    @pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3-without-t5"])
    def test_what_is_lost_changes_nothing(self, kind: str, load_kind: LoadKind) -> None:
        encoded = load_kind(kind).encode([self.LONG, "a very long prompt"]).positive
        for name, (cut, whole) in encoded.items():
            assert torch.equal(cut, whole), name

    @pytest.mark.parametrize(("kind", "length"), [("sd3", 256), ("flux-dev", 512), ("flux-schnell", 256)])
    def test_t5_reads_on_to_its_own_bound(self, kind: str, length: int, load_kind: LoadKind) -> None:
        family = load_kind(kind)
        cut, whole = family.encode([self.LONG, "a very long prompt"]).positive["encoder_hidden_states"]
        assert not torch.equal(cut, whole)
        clip, t5 = family.truncations(["b" * 600])
        assert clip.startswith("the text encoder reads 14 tokens")
        assert t5.startswith(f"the T5 text encoder reads {length - 1} tokens")


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3", "flux-dev"])
def test_company_changes_no_bit(kind: str, load_kind: LoadKind) -> None:
    together = load_kind(kind).encode(["a red dot", "blue", "no"]).positive
    for name, alone in load_kind(kind).encode(["blue"]).positive.items():
        assert torch.equal(together[name][1:2], alone), name
