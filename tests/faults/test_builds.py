"""A row must be able to fail: Strop with one thing taken out, and the checker that sees it, by the invariant's name."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.faults import runner
from tests.faults.builds import BUILDS
from tests.faults.matrix import ROWS
from tests.faults.row import Result
from tests.faults.servers import Servers

pytestmark = pytest.mark.alone

LANES = 4


@dataclass(frozen=True)
class Seen:
    """Under this fault, in so many rounds, as this violation. `patience`: most rows wait for what never comes."""

    fault: str
    rounds: int
    violation: str
    patience: float = 0.4


SEEN = {
    "no_reaping": Seen("steward SIGKILL", 1, "I1"),
    "no_polling": Seen("crash between commit and ring", 1, "I1"),
    "no_read_back": Seen("S3 answers 500, cuts or takes half a body", 3, "I2"),
    "no_fence": Seen("worker SIGSTOP for two leases, then on", 3, "I3"),
    "no_idempotency": Seen("connection cut around COMMIT", 8, "I4"),
    "deaf_to_cancel": Seen("cancel against completion", 1, "I5", patience=3),
    "workers_clock": Seen("clock of a worker ± 1 h", 2, "false reaps"),
}


@pytest.fixture(scope="module")
def results(servers: Servers) -> Mapping[str, Result]:
    """All of them side by side, once."""
    rows = {row.fault: row for row in ROWS}

    def run(build: str) -> Result:
        seen = SEEN[build]
        task = runner.Task(rows[seen.fault], "real", seen.rounds)
        return runner.run_one(task, servers, build=build, patience=seen.patience)

    with ThreadPoolExecutor(LANES) as pool:
        return dict(zip(SEEN, pool.map(run, SEEN), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("build", SEEN)
def test_the_checker_sees(build: str, results: Mapping[str, Result]) -> None:
    result = results[build]
    assert SEEN[build].violation in {violation.name for violation in result.violations}, (
        result.violations,
        result.figures,
    )


def test_each_invariant_has_a_build_that_breaks_it() -> None:
    assert {seen.violation for seen in SEEN.values()} >= {"I1", "I2", "I3", "I4", "I5"}
    assert BUILDS.keys() - SEEN.keys() == {"late_bell"}, "which is a fault, not a broken build"
