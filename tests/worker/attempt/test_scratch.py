import subprocess
import sys
from pathlib import Path

from worker.attempt.scratch import Scratch


def left_by_a_dead_worker(root: Path) -> Path:
    code = f"""if 1:
        import os, pathlib
        from worker.attempt.scratch import Scratch
        scratch = Scratch(pathlib.Path({str(root)!r}))
        os._exit(9)
    """
    subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3])
    (folder,) = root.glob("worker-*")
    return folder


class TestScratch:
    def test_of_an_attempt_is_fresh_and_removed_at_its_end(self, tmp_path: Path) -> None:
        scratch = Scratch(tmp_path)
        with scratch.attempt("job-1") as folder:
            (folder / "file").touch()
        assert not folder.exists()
        scratch.close()

    def test_of_a_dead_worker_is_removed_by_the_next(self, tmp_path: Path) -> None:
        left = left_by_a_dead_worker(tmp_path)
        Scratch(tmp_path).close()
        assert not left.exists()

    def test_of_a_living_worker_is_left_alone(self, tmp_path: Path) -> None:
        living = Scratch(tmp_path)
        with living.attempt("job-1") as folder:
            Scratch(tmp_path).close()
            assert folder.exists()
        living.close()

    def test_is_gone_when_its_worker_ends_well(self, tmp_path: Path) -> None:
        Scratch(tmp_path).close()
        assert list(tmp_path.glob("worker-*")) == []
