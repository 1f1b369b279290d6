"""Receipts without an endpoint: records as one would measure them, and a measurer that gives them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from service.domain import prompts as texts
from service.domain.adapters import AdapterVersion
from service.domain.artifacts import Kind
from service.domain.principals import LOCAL
from service.domain.receipts import (
    BreakEven,
    Calls,
    Drawing,
    Judgement,
    Latency,
    Measured,
    Memory,
    Receipt,
    Verdict,
    faults,
)
from service.operations.receipts import Receipts, Subject
from tests.service.world import World


def measured(*, ratio: float = 1.0, gain: float = 0.1) -> Measured:
    """Figures of a receipt, of nobody's job: `of_subject` makes them a certain job's."""
    judgement = Judgement(
        reward={"type": "clip", "model": "shapes-clip"}, base_mean=0.2, adapter_mean=0.2 + gain, gain=gain,
        gain_ci95=(gain - 0.05, gain + 0.05), win_rate=0.75, win_rate_ci95=(0.6, 0.9),
    )  # fmt: skip
    return Measured(
        drawing=Drawing(
            prompts_from="training", prompts_sha256="0" * 64, prompt_count=2, seeds=(0, 1), num_inference_steps=10,
            guidance_scale=3.0, scheduler="ddim", resolution=64, batch_sizes=(2,), base_sha256="1" * 64,
            adapter_sha256="2" * 64,
        ),
        calls=Calls(base=20.0, adapter=20.0 * ratio, ratio=ratio),
        latency=Latency(base_seconds=1.0, adapter_seconds=1.1, ratio=1.1, ratio_ci95=(1.0, 1.2), pairs=5),
        reward=judgement,
        held_out=None,
        held_out_missing="the catalogue has no other judge",
        memory=Memory(base_bytes=1000, adapter_bytes=1100, kind="process"),
        break_even=BreakEven(images=100, best_of=2, training_nfe=800, training_fe=960.5, reason=None),
    )  # fmt: skip


def receipt_of(version: AdapterVersion, figures: Measured | None = None, **changed: Any) -> Receipt:
    figures = figures or measured()
    found = faults(figures)
    words: dict[str, Any] = {
        "adapter": version.reference, "adapter_sha256": version.file.sha256, "manifest_sha256": version.manifest_sha256,
        "job": version.job, "base_model": version.base_model, "base_revision": "sha256:base", "family": "sd",
        "device": "cpu", "torch_version": "2.13.0", "code_version": "test", "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        "verdict": Verdict.FAILED if found else Verdict.PASSED, "reasons": found,
    }  # fmt: skip
    return Receipt(**figures.model_dump(), **{**words, **changed})


def of_subject(subject: Subject, figures: Measured | None = None, **changed: Any) -> Receipt:
    """As an honest endpoint would measure what it was asked to."""
    figures, base, spent = figures or measured(), subject.recipe.base, subject.spent
    drawing = figures.drawing.model_copy(
        update={
            "prompts_from": subject.prompts_from, "prompts_sha256": texts.digest(subject.prompts),
            "prompt_count": len(subject.prompts), "seeds": subject.seeds, "batch_sizes": (1,) * len(subject.seeds),
            "num_inference_steps": base.num_inference_steps, "guidance_scale": base.guidance_scale,
            "resolution": base.resolution,
        }
    )  # fmt: skip
    cost = {"training_nfe": spent.training_nfe, "training_fe": spent.training_fe}
    own = {
        "drawing": drawing,
        "reward": figures.reward.model_copy(update={"reward": subject.recipe.reward.model_dump(mode="json")}),
        "break_even": figures.break_even.model_copy(update=cost),
    }
    words = {"base_revision": base.revision, "family": base.family, **changed}
    return receipt_of(subject.version, figures.model_copy(update=own), **words)


@dataclass
class PlannedMeasurer:
    """Says of every adapter what `make` makes of it. `while_measuring` happens before it answers."""

    receipts: Receipts
    make: Callable[[Subject], Receipt | Exception] = of_subject
    there: bool = True
    while_measuring: Callable[[], object] = lambda: None
    asked: list[str] = field(default_factory=list)

    def is_there(self) -> bool:
        return self.there

    def measure(self, reference: str, still: Callable[[], None]) -> Receipt:
        self.asked.append(reference)
        self.while_measuring()
        still()
        made = self.make(self.receipts.subject(LOCAL, reference, None, None))
        if isinstance(made, Exception):
            raise made
        return made


def published(world: World, name: str = "red-things", **changes: Any) -> AdapterVersion:
    """A job that succeeded, and its adapter's version."""
    job = world.run(adapter_name=name, **changes)
    world.attempts.keep(
        job.id, job.fence, 60, Kind.ADAPTER, "adapter.safetensors", world.file(b"weights " + job.id.encode())
    )
    done = world.attempts.succeed(job.id, job.fence, training_nfe=800, training_fe=960.5, code_version="test")
    with world.database.read() as unit:
        found = unit.adapters.find(job.tenant, name, int(str(done.adapter).partition("@")[2]))
    assert found is not None
    return found
