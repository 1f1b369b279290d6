"""What these tests say to the gateway, in their own words."""

import json
from dataclasses import dataclass
from typing import Any

from httpx import Response
from starlette.testclient import TestClient

from service.domain.offers import Offers

KEY = "a-key-of-sixteen"
OFFERS = Offers(frozenset({"sd"}), frozenset({"clip", "scene", "jpeg-compressibility"}))
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

    def get(self, path: str, **given: Any) -> Response:
        return self.client.get(path, **given)

    def new_job(self, change: dict[str, Any] | None = None) -> str:
        answer = self.post_job(change)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job_count(self) -> int:
        return len(self.get("/jobs", params={"limit": 100}).json()["data"])
