"""The fenced finish. The manifest is written, read back and hashed before the one transaction that makes all of it true:
either the job has succeeded with a new adapter version and its manifest, or none of it happened.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from service.domain.artifacts import Artifact, Kind, Manifest, ManifestFile
from service.domain.errors import Conflict
from service.domain.ids import Fence, JobId
from service.domain.jobs import Job, State, check_transition
from service.domain.outside import Store
from service.domain.ports import Database, Deed
from service.operations import stowing

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Spent:
    """What the whole training cost, over all attempts that counted towards it."""

    nfe: int
    fe: float


@dataclass(frozen=True, slots=True)
class StoredManifest:
    key: str
    bytes: int
    sha256: str


def begin(database: Database, job_id: JobId, fence: Fence, spent: Spent) -> tuple[Job, list[Artifact]]:
    """running → finalizing (or still finalizing, when called again). Returns the job and its files."""
    with database.write() as unit:
        held = unit.jobs.own(job_id, fence)
        job = unit.jobs.get(held.tenant, job_id)
        assert job is not None
        if held.state is not State.FINALIZING:
            check_transition(held.state, State.FINALIZING)
            unit.jobs.move(held, State.FINALIZING, error=None, failures=held.failures, wait_seconds=0)
            total = replace(job.progress, training_nfe=spent.nfe, training_fe=spent.fe, seconds_left=0.0)
            unit.events.report(job_id, fence, Deed("job.finalizing", {}, total.step), total)
        return job, unit.artifacts.of(held.tenant, job_id)


def newest_adapter(kept: Sequence[Artifact]) -> Artifact:
    """The adapter that the job delivers. Raises Conflict when no attempt kept one."""
    adapters = [artifact for artifact in kept if artifact.kind is Kind.ADAPTER]
    if not adapters:
        raise Conflict("the job has no adapter to deliver: keep one before it succeeds", code="adapter_missing")
    return max(adapters, key=lambda artifact: (artifact.fence, artifact.step))


def write_manifest(store: Store, job: Job, kept: Sequence[Artifact], spent: Spent, code_version: str) -> StoredManifest:
    """Store the manifest under this attempt's prefix. It lists, for each name, the file of the highest fence.

    Checkpoints stand apart: they may go (service/operations/retention.py), while all other files stay.
    """
    latest = {artifact.name: artifact for artifact in sorted(kept, key=lambda artifact: artifact.fence)}
    lines = [_line(latest[name]) for name in sorted(latest)]
    recipe = job.recipe
    manifest = Manifest(
        job=job.id,
        base_model=recipe.base.name,
        base_revision=recipe.base.revision,
        base_licence=recipe.base.licence,
        family=recipe.base.family,
        method=recipe.method.model_dump(mode="json"),
        reward=recipe.reward.model_dump(mode="json"),
        lora=recipe.lora.model_dump(mode="json"),
        seed=recipe.seed,
        steps=recipe.steps,
        prompts_sha256=recipe.prompts_sha256,
        prompt_count=recipe.prompt_count,
        images_sha256=recipe.images_sha256,
        image_count=recipe.image_count,
        start_adapter=recipe.start_adapter,
        start_adapter_sha256=recipe.start_adapter_sha256,
        code_version=code_version,
        licence=recipe.base.licence,
        training_nfe=spent.nfe,
        training_fe=spent.fe,
        files=tuple(line for line in lines if line.kind is not Kind.CHECKPOINT),
        checkpoints=tuple(line for line in lines if line.kind is Kind.CHECKPOINT),
    )
    key = f"jobs/{job.id}/{job.fence}/{MANIFEST}"
    with tempfile.TemporaryDirectory(prefix="strop-") as folder:
        path = Path(folder) / MANIFEST
        path.write_bytes(manifest.canonical())
        size, sha256 = stowing.digest_of(path)
        stowing.stow(store, key, path, sha256)
    return StoredManifest(key, size, sha256)


def end(database: Database, job: Job, adapter: Artifact, manifest: StoredManifest, reason: str) -> Job:
    """The one transaction: lock job, then adapter; its next version; succeeded; the manifest's key and digest."""
    with database.write() as unit:
        held = unit.jobs.own(job.id, job.fence)
        check_transition(held.state, State.SUCCEEDED)
        row = unit.artifacts.add(
            held, name=MANIFEST, kind=Kind.MANIFEST, step=job.progress.step,
            key=manifest.key, bytes=manifest.bytes, sha256=manifest.sha256,
        )  # fmt: skip
        version = unit.adapters.publish(held, job.recipe.base.name, adapter, row, reason)
        unit.receipts.await_one(version)
        unit.jobs.end_attempt(held, "succeeded")
        data = {"adapter": version.reference, "manifest_sha256": manifest.sha256, "reason": reason}
        unit.events.append(job.id, job.fence, Deed("job.succeeded", data, job.progress.step))
        done = unit.jobs.get(held.tenant, job.id)
        assert done is not None
        return done


def _line(artifact: Artifact) -> ManifestFile:
    return ManifestFile(
        name=artifact.name,
        kind=artifact.kind,
        key=artifact.key,
        step=artifact.step,
        fence=artifact.fence,
        bytes=artifact.bytes,
        sha256=artifact.sha256,
    )
