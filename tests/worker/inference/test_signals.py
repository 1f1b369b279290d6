"""The real process: SIGTERM while it draws. What it has taken comes out whole, and who asks for more is told so."""

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from service.adapters import storage
from service.domain.ids import TenantId
from service.operations.drawn import DrawnFiles
from service.settings import Settings
from tests.eventually import eventually
from tests.servers.processes import answers, free_port
from tests.worker.inference.calls import GENERATIONS, GOOD, pixels
from tests.worker.inference.conftest import KEY
from tests.worker.inference.process import endpoint
from worker.inference.api.answers import Drawing

STEPS = 600
"""Some seconds of the tiny model."""


def test_what_was_taken_is_finished_and_nothing_new_is_taken(settings: Settings, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "inference.log"
    url = f"http://127.0.0.1:{port}"
    process = endpoint(port, log, STROP_DRAIN_SECONDS="600")
    body = {**GOOD, "num_inference_steps": STEPS, "batch_size": 1}  # so that the two have the same bits
    client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=600)
    with process as started, client, ThreadPoolExecutor() as others:
        drawn = others.submit(client.post, GENERATIONS, json=body)
        later = client.post(GENERATIONS, json={**body, "background": True}).json()
        eventually(
            lambda: (
                sum(
                    map(float, re.findall(r"(?m)^strop_requests_(?:running|waiting) (.+)", client.get("/metrics").text))
                )
                == 2
            )
        )
        started.send_signal(signal.SIGTERM)
        eventually(lambda: client.get("/readyz").status_code == 503)
        for told in (client.get("/readyz"), client.post(GENERATIONS, json=body)):
            assert (told.status_code, told.json()["code"]) == (503, "draining")
            assert int(told.headers["Retry-After"]) >= 1
        assert client.get("/healthz").status_code == 200
        started.send_signal(signal.SIGTERM)  # the second one does not wait
        eventually(lambda: not answers(port))
        assert not drawn.done()
        answer = drawn.result().json()
        assert started.wait(60) == 0
    assert "Application shutdown complete" in log.read_text()
    assert pixels(answer["data"][0]["b64_json"]).shape == (64, 64, 3)
    stored = DrawnFiles(storage.make(settings.store_url)).read(TenantId("local"), f"{later['id']}.json")
    record = Drawing.model_validate_json(stored)
    assert record.status == "completed"
    assert record.result is not None
    assert record.result.data[0].b64_json == answer["data"][0]["b64_json"]
