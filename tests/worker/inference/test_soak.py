"""The soak of `benchmarks/inference/soak.py`, short: no picture is wrong, whatever happens beside it."""

from pathlib import Path

from benchmarks.inference.soak import soak


def test_random_traffic_with_aborts_damage_and_want_of_memory_draws_no_wrong_picture(sd_folder: Path) -> None:
    done = soak(sd_folder, seconds=5)
    assert (done.wrong, done.astray) == (0, 0)
    assert min(done.pictures, done.aborted, done.corrupt, done.splits) > 0
