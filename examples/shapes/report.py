"""Shows the card's figures: the sweep as a picture, the rest as tables in the README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OPEN, CLOSE = "<!-- figures from card.json -->\n", "<!-- end of figures -->\n"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Exact share against NFE, a line a guidance, written as a PNG."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for guidance in sorted({row["guidance"] for row in rows}):
        line = [row for row in rows if row["guidance"] == guidance]
        calls, shares = [row["nfe"] for row in line], [row["exact"] for row in line]
        axes.errorbar(calls, shares, [row["half_width"] for row in line], marker="o", capsize=2, label=f"{guidance:g}")
    calls = sorted({row["nfe"] for row in rows})
    axes.set_xscale("log")
    axes.set_xticks(calls, [str(count) for count in calls])
    axes.minorticks_off()
    axes.set(xlabel="denoiser calls a picture (NFE)", ylabel="exactly right, test prompts", ylim=(0, None))
    axes.legend(title="guidance", loc="lower right")
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight", metadata={"Software": None})


def write_tables(card: dict[str, Any], readme: Path) -> None:
    """Replace what stands between the README's two marks; parts that are not on the card yet are left out."""
    lines = []
    if "sweep" in card:
        rows = card["sweep"]["grid"]
        guidances = sorted({row["guidance"] for row in rows})
        lines += [
            "Exactly right on test prompts (no sharpening), +- 95 % half-width, by guidance and denoiser calls:",
            "",
        ]
        lines += ["| NFE | pictures | " + " | ".join(f"guidance {g:g}" for g in guidances) + " |"]
        lines += ["|---" * (2 + len(guidances)) + "|"]
        for calls in sorted({row["nfe"] for row in rows}):
            line = {row["guidance"]: row for row in rows if row["nfe"] == calls}
            cells = [f"{line[g]['exact']:.3f} +- {line[g]['half_width']:.3f}" for g in guidances]
            lines += [f"| {calls} | {line[guidances[0]]['pictures']} | " + " | ".join(cells) + " |"]
        lines += ["", "![Exact share against NFE](../../docs/figures/base-sweep.png)", ""]
    lines += ["| figure | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in _facts(card)]
    before, rest = readme.read_text().split(OPEN)
    readme.write_text(before + OPEN + "\n".join(lines) + "\n" + CLOSE + rest.split(CLOSE)[1])


def _facts(card: dict[str, Any]) -> list[tuple[str, str]]:
    facts = []
    if "weights" in card:
        facts += [(f"parameters, {name}", f"{n:,}") for name, n in sorted(card["weights"]["parameters"].items())]
    if "autoencoder" in card:
        facts += [("reconstructions that stay exact", f"{card['autoencoder']['exact']:.3f}")]
    if "clip" in card:
        facts += [(f"CLIP prefers the true caption, wrong {kind}", f"{v:.3f}") for kind, v in card["clip"].items()]
    if "search" in card:
        found = card["search"]
        where = f"guidance {found['guidance']:g}, NFE {found['nfe']}"
        facts += [
            ("CLIP's correlation with exact, within a prompt", f"{found['within_prompt_correlation_with_exact']:.3f}"),
            ("the same with the partial score", f"{found['within_prompt_correlation_with_partial']:.3f}"),
        ]
        facts += [(f"best of {n} by the CLIP, {where}", f"{v:.3f}") for n, v in _counted(found["best_of_n_by_clip"])]
        facts += [(f"best of 8 by the oracle, {where}", f"{found['best_of_8_by_oracle']:.3f}")]
    if "convergence" in card:
        found = card["convergence"]
        facts += [
            (f"gain of going on with pre-training at guidance {found['guidance']:g}",
             f"{100 * found['gain']:+.1f} +- {100 * found['half_width']:.1f} points"),
        ]  # fmt: skip
    return facts


def _counted(by_number: dict[Any, float]) -> list[tuple[Any, float]]:
    """In the order of the numbers; a card that was read back has them as text."""
    return sorted(by_number.items(), key=lambda pair: int(pair[0]))
