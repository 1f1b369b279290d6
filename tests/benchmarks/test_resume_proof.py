"""The short version of `make resume-proof`: the same stack and the same kills, on a tiny base."""

from pathlib import Path

import pytest

from benchmarks import resume_proof
from tests.worker import tiny

CATALOGUE = '[bases.tiny]\nsource = "base"\nfamily = "sd"\nresolution = 64\nlicence = "none"\n'
JOB = {
    "base_model": "tiny",
    "prompts": ["a red dot", "a blue dot", "no"],
    "reward": {"type": "jpeg-compressibility"},
    "method": {
        "type": "sharpening-rlhf",
        "candidates": 3,
        "rollout_steps": 4,
        "prompts_per_step": 2,
        "timesteps_per_pair": 2,
    },
    "lora": {"rank": 2},
    "steps": 30,
    "checkpoint_every": 2,
    "samples": {"every": 0},
}


@pytest.mark.slow
def test_killed_paused_and_replayed_a_job_makes_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.pipeline_folder(tmp_path / "base")
    (tmp_path / "catalogue.toml").write_text(CATALOGUE)
    for name, value in {**resume_proof.SETTINGS, "STROP_CATALOGUE": str(tmp_path / "catalogue.toml")}.items():
        monkeypatch.setenv(name, value)
    said: list[str] = []
    assert resume_proof.prove(tmp_path / "state", JOB, kills=1, seed=3, say=said.append), said
    straight, killed, paused, certificate = said
    assert "undisturbed" in straight
    assert "killed at" in killed
    assert "the same bits" in killed
    assert "the same bits" in paused
    assert certificate.endswith("holds")


def test_other_bits_are_called_so() -> None:
    straight = resume_proof.Row("straight through", (), (), 1, "a" * 64)
    other = resume_proof.Row("killed", ("child killed at 3",), (2,), 2, "b" * 64)
    assert "OTHER BITS" in resume_proof.line(other, straight)
