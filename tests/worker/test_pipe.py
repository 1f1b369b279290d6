import io
from typing import Any

import pytest

from worker.pipe import (
    Begin,
    Failed,
    FileMade,
    Finished,
    Garbled,
    Message,
    Ready,
    Report,
    Saving,
    Still,
    Stop,
    Tick,
    receive,
    send,
)

WORDS: list[Message] = [
    Begin({"steps": 3}, "/p", "/b", None, None, "/s", "cpu", 1, 2.0),
    Tick(1.5),
    Stop("pause", True),
    Ready("cpu", None),
    Report("job.step", 3, {"loss": 0.5}),
    FileMade("a.png", "sample", 3, 10, "0" * 64),
    Saving(3),
    Still(),
    Finished(3, None, 30, 37.5),
    Failed("nan_loss", "lower the rate\nor else", False),
]


class TestWords:
    def test_arrive_as_they_were_sent(self) -> None:
        stream = io.BytesIO()
        for word in WORDS:
            send(stream, word)
        stream.seek(0)
        assert list(receive(stream)) == WORDS

    def test_torn_off_by_a_killed_sender_are_the_end(self) -> None:
        assert list(receive(io.BytesIO(b'{"word":"Tick","seconds_left":1}\n{"word":"Ti'))) == [Tick(1)]

    @pytest.mark.parametrize("line", [b"hello\n", b'{"word":"Sing"}\n', b'{"word":"Tick"}\n', b'["Tick"]\n', b"3\n"])
    def test_that_are_none_of_ours_are_told(self, line: bytes) -> None:
        with pytest.raises(Garbled):
            list(receive(io.BytesIO(line)))

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_hold_no_number_that_json_has_not(self, value: Any) -> None:
        with pytest.raises(ValueError, match="JSON"):
            send(io.BytesIO(), Report("job.step", 1, {"loss": value}))
