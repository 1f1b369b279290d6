"""The page's modules that only reckon, asked in the browser: what counts where an attempt ran a step again, and scales."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.watched import Watched

pytestmark = pytest.mark.browser


@pytest.fixture
def page(keyless: str, new_page: Callable[..., tuple[Page, Watched]]) -> Page:
    made, _ = new_page()
    made.goto(keyless)
    return made


def step(number: int, fence: int, step: int, mean: float | None) -> dict[str, Any]:
    data = {"reward": {"mean": mean, "best": 1, "worst": 0}}
    return {"number": number, "fence": fence, "step": step, "type": "job.step", "data": data}


def samples(number: int, fence: int, step: int) -> dict[str, Any]:
    return {"number": number, "fence": fence, "step": step, "type": "job.samples", "data": {}}


RECORD = """async ([events, what]) => {
    const { Record } = await import("/ui/record.js");
    const record = new Record();
    for (const event of events) record.take([event]);
    return what === "curve"
        ? record.curve((data) => ({ value: data.reward.mean })).map(({ step, value }) => [step, value])
        : [...record.samples].map(([step, event]) => [step, event.fence]);
}"""


class TestARecord:
    def test_takes_the_highest_fence_where_a_step_was_run_twice(self, page: Page) -> None:
        events = [step(1, 1, 1, 0.1), step(2, 1, 2, 0.2), step(3, 1, 3, 0.3), step(4, 2, 2, 0.25), step(5, 2, 3, 0.35)]
        for order in (events, events[::-1]):
            assert page.evaluate(RECORD, [order, "curve"]) == [[1, 0.1], [2, 0.25], [3, 0.35]]

    def test_does_so_for_pictures_too(self, page: Page) -> None:
        assert page.evaluate(RECORD, [[samples(1, 1, 0), samples(2, 1, 5), samples(3, 2, 5)], "samples"]) == [
            [0, 1],
            [5, 2],
        ]

    def test_leaves_out_steps_without_a_value(self, page: Page) -> None:
        assert page.evaluate(RECORD, [[step(1, 1, 1, None), step(2, 1, 2, 0.5)], "curve"]) == [[2, 0.5]]


class TestAScale:
    @pytest.mark.parametrize(
        ("low", "high", "count", "whole", "expected"),
        [
            (0, 1, 4, False, [0, 0.25, 0.5, 0.75, 1]),
            (-0.02, 0.1, 4, False, [0, 0.05, 0.1]),
            (1, 8, 8, True, [1, 2, 3, 4, 5, 6, 7, 8]),
            (1, 2, 8, True, [1, 2]),
            (1, 5000, 5, True, [1000, 2000, 3000, 4000, 5000]),
        ],
    )
    def test_has_round_ticks(  # noqa: PLR0917
        self, page: Page, low: float, high: float, count: int, whole: bool, expected: list[float]
    ) -> None:
        words = "async (given) => (await import('/ui/scale.js')).ticks(...given)"
        assert page.evaluate(words, [low, high, count, whole]) == expected

    def test_draws_fewer_points_than_there_are_and_keeps_their_extremes(self, page: Page) -> None:
        words = """async () => {
            const { thinned } = await import("/ui/scale.js");
            const many = Array.from({ length: 5000 }, (_, i) => ({ step: i + 1, value: i % 2, low: -(i === 77), high: 1 + (i === 4711) }));
            const fewer = thinned(many);
            return [fewer.length, fewer.at(-1).step, Math.min(...fewer.map((p) => p.low)), Math.max(...fewer.map((p) => p.high))];
        }"""
        count, last, low, high = page.evaluate(words)
        assert count <= 600
        assert (last, low, high) == (5000, -1, 2)
