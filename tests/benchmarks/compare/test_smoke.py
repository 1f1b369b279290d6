"""The whole way, small: base, search, tuning, a trained row, then tables, goals, page and recomputing. Real parts throughout."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.compare import failures, page
from benchmarks.compare.__main__ import clear, tell
from benchmarks.compare.methods import TRAINED
from benchmarks.compare.recompute import recompute
from benchmarks.compare.results import FIELDS, rows, write_results
from benchmarks.compare.rows import Row, adapter_path
from benchmarks.compare.runner import alone, run
from benchmarks.compare.scale import Scale, quick
from benchmarks.compare.store import keep, read
from benchmarks.compare.tasks import every_task
from benchmarks.compare.tuning import grid

ROW = Row("forward-process", "clip", False, 0).name


@pytest.fixture(scope="module")
def scale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scale]:
    """Finished: base, one pool, the default's tuning and its first row."""
    folder = tmp_path_factory.mktemp("compare")
    small = replace(
        quick(folder), main=900, trial=900, main_points=(), choice_pictures=6, curve_pictures=4, trial_pictures=4,
        test_pictures=12, search_prompts=2, search_choice_prompts=1, pool=8,
    )  # fmt: skip
    (folder / "docs").mkdir()
    wanted = ("base", "search-choice", "pool-plain", *grid(small, "forward-process"), ROW)
    assert run(small, 1, wanted) == []
    yield small


class TestSmoke:
    def test_what_is_finished_is_not_done_again(self, scale: Scale, capfd: pytest.CaptureFixture[str]) -> None:
        assert run(scale, 1, [ROW]) == []
        assert "begin" not in capfd.readouterr().out

    def test_rows_have_exactly_their_fields(self, scale: Scale) -> None:
        found = rows(scale)
        assert {row["method"] for row in found} == {"base", "best-of-8", "forward-process"}
        assert all(tuple(row) == FIELDS for row in found)
        trained = next(row for row in found if row["method"] == "forward-process")
        assert trained["training_fe"] > trained["training_nfe"] > 0
        assert trained["curve"][-1]["training_fe"] == trained["training_fe"]
        assert {row["inference_nfe"] for row in found} == {20, 160}

    def test_results_are_files_of_one_line_an_entry(self, scale: Scale) -> None:
        write_results(scale)
        for name, least in (("results", 3), ("tuning", 1)):
            text = (scale.results / f"{name}.json").read_text()
            assert len(json.loads(text)) == len(text.splitlines()) - 2 >= least

    def test_the_page_is_made_between_its_marks(self, scale: Scale) -> None:
        path = scale.docs / "comparison.md"
        path.write_text(f"# Mine\n\n{page.OPEN}of yesterday\n{page.CLOSE}\nmine too\n")
        page.write_page(scale)
        text = path.read_text()
        assert text.startswith("# Mine\n") and text.endswith("mine too\n") and "of yesterday" not in text
        assert "| forward-process | clip |" in text and "best-of-8" in text and "P14 " in text

    def test_whatever_is_told_is_told_with_its_failures(self, scale: Scale) -> None:
        tell(scale)
        text = (scale.docs / "failures.md").read_text()
        assert "Prompts that got worse" in text and "blind to" in text
        assert (scale.results / "results.json").exists() and (scale.docs / "comparison.md").exists()

    def test_failures_wait_for_the_adapter_of_their_figures(self, scale: Scale) -> None:
        path = adapter_path(scale, ROW, True)
        away = path.rename(path.with_suffix(".away"))
        try:
            assert not failures.ready(scale)
            assert "not finished" in "".join(failures.made(scale))
        finally:
            away.rename(path)
        assert failures.ready(scale)

    def test_a_row_can_be_recomputed_from_its_adapter(self, scale: Scale) -> None:
        assert recompute(scale, ROW, retrain=False)

    def test_a_figure_that_is_not_the_adapter_s_is_told(self, scale: Scale, capsys: pytest.CaptureFixture[str]) -> None:
        path = scale.outcomes / f"{ROW}.json"
        told = path.read_text()
        found = json.loads(told)
        found["test"]["1x20"]["exact"] += 0.25
        path.write_text(json.dumps(found))
        try:
            assert not recompute(scale, ROW, retrain=False)
            assert "1x20 exact" in capsys.readouterr().out.split("NOT MET")[0].splitlines()[-1]
        finally:
            path.write_text(told)

    def test_a_search_is_searched_again(self, scale: Scale, capsys: pytest.CaptureFixture[str]) -> None:
        assert recompute(scale, "pool-plain", retrain=False)
        told = capsys.readouterr().out
        assert "8 exact" in told and "NOT MET" not in told

    def test_a_row_is_trained_again_to_the_same_bytes_and_the_committed_ones_stay(
        self, scale: Scale, capsys: pytest.CaptureFixture[str]
    ) -> None:
        kept = adapter_path(scale, ROW, True)
        before, left = kept.stat().st_mtime_ns, sorted(scale.scratch.rglob("*"))
        assert recompute(scale, ROW, retrain=True)
        assert "adapter: the same bytes" in capsys.readouterr().out
        assert kept.stat().st_mtime_ns == before and sorted(scale.scratch.rglob("*")) == left

    def test_another_adapter_is_refused(self, scale: Scale) -> None:
        path = adapter_path(scale, ROW, True)
        own = path.read_bytes()
        path.write_bytes(own[:-1] + bytes([own[-1] ^ 1]))
        try:
            with pytest.raises(SystemExit, match="SHA-256"):
                recompute(scale, ROW, retrain=False)
        finally:
            path.write_bytes(own)

    def test_a_second_runner_waits_its_turn(self, scale: Scale) -> None:
        with alone(scale), pytest.raises(SystemExit, match="another run"):
            run(scale, 1, ["nothing"])

    def test_a_task_that_fails_does_not_stop_the_others(self, scale: Scale, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its sentence is told, its dependants wait, nothing of it is kept."""
        damaged = scale.outcomes / "search-choice.json"
        told = damaged.read_text()
        damaged.write_text(told.replace('"radius"', '"r"'))
        try:
            failed = run(scale, 1, ["zero-order-plain"])
            assert len(failed) == 1 and "KeyError" in failed[0]
            assert read(scale.outcomes, "zero-order-plain") is None
        finally:
            damaged.write_text(told)

    def test_a_trained_row_waits_for_its_whole_grid(self, scale: Scale) -> None:
        task = next(task for task in every_task(scale) if task.name == ROW)
        assert set(task.needs) == set(grid(scale, "forward-process")) and "forward-process" in TRAINED

    def test_a_smoke_run_begins_at_nothing(self, tmp_path: Path) -> None:
        small = quick(tmp_path)
        keep(small.outcomes, "base", {"exact": 0.5})
        (small.scratch / "results.json").write_text("[]")
        clear(small)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        with (
            alone(small),
            pytest.raises(SystemExit, match="another run"),
        ):  # of a run that goes on nothing is taken away
            clear(small)

    def test_outcomes_say_where_they_were_made(self, scale: Scale) -> None:
        told = json.loads(Path(scale.outcomes / "base.json").read_text())
        assert told["commit"] and told["machine"]["cpu"] and told["machine"]["cores"] >= 1
