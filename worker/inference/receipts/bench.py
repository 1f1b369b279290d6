"""One receipt, measured through the engine: each portion of the work has the base model for itself between two steps."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import version as version_of

import numpy as np
import torch

from service.domain.adapters import AdapterVersion
from service.domain.catalogue import BaseModelEntry, Catalogue
from service.domain.errors import JobFailure
from service.domain.ids import TenantId
from service.domain.outside import Clock
from service.domain.receipts import Receipt, Verdict, faults
from service.operations.receipts import Subject
from worker.evaluation.receipt import Plan, Result, measure
from worker.evaluation.receipt_latency import PAIRS
from worker.evaluation.receipt_sides import Setting, Side, Sides, plain
from worker.inference.engine import schedulers
from worker.inference.engine.engine import Engine
from worker.inference.engine.requests import LoraFile, SchedulerName
from worker.inference.engine.served import Served
from worker.inference.receipts.alone import Alone
from worker.inference.receipts.judges import Judging


@dataclass(frozen=True, slots=True)
class Bench:
    """What measuring needs. `fetch` gives an adapter's file; `judging` finds who judges."""

    engine: Engine
    catalogue: Catalogue
    fetch: Callable[[TenantId, AdapterVersion], "Future[LoraFile]"]
    judging: Judging
    clock: Clock
    pairs: int = PAIRS
    """Of single pictures, for the latency."""

    def measure(self, subject: Subject, told: Callable[[float], None]) -> Receipt:
        """Waits. Raises StropError.

        Drawn at the steps and guidance that the catalogue gave the base when the job was posted, for which the steward asks.
        """
        version, base, posted = subject.version, self._base(subject), subject.recipe.base
        file = self.fetch(version.tenant, version).result()
        scheduler = schedulers.check(base.family, None)
        plan = Plan(
            prompts=subject.prompts, prompts_from=subject.prompts_from, seeds=subject.seeds,
            setting=Setting(posted.guidance_scale, posted.num_inference_steps), scheduler=scheduler, resolution=base.resolution,
            training_nfe=subject.spent.training_nfe, training_fe=subject.spent.training_fe, pairs=self.pairs,
        )  # fmt: skip
        judges = self.judging.judges(subject.recipe, base, subject.prompts)
        device = self.engine.exclusively(base, lambda served: _device(served.family.device)).result()

        def run(work: Callable[[Sides], Result]) -> Result:
            return self.engine.exclusively(base, lambda served: work(sides(base, served, file, scheduler))).result()

        found = measure(run, plan, judges, told)
        reasons = faults(found)
        return Receipt(
            **dict(found), adapter=version.reference, adapter_sha256=version.file.sha256,
            manifest_sha256=version.manifest_sha256, job=version.job, base_model=base.name, base_revision=base.revision,
            family=base.family, device=device, torch_version=torch.__version__, code_version=version_of("strop-service"),
            created_at=self.clock(), verdict=Verdict.FAILED if reasons else Verdict.PASSED, reasons=reasons,
        )  # fmt: skip

    def _base(self, subject: Subject) -> BaseModelEntry:
        """The base as this endpoint has it: the weights that the adapter was trained on, wherever they lie. Raises JobFailure."""
        name, posted = subject.version.base_model, subject.recipe.base
        here = self.catalogue.bases.get(name)
        if here is None:
            raise JobFailure(
                f"{subject.version.reference} was trained on {name}, which is not in this endpoint's catalogue",
                code="base_unavailable",
            )
        if (here.revision, here.family, here.resolution) != (posted.revision, posted.family, posted.resolution):
            raise JobFailure(
                f"{subject.version.reference} was trained on another revision, family or resolution of {name!r} than this "
                "endpoint's catalogue has: give every process the same catalogue",
                code="catalogue_changed",
            )
        return here


def sides(entry: BaseModelEntry, served: Served, file: LoraFile, scheduler: SchedulerName) -> Sides:
    """The base by plain diffusers, with nothing of the engine's in the denoiser; the adapter as the engine serves it."""
    alone = Alone(entry, served, scheduler)

    def base(prompts: Sequence[str], seeds: Sequence[int], setting: Setting) -> np.ndarray:
        with served.plain() as family:
            return plain(family).draw(prompts, seeds, setting)

    def adapter(prompts: Sequence[str], seeds: Sequence[int], setting: Setting) -> np.ndarray:
        return alone.draw(file, prompts, seeds, setting)

    denoiser = served.family.denoiser
    return Sides(Side(denoiser, base, served.slots.bytes), Side(denoiser, adapter))


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"{device} ({threads} thread{'s' if threads > 1 else ''})"
