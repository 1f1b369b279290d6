"""The real process is killed while it draws: clients that ask again get the pictures that they would have got."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import httpx

from service.settings import Settings
from tests.eventually import eventually
from tests.servers.processes import free_port
from tests.worker.inference.calls import GENERATIONS, GOOD
from tests.worker.inference.conftest import KEY
from tests.worker.inference.process import endpoint

CLIENTS, KILLS, STEPS = 3, 1, 120
PATIENCE = 300.0
"""Seconds for which a client asks again."""


def test_who_asks_again_after_a_kill_gets_the_same_picture(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE) as client,
        ThreadPoolExecutor(CLIENTS) as others,
    ):
        cut: list[httpx.TransportError] = []
        asked = [others.submit(_until_answered, client, seed, cut) for seed in range(CLIENTS)]
        for life in range(KILLS):
            with endpoint(port, tmp_path / f"{life}.log"):
                eventually(lambda: "strop_requests_running 0.0" not in client.get("/metrics").text)
        assert cut, "nobody was drawing"
        with endpoint(port, tmp_path / "last.log"):
            pictures = [each.result() for each in asked]
            again = [_until_answered(client, seed, []) for seed in range(CLIENTS)]
    assert pictures == again
    assert len(set(pictures)) == CLIENTS


def _until_answered(client: httpx.Client, seed: int, cut: list[httpx.TransportError]) -> str:
    """The picture, base64; `cut` gets what went wrong under way. One sample a call: so the bits do not depend on who else draws."""
    body = {**GOOD, "seed": seed, "num_inference_steps": STEPS, "batch_size": 1}
    until = monotonic() + PATIENCE
    while True:
        try:
            answer = client.post(GENERATIONS, json=body)
            if answer.is_success:
                return str(answer.json()["data"][0]["b64_json"])
        except httpx.ConnectError:
            pass
        except httpx.TransportError as error:
            cut.append(error)
        assert monotonic() < until
        eventually(lambda: _ready(client), PATIENCE)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False
