"""What people would rather look at: the two rows of pictures, the reward curve, and the table at the end."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
import strop
from matplotlib import pyplot
from rich.console import Console
from rich.table import Table


def side_by_side(
    path: Path, prompts: list[str], rows: dict[str, list[np.ndarray]], exact: dict[str, list[bool]]
) -> None:
    """One column a prompt, one row a model, the same seeds; a green frame is right in everything, a red one is not."""
    figure, axes = pyplot.subplots(len(rows), len(prompts), figsize=(1.55 * len(prompts), 1.75 * len(rows) + 0.4))
    for line, (name, pictures) in enumerate(rows.items()):
        for column, picture in enumerate(pictures):
            axis = axes[line, column]
            axis.imshow(picture, interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
            for side in axis.spines.values():
                side.set_color("#2b8a3e" if exact[name][column] else "#c92a2a")
                side.set_linewidth(2.5)
            if column == 0:
                axis.set_ylabel(name, fontsize=10)
            if line == len(rows) - 1:
                axis.set_xlabel(_folded(prompts[column]), fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def reward_curve(path: Path, steps: list[strop.Event]) -> None:
    """Reward of the rollouts by step: the mean over candidates, between the worst and the best of each prompt."""
    x = [event.step for event in steps]
    figure, axis = pyplot.subplots(figsize=(6, 3.4))
    reward = [event.data["reward"] for event in steps]
    axis.fill_between(
        x, [r["worst"] for r in reward], [r["best"] for r in reward], alpha=0.2, label="worst to best candidate"
    )
    axis.plot(x, [r["mean"] for r in reward], label="mean of the candidates")
    axis.set_xlabel("step")
    axis.set_ylabel("reward")
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def table(console: Console, report: dict[str, Any]) -> None:
    """The report in a few lines."""
    shown = Table(title="Held-out prompts, judged by the exact oracle")
    for heading in ("", "exact", "95 %", "reward", "guidance", "steps", "NFE / image"):
        shown.add_column(heading, justify="left" if not heading else "right")
    for name in ("base", "sharpened"):
        row = report[name]
        low, high = row["exact_ci95"]
        shown.add_row(
            name, f"{row['exact']:.1%}", f"{low:.1%} – {high:.1%}", f"{row['reward']:.4f}", f"{row['guidance']:g}",
            str(row["num_inference_steps"]), str(row["nfe"]),
        )  # fmt: skip
    console.print(shown)
    low, high = report["gain_exact_ci95"]
    console.print(
        f"gain {100 * report['gain_exact']:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f}), at equal NFE per image"
    )
    if report["break_even_images"]:
        console.print(
            f"the base needs best-of-{report['best_of_n']} for as much; training ({report['training_fe']:,.0f} "
            f"forward-equivalents) is cheaper from image {report['break_even_images']:,} on"
        )


def _folded(prompt: str) -> str:
    words = prompt.split()
    half = len(words) // 2
    return " ".join(words[:half]) + "\n" + " ".join(words[half:])
