"""Trainings in this process, on the tiny base."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.domain.catalogue import BaseModelEntry, Family
from service.domain.recipes import Recipe
from worker import pipe
from worker.child.run import run

PROMPTS = ["a red dot", "a blue dot", "no"]
METHOD = {
    "type": "sharpening-rlhf",
    "candidates": 2,
    "rollout_steps": 2,
    "prompts_per_step": 2,
    "timesteps_per_pair": 1,
    "learning_rate": 1e-3,
}


@dataclass
class Told:
    """What a training said, and the folder that it wrote to."""

    folder: Path
    said: list[pipe.Message] = field(default_factory=list)

    @property
    def end(self) -> pipe.Finished:
        assert isinstance(self.said[-1], pipe.Finished)
        return self.said[-1]

    def files(self, kind: str) -> dict[int, pipe.FileMade]:
        return {said.step: said for said in self.said if isinstance(said, pipe.FileMade) and said.kind == kind}

    def steps(self) -> list[int]:
        return [said.step for said in self.said if isinstance(said, pipe.Report) and said.type == "job.step"]

    def nfe(self, step: int) -> int:
        """Spent up to and with this step."""
        reports = {said.step: said for said in self.said if isinstance(said, pipe.Report) and said.type == "job.step"}
        return int(reports[step].data["training_nfe"])

    def data(self, step: int) -> bytes:
        return (self.folder / self.files("checkpoint")[step].name).read_bytes()


Train = Callable[..., Told]


@pytest.fixture
def train(tmp_path: Path, sd_folder: Path) -> Train:
    """Run a recipe to its end; `checkpoint`, `goal` and `start` are bytes, `images` is an index."""

    def train(
        *,
        checkpoint: bytes | None = None,
        goal: bytes | None = None,
        start: bytes | None = None,
        images: Path | None = None,
        base: Path = sd_folder,
        family: Family = "sd",
        device: str = "cpu",
        **change: Any,
    ) -> Told:
        folder = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        folder.mkdir()
        given = {"prompts.txt": "".join(prompt + "\n" for prompt in PROMPTS).encode()}
        given |= {"from": checkpoint, "goal": goal, "start": start}
        paths = {name: folder / name for name, data in given.items() if data is not None}
        for name, path in paths.items():
            path.write_bytes(given[name] or b"")
        fields: dict[str, Any] = {"base_model": "b", "prompts": PROMPTS, "reward": {"type": "jpeg-compressibility"}}
        fields |= {"method": METHOD, "steps": 6, "checkpoint_every": 2, "samples": {"every": 0}, "lora": {"rank": 2}}
        entry = BaseModelEntry(name="b", source=str(sd_folder), family=family, resolution=64)
        recipe = Recipe(**(fields | change), base=entry, prompts_sha256="", prompt_count=len(PROMPTS))
        begin = pipe.Begin(
            recipe=recipe.model_dump(mode="json"),
            prompts_path=str(paths["prompts.txt"]),
            base_path=str(base),
            reward_model_path=None,
            checkpoint_path=str(paths["from"]) if checkpoint else None,
            scratch=str(folder),
            device=device,
            threads=1,
            lease_seconds=60.0,
            goal_path=str(paths["goal"]) if goal else None,
            images_path=str(images) if images else None,
            start_path=str(paths["start"]) if start else None,
        )
        told = Told(folder)
        run(begin, told.said.append, lambda: None)
        return told

    return train
