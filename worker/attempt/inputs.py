"""The files that a claim names, brought into the attempt's scratch folder, each with its digest checked.

A damaged checkpoint can be done without, where there is one before it; everything else raises Damaged, or NotStaged.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from service.domain import prompts
from service.domain.artifacts import Artifact
from service.domain.errors import Damaged, InvalidRequest
from service.domain.files import File
from service.operations.attempts import Attempts, Claim
from worker.attempt.patience import STORE_SECONDS, patiently
from worker.attempt.pictures import unpack
from worker.attempt.staging import NotStaged
from worker.attempt.watch import Watch


class Inputs:
    """Waits a while for a store that is away: raises Unavailable then, FenceLost when the job is no longer ours."""

    def __init__(self, claim: Claim, attempts: Attempts, watch: Watch, scratch: Path) -> None:
        self._claim, self._attempts, self._watch, self._scratch = claim, attempts, watch, scratch

    def prompts(self) -> tuple[Path, Path | None]:
        """The prompts, one a line, and the index of the job's own pictures, whose captions they are where none were given."""
        texts, index = self._claim.job.recipe.prompts, None
        if self._claim.prompts_file is not None:
            texts = self._read_prompts(self._claim.prompts_file)
        if self._claim.images is not None:
            archive = self._scratch / "images.zip"
            patiently(self._watch, partial(self._attempts.read_file, self._claim.images, archive), STORE_SECONDS)
            index, captions = unpack(archive, self._scratch / "pictures")
            texts = texts or captions
            archive.unlink()
        path = self._scratch / "prompts.txt"
        path.write_bytes(prompts.as_file(texts or ()))
        return path, index

    def _read_prompts(self, file: File) -> tuple[str, ...]:
        try:
            read = partial(self._attempts.read_prompts, file, self._scratch / "prompts")
            return patiently(self._watch, read, STORE_SECONDS)
        except InvalidRequest as error:
            text = f"{error.message}; upload the prompts again, and post the job anew"
            raise NotStaged(text, code="prompts_unreadable") from error

    def start(self) -> Path | None:
        """The adapter that the job begins with."""
        return self._read(self._claim.start, "start.safetensors") if self._claim.start else None

    def goal(self) -> Path | None:
        """The checkpoint that a certificate's replay must meet."""
        if self._claim.job.recipe.replay is None:
            return None
        try:
            if self._claim.goal is None:
                raise Damaged("it is not stored any more")
            return self._read(self._claim.goal, "goal.safetensors")
        except Damaged as error:
            raise NotStaged(
                f"the checkpoint to be met cannot be had ({error.message}): certify up to another one",
                code="checkpoint_damaged",
            ) from error

    def beginnings(
        self, tell_damaged: Callable[[Artifact, str], None]
    ) -> Iterator[tuple[Artifact | None, Path | None]]:
        """What to begin with, the best first: the checkpoints whose bytes are what they were, then nothing.

        A replay can begin with its own checkpoint only.
        """
        for artifact in self._claim.checkpoints:
            try:
                path = self._read(artifact, f"resume-{artifact.fence}-{artifact.name}")
            except Damaged as error:
                tell_damaged(artifact, error.message)
            else:
                yield artifact, path
        if self._claim.job.recipe.replay is None:
            yield None, None

    def _read(self, artifact: Artifact, name: str) -> Path:
        path = self._scratch / name
        patiently(self._watch, partial(self._attempts.read, artifact, path), STORE_SECONDS)
        return path
