"""Two or more contenders side by side: A B A B in one run, medians, bootstrap intervals, and what is counted beside time."""

import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.queue.statistics import ratio

Run = Callable[[], object]
Seconds = Mapping[str, list[float]]


def contest(what: str, contenders: Mapping[str, Run], turns: int) -> Seconds:
    """The seconds of each turn of each, in turns; the first of each, which warms it up, is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    began = monotonic()
    for turn in range(turns + 1):
        for name, run in contenders.items():
            before = perf_counter()
            run()
            finished()
            if turn:
                seconds[name].append(perf_counter() - before)
        left = (monotonic() - began) / (turn + 1) * (turns - turn)
        print(f"{what}: turn {turn} of {turns}, about {left:.0f} s left", flush=True)
    return seconds


def finished() -> None:
    """Returns when the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Operations(TorchDispatchMode):
    """Counts the ATen operations of the block."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def operations(run: Run) -> int:
    with Operations() as counted:
        run()
    return counted.seen.total()


def speed(seconds: Seconds, ours: str, theirs: str) -> dict[str, Any]:
    """How many times theirs we get done in a second: their seconds over ours."""
    return _compared(seconds[theirs], seconds[ours])


def cost(seconds: Seconds, ours: str, theirs: str) -> dict[str, Any]:
    """Our seconds over theirs."""
    return _compared(seconds[ours], seconds[theirs])


def _compared(above: list[float], below: list[float]) -> dict[str, Any]:
    found, low, high = ratio(above, below, 0.5)
    return {"ratio": round(found, 4), "ci95": [round(low, 4), round(high, 4)], "turns": len(above)}


def row(name: str, place: Any, compared: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """One line of the results. `ops`, `nfe`: (ours, theirs), None where there is none to count.

    `goal`: (at least | at most, number), or None where the figure is reported only.
    """
    goal = more.pop("goal", None)
    line = {"name": name, "device": place.device, "model": place.model, **compared, "ops": None, "nfe": None, **more}
    if goal is None:
        return line
    bound, value = goal
    met = compared["ratio"] >= value if bound == "at least" else compared["ratio"] <= value
    return line | {"goal": f"{bound} {value}", "met": met}


def table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| measured | model | ratio | 95 % interval | goal | met | operations | NFE |", "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for each in rows:
        between = "{} to {}".format(*each["ci95"]) if each["ci95"] else ""
        met = {True: "yes", False: "no", None: ""}[each.get("met")]
        counted = [" : ".join(f"{count:,}" for count in each.get(kind) or ()) for kind in ("ops", "nfe")]
        lines.append(
            f"| {each['name']} | {each['model']} | {each['ratio']:.3f} | {between} | {each.get('goal', '')} | {met} "
            f"| {counted[0]} | {counted[1]} |"
        )
    return lines


def machine() -> dict[str, Any]:
    """What a part ran on, and what it was doing."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        **({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}),
        "load_before": round(os.getloadavg()[0], 2),
    }


def keep(results: Path, part: str, rows: list[dict[str, Any]], run: Mapping[str, Any]) -> None:
    """Write rows of a part into a file of results, in place of those of the same thing measured before."""
    known = json.loads(results.read_text()) if results.exists() else []
    new = [{"part": part, **each, "run": dict(run)} for each in rows]
    measured = {_what(each) for each in new}
    known = [each for each in known if _what(each) not in measured]
    results.write_text(json.dumps([*known, *new], indent=1) + "\n")


def _what(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(word) for word in ("part", "name", "device", "model", "base"))
