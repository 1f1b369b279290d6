"""Asking the endpoint in tests: a good request, what its pictures are, and the endpoint on a port of this machine."""

import base64
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import uvicorn
from fastapi import FastAPI
from httpx import Response
from PIL import Image
from starlette.testclient import TestClient

GOOD = {"model": "tiny", "prompt": "a red circle", "seed": 7}
GENERATIONS = "/v1/images/generations"


def post(endpoint: TestClient, headers: dict[str, str] | None = None, **change: Any) -> Response:
    return endpoint.post(GENERATIONS, json={**GOOD, **change}, headers=headers)


def pixels(given: str | bytes) -> np.ndarray:
    """uint8 [H, W, 3] of a file, or of its base64."""
    data = base64.b64decode(given) if isinstance(given, str) else given
    return np.asarray(Image.open(io.BytesIO(data)))


def distance(one: np.ndarray, other: np.ndarray) -> int:
    """The largest difference of any value, of 255."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@contextmanager
def served(app: FastAPI, *, lifespan: Literal["on", "off"] = "on") -> Iterator[str]:
    """Yields the address; at the end the server goes as it does on SIGTERM. lifespan off: somebody else ends the app."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan=lifespan))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
