"""A link opens its path, for its tenant, for a while; nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from service.domain.principals import LOCAL
from service.wire.links import LIFETIME, LinkExpired, LinkInvalid, Links, secret

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PATH = "/jobs/job_1/artifacts/1/adapter.safetensors"


def at(moment: datetime, key: bytes = b"k" * 16) -> Links:
    return Links(key, lambda: moment)


class TestToken:
    def test_opens_its_path_for_its_tenant(self) -> None:
        token, expires = at(NOON).token(LOCAL, PATH)
        assert at(NOON).principal(PATH, token).tenant == LOCAL.tenant
        assert expires == NOON.timestamp() + LIFETIME

    def test_ends(self) -> None:
        token, _ = at(NOON).token(LOCAL, PATH, lifetime=60)
        at(NOON + timedelta(seconds=59)).principal(PATH, token)
        with pytest.raises(LinkExpired):
            at(NOON + timedelta(seconds=60)).principal(PATH, token)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda token: "",
            lambda token: "x.y.z",
            lambda token: token[:-1],
            lambda token: token.replace(".local.", ".other."),
            lambda token: "9" + token,
            lambda token: token + "é",
        ],
    )
    def test_does_not_bend(self, spoil) -> None:
        token, _ = at(NOON).token(LOCAL, PATH)
        with pytest.raises(LinkInvalid):
            at(NOON).principal(PATH, spoil(token))

    def test_opens_no_other_path(self) -> None:
        token, _ = at(NOON).token(LOCAL, PATH)
        with pytest.raises(LinkInvalid):
            at(NOON).principal(PATH.replace("job_1", "job_2"), token)

    def test_ends_with_its_secret(self) -> None:
        token, _ = at(NOON).token(LOCAL, PATH)
        with pytest.raises(LinkInvalid):
            at(NOON, b"another secret!!").principal(PATH, token)


class TestSecret:
    def test_is_the_link_key_or_comes_from_the_api_key_or_from_chance(self) -> None:
        assert secret("l" * 16, "a" * 16) == b"l" * 16
        assert secret(None, "a" * 16) == secret(None, "a" * 16) != b"a" * 16
        assert secret(None, None) != secret(None, None)
