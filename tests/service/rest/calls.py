"""What these tests say to the gateway, in their own words."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from httpx import Response
from starlette.testclient import TestClient

from service.domain.jobs import JobError
from service.domain.offers import Offers
from service.operations.attempts import Attempts
from tests.service.refusals import FINISHED, USED, Refusal
from tests.service.running import KEY

OFFERS = Offers(frozenset({"sd"}), frozenset({"clip", "scene", "jpeg-compressibility"}), memory_gib=8.0)
GOOD: dict[str, Any] = {
    "base_model": "shapes",
    "prompts": ["a red circle left of a blue square"],
    "reward": {"type": "clip", "model": "shapes-clip"},
}


@dataclass(frozen=True)
class Gateway:
    client: TestClient

    def post_job(self, change: dict[str, Any] | None = None, **headers: str) -> Response:
        """GOOD with the change; `...` takes a field out."""
        body = {name: value for name, value in {**GOOD, **(change or {})}.items() if value is not ...}
        return self.post_raw(json.dumps(body).encode(), **headers)

    def post_raw(self, body: bytes, content_type: str = "application/json", **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post("/jobs", content=body, headers={"Content-Type": content_type, **named})

    def post_file(self, content: bytes, name: str = "prompts.txt") -> Response:
        return self.client.post("/files", files={"file": (name, content)})

    def act(self, job: str, verb: str, body: dict[str, Any] | None = None) -> Response:
        """POST /jobs/{job}/{verb}, with a body where one is given."""
        return self.client.post(f"/jobs/{job}/{verb}", **({} if body is None else {"json": body}))

    def put_alias(self, name: str, alias: str, body: dict[str, Any], **headers: str) -> Response:
        return self.client.put(f"/models/{name}/aliases/{alias}", json=body, headers=headers)

    def get(self, path: str, **given: Any) -> Response:
        return self.client.get(path, **given)

    def new_job(self, change: dict[str, Any] | None = None) -> str:
        answer = self.post_job(change)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job_count(self) -> int:
        return len(self.get("/jobs", params={"limit": 100}).json()["data"])

    def failed_job(self, attempts: Attempts) -> str:
        job = self.new_job()
        claim = attempts.claim("w", None, OFFERS)
        assert claim is not None
        attempts.fail(
            claim.job.id,
            claim.job.fence,
            JobError("out_of_memory", "Lower the batch."),
            cause="out_of_memory",
            retry=False,
        )
        return job


def asked(gateway: Gateway, attempts: Attempts, refusal: Refusal) -> Response:
    """What HTTP answers to a row of the table; nothing that is refused may be stored."""
    given = dict(refusal.given)
    if given.get("id") == FINISHED:
        given["id"] = gateway.failed_job(attempts)
    if refusal.idempotency_key == USED:
        gateway.post_job(idempotency_key=USED)
    before = gateway.job_count()
    answer = _VERBS[refusal.verb](gateway, given, _headers(refusal))
    assert gateway.job_count() == before
    return answer


def _headers(refusal: Refusal) -> dict[str, str]:
    given = {"Authorization": "" if refusal.key is None else f"Bearer {refusal.key}"}
    return given if refusal.idempotency_key is None else {**given, "Idempotency-Key": refusal.idempotency_key}


def _job(given: dict[str, Any], then: str = "") -> str:
    return f"/jobs/{quote(given.pop('id'), safe='')}{then}"


_VERBS: dict[str, Callable[[Gateway, dict[str, Any], dict[str, str]], Response]] = {
    "create": lambda gateway, given, headers: gateway.post_job(given, **headers),
    "get": lambda gateway, given, headers: gateway.get(_job(given), headers=headers),
    "cancel": lambda gateway, given, headers: gateway.client.post(_job(given, "/cancel"), headers=headers),
    "pause": lambda gateway, given, headers: gateway.client.post(_job(given, "/pause"), headers=headers),
    "resume": lambda gateway, given, headers: gateway.client.post(_job(given, "/resume"), headers=headers),
    "retry": lambda gateway, given, headers: gateway.client.post(_job(given, "/retry"), headers=headers),
    "clone": lambda gateway, given, headers: gateway.client.post(_job(given, "/clone"), json=given, headers=headers),
    "certificate": lambda gateway, given, headers: gateway.client.post(
        _job(given, "/certificate"), json=given, headers=headers
    ),
    "follow": lambda gateway, given, headers: gateway.get(_job(given, "/events"), params=given, headers=headers),
    "list": lambda gateway, given, headers: gateway.get("/jobs", params=given, headers=headers),
    "alias": lambda gateway, given, headers: gateway.put_alias(
        given.pop("name"),
        given.pop("alias"),
        {name: each for name, each in given.items() if each is not ...},
        **headers,
    ),
    "delete_alias": lambda gateway, given, headers: gateway.client.delete(
        f"/models/{given['name']}/aliases/{given['alias']}", headers=headers
    ),
    "delete_model": lambda gateway, given, headers: gateway.client.delete(f"/models/{given['name']}", headers=headers),
    "model": lambda gateway, given, headers: gateway.get(f"/models/{given['name']}", headers=headers),
}

__all__ = ["GOOD", "KEY", "OFFERS", "Gateway", "asked"]
