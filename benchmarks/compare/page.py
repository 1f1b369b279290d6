"""docs/comparison.md between its marks, out of outcomes: goals, tables, break-even, tuning, ablations, and where they were made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from benchmarks.compare import plots, tables
from benchmarks.compare.goals import goals
from benchmarks.compare.methods import DEFAULT, TRAJECTORIES
from benchmarks.compare.results import outcomes
from benchmarks.compare.scale import Scale
from benchmarks.compare.store import read
from benchmarks.compare.tables import Cells
from benchmarks.compare.tasks import every_task

OPEN, CLOSE = "<!-- made by: python -m benchmarks.compare table -->\n", "<!-- end of what is made -->\n"


def write_page(scale: Scale) -> None:
    """Replace what stands between the marks; a page that is not there yet is begun."""
    path = scale.docs / "comparison.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text() if path.exists() else f"# Comparison\n\n{OPEN}{CLOSE}"
    before, rest = text.split(OPEN)
    path.write_text(before + OPEN + "\n".join(made(scale)) + "\n" + CLOSE + rest.split(CLOSE)[1])


def made(scale: Scale) -> Iterator[str]:
    yield from ("", *origin(scale), "")
    yield from ("### Goals", "", *(f"- {line}" for line in goals(scale)), "")
    if read(scale.outcomes, "base") is None:
        return
    yield from (
        "### Each row at its own best (guidance, steps) of NFE 20",
        "",
        *table(tables.trained(scale, "best")),
        "",
    )
    yield from ("### The same at guidance 1", "", *table(tables.trained(scale, "plain")), "")
    if len(apart := list(tables.trajectories(scale))) > 1:
        yield from ("### Trajectory selection against online-dpo", "", *table(iter(apart)), "")
    yield from ("### Search, without training", "", *table(tables.searches(scale)), "")
    for name, caption in plots.write(scale):
        yield from (f"![{caption}](figures/{name})", "")
    yield from ("### Break-even", "", *table(tables.break_even(scale)), "")
    yield from ("### Ablations", "", *ablated(scale), "")
    for method in (DEFAULT, TRAJECTORIES):
        yield from (f"#### {method}", "", *table(tables.ablation_rows(scale, method)), "")
    yield from ("### Tuning", "", *table(tables.tuning_rows(scale)), "")


def ablated(scale: Scale) -> Iterator[str]:
    """What the intervals of the ablations leave out."""
    yield f"A training run each (seed {scale.ablation_seed}), {scale.trial:,} fe, judged on the {scale.ablation_pictures} validation pictures after the first "
    yield f"{scale.ablation_skip}: a method's values were chosen neither on these nor with this seed. Gains are paired with the method unchanged; "
    yield "their intervals are of pictures alone, and leave out how training seeds differ. Where *runs* says 2 the better of two learning rates "
    yield "is shown; what ran once ran at the tuned rate."


def origin(scale: Scale) -> Iterator[str]:
    """Command, commits, machines, and how much is there."""
    told = outcomes(scale)
    commits = Counter(one["commit"] for one in told.values())
    machines = Counter(f"{one['machine']['cpu']}, {one['machine']['cores']} cores" for one in told.values())
    yield f"`make compare`, {len(told)} of {len(every_task(scale))} tasks finished. "
    yield f"Commits: {', '.join(str(name) for name in commits) or 'none'}. Machine: {'; '.join(machines) or 'none'}; one thread a task."


def table(lines: Iterator[Cells]) -> Iterator[str]:
    """Markdown."""
    for number, cells in enumerate(lines):
        yield "| " + " | ".join(cells) + " |"
        if number == 0:
            yield "|---" * len(cells) + "|"
