"""The end of an attempt is written behind the worker's back: the device goes on to the next job."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.domain.jobs import State
from service.domain.outside import Store
from tests.eventually import eventually
from tests.worker.attempt.conftest import Workshop


class Gate:
    """A real store in front of which manifests wait until the gate is open."""

    def __init__(self, store: Store) -> None:
        self._store, self.open_gate = store, threading.Event()
        self.waiting: list[str] = []

    def put_file(self, key: str, path: Path) -> None:
        if path.name.startswith("manifest") or "manifest" in key:
            self.waiting.append(key)
            assert self.open_gate.wait(20)
        self._store.put_file(key, path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.fixture
def gate(workshop: Workshop) -> Gate:
    gate = Gate(workshop.store)
    workshop.store = gate  # type: ignore[assignment]
    workshop.use_lease(workshop.lease)
    return gate


@pytest.fixture
def worker(workshop: Workshop, gate: Gate) -> Iterator[Any]:
    worker = workshop.worker()
    yield worker
    gate.open_gate.set()
    worker.stop()
    worker.join()


class TestTheNextJob:
    def test_trains_while_the_manifest_of_the_one_before_is_stored(
        self, workshop: Workshop, gate: Gate, worker: Any
    ) -> None:
        first, second = workshop.submit(), workshop.submit()
        worker.start()
        workshop.trains(second)
        assert workshop.job(first).state is State.FINALIZING
        gate.open_gate.set()
        for job in (first, second):
            workshop.reaches(job, State.SUCCEEDED)

    def test_s_end_waits_for_the_end_before_so_that_a_third_is_not_begun(
        self, workshop: Workshop, gate: Gate, worker: Any
    ) -> None:
        """A store that is away does not let a worker train on and on with nothing delivered."""
        first, second, third = (workshop.submit() for _ in range(3))
        worker.start()
        workshop.trains(second, 6)
        with pytest.raises(AssertionError, match="not so within"):
            eventually(lambda: workshop.job(third).state is not State.QUEUED, 0.7)
        assert workshop.job(first).state is State.FINALIZING
        gate.open_gate.set()
        for job in (first, second, third):
            workshop.reaches(job, State.SUCCEEDED)


class TestAWorkerThatEnds:
    def test_waits_for_the_last_end_to_be_written(self, workshop: Workshop, gate: Gate) -> None:
        job, worker = workshop.submit(), workshop.worker()
        worker.start()
        eventually(lambda: gate.waiting)
        worker.stop()
        joining = threading.Thread(target=worker.join)
        joining.start()
        gate.open_gate.set()
        joining.join(20)
        assert workshop.job(job).state is State.SUCCEEDED
