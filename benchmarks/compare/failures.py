"""docs/failures.md between its marks: prompts that got worse, what the reward is blind to, rows that gained nothing.

It looks at the default trained on clip, main budget, first seed, against the base, each at its own best; pictures are drawn
again from their seeds. A run of the comparison writes it anew at its end, once that row is there.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.compare.gains import gain, points
from benchmarks.compare.judging import drawn, from_bits
from benchmarks.compare.methods import DEFAULT
from benchmarks.compare.page import table
from benchmarks.compare.plots import sheet
from benchmarks.compare.results import at_best, runs_of, setting_of
from benchmarks.compare.rows import Row, adapter_path
from benchmarks.compare.scale import Scale
from benchmarks.compare.statistics import within
from benchmarks.compare.store import read
from benchmarks.compare.tables import groups
from benchmarks.compare.world import base, pictures_of
from worker.models.family import Family
from worker.shapes.oracle import judge
from worker.shapes.scene import parse

OPEN, CLOSE = "<!-- made by: python -m benchmarks.compare failures -->\n", "<!-- end of what is made -->\n"
SHOWN = 12
NEAR = 0.8
"""Below this the oracle's graded parts of a picture count as wrong, in words."""


def write_page(scale: Scale) -> None:
    """Replace what stands between the marks; a page that is not there yet is begun."""
    path = scale.docs / "failures.md"
    text = path.read_text() if path.exists() else f"# Failures\n\n{OPEN}{CLOSE}"
    before, rest = text.split(OPEN)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(before + OPEN + "\n".join(made(scale)) + "\n" + CLOSE + rest.split(CLOSE)[1])


def made(scale: Scale) -> Iterator[str]:
    if not ready(scale):
        yield "\nThe default's first row is not finished."
        return
    row = _row(scale)
    told, before = read(scale.outcomes, row.name), read(scale.outcomes, "base")
    assert told is not None and before is not None
    pictures = Pictures(scale, row, before, told)
    yield from ("", *worse(pictures, scale), "", *blind(pictures, scale), "", *useless(scale), "")


def ready(scale: Scale) -> bool:
    """Whether base and row are there, and the row's own adapter beside its figures: outcomes may be copied without it."""
    told, path = read(scale.outcomes, _row(scale).name), adapter_path(scale, _row(scale).name, True)
    if told is None or "test" not in told or read(scale.outcomes, "base") is None or not path.exists():
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == str(told["adapter_sha256"])


def _row(scale: Scale) -> Row:
    return Row(DEFAULT, "clip", False, scale.seeds[0])


