"""What is measured, and on what: the weights that the adapter was trained on, at the setting that its job was posted with."""

import threading
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from service.domain.catalogue import Catalogue
from service.domain.errors import JobFailure
from service.domain.principals import LOCAL
from service.operations.receipts import Receipts, Subject
from service.operations.signing import check
from tests.worker.inference.conftest import Deliver
from tests.worker.inference.pictures import random_adapter
from tests.worker.inference.receipts.site import Site
from worker.evaluation.receipt_sides import counted
from worker.inference.engine.calls import Calls
from worker.inference.engine.loop import Loop
from worker.inference.engine.requests import Draw, Worn
from worker.inference.engine.served import Served
from worker.inference.receipts import judges
from worker.inference.receipts.judges import Judging


@pytest.fixture
def subject(site: Site, deliver: Deliver, sd_folder: Path) -> Subject:
    reference = deliver(random_adapter(sd_folder, 0))
    return Receipts(site.database, site.store).subject(LOCAL, reference, None, None)


def changed(site: Site, **entry: object) -> Catalogue:
    """The endpoint's catalogue with another entry of the base."""
    base = site.base.model_copy(update=entry)
    return site.known.model_copy(update={"bases": {**site.known.bases, base.name: base}})


@pytest.mark.parametrize("entry", [{"revision": "sha256:other"}, {"family": "sdxl"}, {"resolution": 128}])
def test_a_base_that_the_adapter_was_not_trained_on_is_refused(
    site: Site, subject: Subject, entry: dict[str, object]
) -> None:
    bench = replace(site.bench, catalogue=changed(site, **entry))
    with pytest.raises(JobFailure, match="another revision") as refused:
        bench.measure(subject, lambda share: None)
    assert refused.value.code == "catalogue_changed"
    assert site.loaded == [], "nothing was drawn"


def test_what_it_measures_is_what_the_steward_signs(site: Site, subject: Subject) -> None:
    """Also where the catalogue has other defaults by now: the job's own count."""
    bench = replace(site.bench, catalogue=changed(site, num_inference_steps=7, guidance_scale=9.0))
    check(bench.measure(subject, lambda share: None), subject)


class TestPlantedCall:
    """The adapter's side is drawn as traffic is: a forward too many anywhere between the engine's doors is seen."""

    @pytest.mark.parametrize(
        ("place", "name"), [(Loop, "turn"), (Calls, "take"), (Calls, "_call"), (Calls, "_stepped"), (Served, "step")]
    )
    def test_in_the_loops_own_stepping_makes_the_receipt_fail(
        self, site: Site, subject: Subject, place: type, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own, served = getattr(place, name), site.engine.exclusively(site.base, lambda served: served).result(60)

        def dear(*given: Any) -> Any:
            with served.plain() as family:
                family.predict(torch.zeros(1, *family.latent_shape), 1, family.encode([""]))
            return own(*given)

        monkeypatch.setattr(place, name, torch.no_grad()(dear))
        receipt = site.bench.measure(subject, lambda share: None)
        assert receipt.verdict == "failed"
        assert "denoiser calls" in receipt.reasons[0]

    def test_is_not_in_ordinary_traffic_which_costs_what_the_receipt_says(self, site: Site, subject: Subject) -> None:
        """Random requests with and without the adapter, counted at the denoiser from before the first to after the last."""
        receipt = site.bench.measure(replace(subject, seeds=tuple(range(11))), lambda share: None)
        assert receipt.drawing.batch_sizes == (8, 2, 1)
        assert receipt.calls.adapter == receipt.calls.base == 6.0
        worn = Worn(site.fetch(LOCAL.tenant, subject.version), "red", subject.version.file.sha256)
        chosen, counts = Random(0), [1, 2, 4, 3, 1]
        with counted(site.loaded[0].denoiser) as rows:
            draws = [
                Draw(
                    chosen.choice("ab"), site.base, chosen.choice([(), (worn,)]), "blue", "", count, seed,
                    steps=3, guidance=2.0, batch_size=1,
                )
                for seed, count in enumerate(counts)
            ]  # fmt: skip
            drawn = [each.result(60) for each in [site.engine.submit(draw) for draw in draws]]
            site.engine.exclusively(site.base, lambda served: None).result(60)
        assert rows.seen == sum(each.nfe for each in drawn) == receipt.calls.adapter * sum(counts)


class TestDevice:
    """One loop owns it: what a receipt loads it loads there, and what it fetches it fetches elsewhere."""

    def test_judges_are_loaded_in_the_engines_thread_and_found_in_anothers(
        self, site: Site, subject: Subject, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: dict[str, list[str]] = {"found": [], "loaded": []}
        drawn: list[float] = []
        make, find = judges.make, Judging.judges

        def made(*given: Any, **named: Any) -> Any:
            threads["loaded"].append(threading.current_thread().name)
            assert drawn[-1:] == [1.0], "nothing of a judge is on the device while pictures are drawn"
            return make(*given, **named)

        def found(*given: Any) -> Any:
            threads["found"].append(threading.current_thread().name)
            return find(*given)

        monkeypatch.setattr(judges, "make", made)
        monkeypatch.setattr(Judging, "judges", found)
        site.bench.measure(subject, drawn.append)
        assert threads == {"found": [threading.current_thread().name], "loaded": ["engine"]}, "once each"

    def test_the_slots_are_told_apart_from_the_base(self, site: Site, subject: Subject) -> None:
        memory = site.bench.measure(subject, lambda share: None).memory
        lying = site.engine.exclusively(site.base, lambda served: served.slots.bytes).result(60)
        assert memory.slots_bytes == lying > 0
