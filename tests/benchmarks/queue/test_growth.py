"""What finished jobs cost the verbs that are asked all day: nothing but a level of an index. A short run of the benchmark."""

from pathlib import Path

import pytest

from benchmarks.queue import growth
from benchmarks.queue.plans import Cost

FEW, MANY = 1_000, 30_000
NAMES = {"submit", "claim", "poll", "list, first page", "list, page half-way down", "reap"}


@pytest.mark.slow
@pytest.mark.postgres
def test_a_verb_touches_one_page_more_at_most_each_time_it_goes_down_an_index_and_reads_no_table_whole(
    postgresql_server: str, tmp_path: Path
) -> None:
    found = []
    for finished in (FEW, MANY):
        with growth.crowded(postgresql_server, finished, tmp_path) as crowd:
            found.append(growth.costs(crowd))
            naive = growth.naive_costs(crowd, finished)
    rows = growth.rows(*found)
    assert {row["verb"] for row in rows} >= NAMES
    assert [row for row in rows if not row["holds"]] == [], "\n".join(growth.table(rows))
    assert all(row["pages_many"] < 400 for row in rows)
    assert naive["list, first page"].pages > 1_000, "and the measure sees what a count(*) costs"
    assert naive["list, first page"].whole_reads == {"naive_jobs"}


def test_a_verb_that_grows_is_told() -> None:
    few, many = Cost(pages=10, descents=2, indexes={"a"}), Cost(pages=13, descents=2, indexes={"a"})
    (row,) = growth.rows({"v": few}, {"v": many})
    assert (row["more"], row["holds"], row["holds_per_index"]) == (3, False, False)
    (row,) = growth.rows({"v": few}, {"v": Cost(pages=12, descents=2, indexes={"a"})})
    assert (row["holds"], row["holds_per_index"]) == (True, False)
    (row,) = growth.rows({"v": few}, {"v": Cost(pages=10, descents=2, indexes={"a"}, whole_reads={"jobs"})})
    assert not row["holds"]
