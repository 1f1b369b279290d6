"""The matrix over the tests' own servers."""

from collections.abc import Iterator

import pytest

from tests.faults.servers import Servers, make_template
from tests.servers.seaweed import S3


@pytest.fixture(scope="session")
def servers(
    postgresql_server: str, redis_url: str, s3_server: S3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    make_template(postgresql_server)
    found = Servers(postgresql_server, redis_url, s3_server, tmp_path_factory.mktemp("faults"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.credentials.items():
            patch.setenv(name, value)
        yield found
