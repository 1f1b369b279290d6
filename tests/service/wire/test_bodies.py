"""JSON as RFC 8259 means it, and no more."""

import pytest

from service.domain.errors import InvalidRequest
from service.wire.bodies import read_json

NOT_JSON = {
    "nothing": (b"", "is empty"),
    "a torn object": (b'{"steps": ', "is not JSON"),
    "a form": (b"steps=3", "is not JSON"),
    "a byte-order mark": (b"\xef\xbb\xbf{}", "is not JSON"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "is not UTF-8"),
    "Latin-1": ('{"a": "é"}'.encode("latin-1"), "is not UTF-8"),
    "a bottomless pit": (b"[" * 200_000, "is nested too deeply"),
    "a number without end": (b"1" * 10_000, "holds a number of thousands of digits"),
}
UNFIT = {
    "NaN": (b'{"method": {"beta": NaN}}', "method.beta", "send a finite number"),
    "Infinity": (b'{"a": [1, -Infinity]}', "a.1", "send a finite number"),
    "a number beyond doubles": (b'{"a": 1e999}', "a", "send a finite number"),
    "a name twice": (b'{"lora": {"rank": 1, "rank": 2}}', "lora.rank", "keep one of the two"),
    "NUL": (b'{"prompts": ["a\\u0000b"]}', "prompts.0", "remove it"),
    "half a surrogate pair": (b'{"prompts": ["\\ud83d"]}', "prompts.0", "remove it"),
}


class TestReadJson:
    @pytest.mark.parametrize(("raw", "says"), NOT_JSON.values(), ids=NOT_JSON)
    def test_refuses_what_is_not_json(self, raw: bytes, says: str) -> None:
        with pytest.raises(InvalidRequest, match=says) as caught:
            read_json(raw)
        assert caught.value.code == "invalid_json"

    @pytest.mark.parametrize(("raw", "path", "remedy"), UNFIT.values(), ids=UNFIT)
    def test_refuses_what_json_does_not_have_by_its_place(self, raw: bytes, path: str, remedy: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            read_json(raw)
        assert caught.value.code == "invalid_json"
        assert [(each.path, each.remedy) for each in caught.value.errors] == [(path, remedy)]

    def test_takes_whole_pairs_and_any_script(self) -> None:
        assert read_json('{"prompts": ["ein grüner Kreis", "\\ud83d\\ude00", "😀"]}'.encode()) == {
            "prompts": ["ein grüner Kreis", "😀", "😀"]
        }
