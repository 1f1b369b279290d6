"""JSON as RFC 8259 means it, and no more."""

import json

import pytest

from service.domain.errors import InvalidRequest
from service.domain.recipes import JobRequest
from service.wire.bodies import MAX_ITEMS, MAX_NAMES, _Objects, parse, read_json
from service.wire.fields import TOLD
from tests.compared import Compared

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

    def test_finds_a_name_twice_in_one_pass(self) -> None:
        names, before = [Compared(f"n{number}") for number in range(2000)], Compared.times
        found = _Objects()([(name, 0) for name in (*names, Compared("n1999"))])
        assert found.name == "n1999"  # type: ignore[attr-defined]
        assert Compared.times - before < 10 * len(names)

    def test_tells_of_the_first_places_only(self) -> None:
        with pytest.raises(InvalidRequest) as caught:
            read_json(b'{"a": [' + b"NaN," * 1000 + b"NaN]}")
        assert [each.path for each in caught.value.errors] == [f"a.{place}" for place in range(TOLD)]

    def test_more_names_than_any_request_has_are_not_read_on(self) -> None:
        some, many = ({f"n{number}": 0 for number in range(count)} for count in (MAX_NAMES, MAX_NAMES // 2))
        assert read_json(json.dumps(some).encode()) == some
        with pytest.raises(InvalidRequest) as caught:
            read_json(json.dumps({"a": many, "b": [many]}).encode())
        assert f"more than {MAX_NAMES} names" in caught.value.errors[0].message

    def test_an_array_longer_than_any_is_not_compared_with_a_model(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(JobRequest, "model_validate_json", lambda *given, **named: 1 / 0)
        with pytest.raises(InvalidRequest) as caught:
            parse(JobRequest, b'{"prompts": [' + b"1," * MAX_ITEMS + b"1]}")
        (wrong,) = caught.value.errors
        assert (wrong.path, wrong.message.split(",", maxsplit=1)[0]) == ("prompts", f"has {MAX_ITEMS + 1} items")
        assert caught.value.code == "invalid_request"

    def test_takes_whole_pairs_and_any_script(self) -> None:
        assert read_json('{"prompts": ["ein grüner Kreis", "\\ud83d\\ude00", "😀"]}'.encode()) == {
            "prompts": ["ein grüner Kreis", "😀", "😀"]
        }
