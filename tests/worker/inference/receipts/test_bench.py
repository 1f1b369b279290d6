"""What is measured, and on what: the weights that the adapter was trained on, at the setting that its job was posted with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.domain.catalogue import Catalogue
from service.domain.errors import JobFailure
from service.domain.principals import LOCAL
from service.operations.receipts import Receipts, Subject
from service.operations.signing import check
from service.settings import Settings
from tests.worker.inference.conftest import Deliver
from tests.worker.inference.pictures import random_adapter
from tests.worker.inference.receipts.test_routes import Site


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    made = Site(settings)
    yield made
    made.close()


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
