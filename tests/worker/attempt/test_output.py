from worker.attempt.output import LogLines


class Written:
    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        self.lines = LogLines(self.events.append)

    def add(self, count: int) -> None:
        for number in range(count):
            self.lines.add(f"line {number}")


class TestLogLines:
    def test_come_in_batches_and_in_order(self) -> None:
        written = Written()
        written.add(25)
        assert [len(event["lines"]) for event in written.events] == [20]  # type: ignore[arg-type]
        written.lines.flush()
        assert [line for event in written.events for line in event["lines"]] == [f"line {n}" for n in range(25)]  # type: ignore[attr-defined]

    def test_without_words_are_left_out(self) -> None:
        written = Written()
        written.lines.add("   ")
        written.lines.close()
        assert written.events == []

    def test_of_a_flood_are_the_first_and_the_last_with_the_number_between(self) -> None:
        written = Written()
        written.add(1000)
        written.lines.close()
        *first, last = written.events
        assert sum(len(event["lines"]) for event in first) == 200  # type: ignore[arg-type]
        assert last == {"lines": [f"line {n}" for n in range(950, 1000)], "omitted": 750}

    def test_keep_the_last_words(self) -> None:
        written = Written()
        written.lines.add("RuntimeError: out of ideas")
        written.lines.add("")
        assert written.lines.last == "RuntimeError: out of ideas"
