"""RFC 9110 §14, one range."""

import pytest

from service.wire.problems import RangeNotSatisfiable
from service.wire.ranges import chosen_range, disposition, matches

CHOSEN = {
    None: None,
    "bytes=0-0": (0, 1),
    "bytes=2-5": (2, 6),
    "bytes=7-": (7, 10),
    "bytes=-3": (7, 10),
    "bytes=-99": (0, 10),
    "bytes=2-99": (2, 10),
    "bytes=0-1,4-5": None,
    "bytes=5-2": None,
    "bytes=-": None,
    "lines=1-2": None,
    "bytes=a-b": None,
}


class TestChosenRange:
    @pytest.mark.parametrize(("header", "chosen"), CHOSEN.items(), ids=str)
    def test_of_ten_bytes(self, header: str | None, chosen: tuple[int, int] | None) -> None:
        assert chosen_range(header, 10) == chosen

    @pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-12", "bytes=-0"])
    def test_refuses_what_lies_beyond(self, header: str) -> None:
        with pytest.raises(RangeNotSatisfiable) as caught:
            chosen_range(header, 10)
        assert caught.value.size == 10


class TestMatches:
    @pytest.mark.parametrize("given", ['"3"', 'W/"3"', '"1", "3"', "*"])
    def test_the_same_tag(self, given: str) -> None:
        assert matches(given, '"3"')

    @pytest.mark.parametrize("given", [None, "", '"4"', "3"])
    def test_not_another(self, given: str | None) -> None:
        assert not matches(given, '"3"')


class TestDisposition:
    def test_names_the_file_in_ascii_and_in_full(self) -> None:
        assert disposition("step-20.png", inline=True) == 'inline; filename="step-20.png"'
        assert (
            disposition('a"é.txt', inline=False) == "attachment; filename=\"a__.txt\"; filename*=UTF-8''a%22%C3%A9.txt"
        )
