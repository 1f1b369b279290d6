"""The short version of the fault matrix: each row that takes no real training, on one of its stacks, with few rounds.

`make faults` is the whole of it. What must hold are the invariants; the figures are for that version.
"""

from collections.abc import Mapping

import pytest

from tests.faults import runner
from tests.faults.matrix import ROWS
from tests.faults.row import Result
from tests.faults.servers import Servers

pytestmark = pytest.mark.alone

SHORT = [row for row in ROWS if row.short]


@pytest.fixture(scope="module")
def results(servers: Servers) -> Mapping[str, Result]:
    """All rows side by side, once."""
    done = runner.run(runner.short(ROWS), servers, lanes=4, limit_seconds=300)
    return {result.row.fault: result for result in done}


@pytest.mark.slow
@pytest.mark.parametrize("fault", [row.fault for row in SHORT])
def test_the_invariants_hold_under(fault: str, results: Mapping[str, Result]) -> None:
    result = results[fault]
    assert result.held, "\n".join([f"on {result.parts} parts:", *map(str, result.violations), str(result.figures)])


def test_every_fault_is_told_once() -> None:
    assert len({row.fault for row in ROWS}) == len(ROWS)
