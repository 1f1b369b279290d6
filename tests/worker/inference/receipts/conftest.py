from collections.abc import Iterator

import pytest

from service.settings import Settings
from tests.worker.inference.receipts.site import Site


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    made = Site(settings)
    yield made
    made.close()
