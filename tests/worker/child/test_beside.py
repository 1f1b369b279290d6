import threading
from collections.abc import Callable

import pytest

from tests.eventually import eventually
from worker.child.beside import Beside


class TestBeside:
    def test_does_one_after_another_in_order_and_finish_waits_for_all(self) -> None:
        beside, done = Beside(), []
        for number in range(20):
            beside.do(lambda number=number: done.append(number))  # type: ignore[misc]
        beside.finish()
        assert done == list(range(20))

    def test_holds_whoever_brings_more_than_one_piece_beyond_the_one_that_is_worked_on(self) -> None:
        beside, gate, order = Beside(), threading.Event(), list[str]()

        def piece(name: str) -> Callable[[], None]:
            def work() -> None:
                assert gate.wait(10)
                order.append(f"{name} done")

            return work

        def bring() -> None:
            for name in ("first", "second", "third"):
                beside.do(piece(name))
                order.append(f"{name} taken")

        bringing = threading.Thread(target=bring)
        bringing.start()
        eventually(lambda: "second taken" in order)
        gate.set()
        bringing.join(10)
        beside.finish()
        assert order.index("second taken") < order.index("first done") < order.index("third taken")

    def test_a_failure_is_told_to_who_asks_and_what_came_after_is_left_undone(self) -> None:
        beside, done = Beside(), []

        def fails() -> None:
            raise OSError("disk full")

        beside.do(fails)
        with pytest.raises(OSError, match="disk full"):
            beside.finish()
        with pytest.raises(OSError, match="disk full"):
            beside.do(lambda: done.append(1))
        assert done == []

    def test_that_was_never_given_anything_is_finished(self) -> None:
        Beside().finish()