class Pictures:
    """Both sides' verdicts on the same test pictures, and the pictures themselves where they are wanted."""

    def __init__(self, scale: Scale, row: Row, before: dict[str, Any], after: dict[str, Any]) -> None:
        self.texts, self.seeds = pictures_of("test", at_best(after)["pictures"])
        self.settings = [setting_of(one["best"]) for one in (before, after)]
        self.exact = [from_bits(at_best(one)["bits"]).astype(float) for one in (before, after)]
        self.clip = [np.array(at_best(one)["clip"]) / 1000 for one in (before, after)]
        self._adapter = adapter_path(scale, row.name, True).read_bytes()
        self._families: dict[int, Family] = {}

    def draw(self, side: int, places: list[int]) -> np.ndarray:
        """Pictures of the base (0) or the sharpened (1): uint8 [len(places), 64, 64, 3]."""
        if side not in self._families:
            self._families[side] = base()
            if side:
                self._families[side].load_adapter("sharpened", self._adapter)
                self._families[side].wear("sharpened")
        texts, seeds = [self.texts[place] for place in places], [self.seeds[place] for place in places]
        return drawn(self._families[side], texts, seeds, self.settings[side])[0]

    def by_prompt(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place, text in enumerate(self.texts):
            places.setdefault(text, []).append(place)
        return places


def worse(pictures: Pictures, scale: Scale) -> Iterator[str]:
    change = pictures.exact[1] - pictures.exact[0]
    drops = {text: change[places].sum() for text, places in pictures.by_prompt().items()}
    down, up = sum(drop < 0 for drop in drops.values()), sum(drop > 0 for drop in drops.values())
    yield "### Prompts that got worse"
    yield ""
    yield f"Of {len(drops)} test prompts {up} have more right pictures than before and {down} fewer (of {len(change) // len(drops)} each); "
    yield f"{int((change < 0).sum())} pictures of {len(change)} were right and are wrong now, {int((change > 0).sum())} the other way round."
    yield ""
    yield from table(_facets(pictures, change))
    worst = [text for text in sorted(drops, key=lambda text: drops[text]) if drops[text] < 0][:SHOWN]
    if worst:
        places = [place for text in worst for place in pictures.by_prompt()[text]]
        rows = {"base": pictures.draw(0, places), "sharpened": pictures.draw(1, places)}
        sheet(scale, "failures-worse.png", rows, [pictures.texts[place] for place in places])
        yield ""
        yield "![The prompts with the worst drops: base above sharpened, same seeds; a green frame is right in everything](figures/failures-worse.png)"


def _facets(pictures: Pictures, change: np.ndarray) -> Iterator[list[str]]:
    """Where the gain lies, by what the prompt asks for."""
    yield ["prompts with", "pictures", "base", "sharpened", "change, points"]
    scenes = [parse(text) for text in pictures.texts]
    facets: dict[str, list[int]] = {}
    for place, scene in enumerate(scenes):
        first, second = scene.things
        alike = [name for name in ("colour", "shape") if getattr(first, name) == getattr(second, name)]
        same = f"two things of one {alike[0]}" if alike else "things that differ in both"
        for name in (f'"{scene.relation}"', same, *{f"a {thing.shape}" for thing in scene.things}):
            facets.setdefault(name, []).append(place)
    for name, places in sorted(facets.items(), key=lambda facet: change[facet[1]].mean()):
        before, after = (side[places].mean() for side in pictures.exact)
        yield [name, str(len(places)), f"{before:.3f}", f"{after:.3f}", f"{100 * (after - before):+.1f}"]


def blind(pictures: Pictures, scale: Scale) -> Iterator[str]:
    yield "### What the reward is blind to"
    yield ""
    yield "Does the CLIP rank the pictures of one prompt as the oracle does, and how sure is it of pictures that are wrong?"
    yield ""
    yield from table(_trust(pictures))
    clip, exact = pictures.clip[1], pictures.exact[1]
    fooled = [int(place) for place in np.argsort(-clip, kind="stable") if not exact[place]]
    some = fooled[: 8 * SHOWN]
    if some:
        seen = pictures.draw(1, some)
        reasons = Counter(
            reason for place, one in zip(some, seen, strict=True) for reason in wrong(one, pictures.texts[place])
        )
        yield ""
        yield f"What is wrong in the {len(some)} wrong pictures of the sharpened model that the CLIP likes best (a picture may have several faults): "
        yield ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) + "."
        sheet(
            scale, "failures-blind.png", {"sharpened": seen[:SHOWN]}, [pictures.texts[place] for place in some[:SHOWN]]
        )
        yield ""
        yield "![Wrong pictures with the highest CLIP scores](figures/failures-blind.png)"


def _trust(pictures: Pictures) -> Iterator[list[str]]:
    yield [
        "",
        "correlation with exact within a prompt",
        "mean score, right",
        "mean score, wrong",
        "wrong among the top half by score",
    ]
    each = min(len(places) for places in pictures.by_prompt().values())
    for name, exact, clip in zip(("base", "sharpened"), pictures.exact, pictures.clip, strict=True):
        places = [rows[:each] for rows in pictures.by_prompt().values()]
        top = clip >= np.median(clip)
        means = [clip[exact == value].mean() if (exact == value).any() else float("nan") for value in (1, 0)]
        yield [
            name, f"{within(clip[places], exact[places]):.3f}" if each > 1 else "", *(f"{mean:.3f}" for mean in means),
            f"{1 - exact[top].mean():.3f}",
        ]  # fmt: skip


def wrong(picture: np.ndarray, text: str) -> list[str]:
    """The oracle's reasons, in words."""
    seen = judge(picture, parse(text))
    faults = {
        "a wrong number of things": not seen.count_right, "a colour": seen.colour < NEAR, "a shape": seen.shape < NEAR,
        "the relation": not seen.relation,
    }  # fmt: skip
    found = [name for name, fault in faults.items() if fault]
    return found or ["a thing that is almost one"]


def useless(scale: Scale) -> Iterator[str]:
    yield "### Rows that gained nothing, or lost"
    yield ""
    yield from table(_lost(scale))


def _lost(scale: Scale) -> Iterator[list[str]]:
    yield ["method", "trained on", "at guidance 1", "at its own best"]
    before = read(scale.outcomes, "base")
    assert before is not None
    for method, trained_on, long in groups(scale):
        runs, name = runs_of(scale, method, trained_on, long), f"{method}{' (long)' if long else ''}"
        if not runs.done:
            yield [name, trained_on, *["; ".join(runs.failures)] * 2]
            continue
        gains = [gain(runs.done, before, where) for where in ("plain", "best")]
        if gains[1].low <= 0:
            yield [name, trained_on, *(points(one) for one in gains)]
