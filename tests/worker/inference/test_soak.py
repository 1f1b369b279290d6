"""The soak of `benchmarks/inference/soak.py`, short: no picture is wrong, whatever happens beside it."""

from pathlib import Path

from benchmarks.inference.soak import soak


def test_random_traffic_with_aborts_damage_want_of_memory_and_engines_that_end_draws_no_wrong_picture(
    sd_folder: Path,
) -> None:
    done = soak(sd_folder, seconds=60)
    assert (done.wrong, done.astray) == (0, 0)
    assert min(done.pictures, done.aborted, done.corrupt, done.splits, done.restarts, done.turned_away) > 0
