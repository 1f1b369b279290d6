"""Is a resumed job the undisturbed one, bit for bit? Two equal jobs on the embedded stack, one of them killed, and a certificate.

    python -m benchmarks.resume_proof [--seed N] [--kills 3] [--steps 16]

Straight through; then the same job, whose child or worker is ended by SIGKILL at random steps (the seed is printed); then the
same job once more, paused and resumed by its owner. The three adapters must have one SHA-256, and the service's own replay
between two checkpoints of the killed job must hold. Prints a table; the exit code is 1 where anything differs. On a CPU.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import strop

from examples.demo.stack import Stack, running
from service.embedded import record

JOB: dict[str, Any] = {
    "base_model": "shapes",
    "prompts": ["a red circle left of a blue square", "a green triangle above a yellow circle", "a blue square"],
    "reward": {"type": "clip", "model": "shapes-clip"},
    "method": {
        "type": "sharpening-rlhf",
        "candidates": 4,
        "rollout_steps": 4,
        "prompts_per_step": 2,
        "timesteps_per_pair": 2,
        "learning_rate": 5e-3,
    },
    "lora": {"rank": 4},
    "checkpoint_every": 3,
    "samples": {"every": 0},
    "validation": {"every": 4, "num_inference_steps": 4},
}
SETTINGS = {
    "STROP_DEVICE": "cpu",
    "STROP_LEASE_SECONDS": "6",  # so that a lost worker is not waited for long
    "STROP_BACKOFF_SECONDS": "0",
    "STROP_POLL_SECONDS": "0.5",
    "STROP_ATTEMPT_LIMIT": "100",
}
PATIENCE = 600.0
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Row:
    """A job: what was done to it, from which steps it went on, and the adapter that came of it."""

    name: str
    done: tuple[str, ...]
    resumed: tuple[int, ...]
    attempts: int
    sha256: str


def until(condition: Callable[[], Result], what: str) -> Result:
    """Ask until the answer is true. Raises SystemExit when that takes too long."""
    over = time.monotonic() + PATIENCE
    while not (answer := condition()):
        if time.monotonic() > over:
            raise SystemExit(f"resume-proof: {what}: not within {PATIENCE:.0f} s")
        time.sleep(0.02)
    return answer


class Proof:
    """`state` is the stack's folder: there stand the ids of its processes."""

    def __init__(self, stack: Stack, state: Path, job: Mapping[str, Any]) -> None:
        self._client, self._gateway, self._state, self._job = stack.client, stack.gateway, state, job

    def straight(self) -> Row:
        return self._row("straight through", self._client.jobs.create(**self._job).id, ())

    def killed(self, steps: Sequence[int], victims: Sequence[str]) -> tuple[Row, str]:
        """End the child or the worker once the job has reached each of the steps; the row, and the job's id."""
        id, done, fence = self._client.jobs.create(**self._job).id, list[str](), 0
        for step, victim in zip(steps, victims, strict=True):
            fence, reached = self._reaches(id, step, after=fence)
            self._process(victim).kill()
            done.append(f"{victim} killed at {reached}")
        return self._row("killed", id, tuple(done)), id

    def paused(self, step: int) -> Row:
        id = self._client.jobs.create(**self._job).id
        _, reached = self._reaches(id, step, after=0)
        self._client.jobs.pause(id)
        until(lambda: self._client.jobs.get(id).state == "paused", "the job is paused")
        self._client.jobs.resume(id)
        return self._row("paused", id, (f"paused at {reached}",))

    def certified(self, id: str) -> strop.Certificate | None:
        return self._client.jobs.wait(self._client.jobs.certificate(id).id).certificate

    def _reaches(self, id: str, step: int, after: int) -> tuple[int, int]:
        """Wait until an attempt after that fence has done the step; returns its fence and how far it is."""

        def there() -> tuple[int, int] | None:
            if self._client.jobs.get(id).state in ("succeeded", "failed", "cancelled"):
                raise SystemExit(f"resume-proof: the job ended before it was caught at step {step}: give it more steps")
            steps = [(event["fence"], event["step"]) for event in self._events(id, "job.step")]
            return max((seen for seen in steps if seen[0] > after and seen[1] >= step), default=None)

        return until(there, f"step {step} is reached") or (after, step)

    def _events(self, id: str, kind: str) -> list[dict[str, Any]]:
        """What has happened so far."""
        found: list[dict[str, Any]] = []
        query: dict[str, Any] = {"limit": 100}
        while True:
            page = self._gateway.get(f"/jobs/{id}/events", params=query).raise_for_status().json()
            found += [event for event in page["data"] if event["type"] == kind]
            if not page["has_more"]:
                return found
            query["after"] = page["data"][-1]["number"]

    def _process(self, victim: str) -> psutil.Process:
        def found() -> psutil.Process | None:
            worker = record.living(self._state / "pids" / "worker.json")
            if worker is None or victim == "worker":
                return worker
            return next((child for child in worker.children() if "worker.child" in child.cmdline()), None)

        return until(found, f"there is a {victim}") or psutil.Process()

    def _row(self, name: str, id: str, done: tuple[str, ...]) -> Row:
        ended = self._client.jobs.wait(id)
        (adapter,) = (each for each in self._client.artifacts.list(id) if each.kind == "adapter")
        resumed = tuple(int(event["data"]["step"]) for event in self._events(id, "job.resumed"))
        return Row(name, done, resumed, len(ended.attempts), adapter.sha256)


def prove(state: Path, job: Mapping[str, Any], *, kills: int, seed: int, say: Callable[[str], None] = print) -> bool:
    """All of it on a stack of its own; whether every adapter is the same and the certificate holds."""
    chance = random.Random(seed)
    steps = sorted(chance.sample(range(1, job["steps"] - 1), kills))
    victims = [("child", "worker")[(seed + number) % 2] for number in range(kills)]
    with running(state) as stack:
        proof = Proof(stack, state, job)
        rows = [proof.straight()]
        say(line(rows[0], rows[0]))
        row, id = proof.killed(steps, victims)
        rows.append(row)
        say(line(row, rows[0]))
        rows.append(proof.paused(chance.randrange(1, job["steps"] // 2)))
        say(line(rows[-1], rows[0]))
        certificate = proof.certified(id)
    assert certificate is not None, "a certificate that succeeded says what it found"
    verdict = "holds" if certificate.holds else "DOES NOT HOLD"
    say(f"certificate of the killed job, steps {certificate.from_step} to {certificate.to_step}: {verdict}")
    return certificate.holds and len({row.sha256 for row in rows}) == 1


def line(row: Row, straight: Row) -> str:
    verdict = "the same bits" if row.sha256 == straight.sha256 else "OTHER BITS"
    done = ", ".join(row.done) or "undisturbed"
    resumed = ", ".join(str(step) for step in row.resumed) or "-"
    return f"{row.name:<17} {row.sha256[:16]}  {verdict:<13}  attempts {row.attempts}, resumed from {resumed}; {done}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**16))
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    arguments = parser.parse_args()
    os.environ |= SETTINGS
    print(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory(prefix="strop-proof-") as folder:
        job = JOB | {"steps": arguments.steps}
        held = prove(Path(folder), job, kills=arguments.kills, seed=arguments.seed)
    print(
        "every adapter is the same, bit for bit" if held else "resume-proof: a resumed job is not the undisturbed one"
    )
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
