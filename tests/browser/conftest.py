"""The real stack on the base `shapes`, and headless Chromium in front of it. Every test's page is watched: an error on its
console, an exception or a request to another host fails the test at its end."""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.visits import SHORT, ended, post
from tests.browser.watched import Watched
from tests.eventually import eventually
from tests.servers import processes
from tests.stack import ROOT, Stack, running

ARGUMENTS = [
    "--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
BROKEN = """
[bases.broken]
source = "broken"
family = "sd"
resolution = 64
num_inference_steps = 10
guidance_scale = 2.0
licence = "Apache-2.0"
"""
NAMES = ("chromium", "chromium-browser", "google-chrome")


expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, broker_url: str) -> dict[str, str]:
    """A database and a catalogue: the repository's, and `broken`, a base model that no worker can load."""
    folder = tmp_path_factory.mktemp("parts")
    (folder / "strop.db").write_bytes(sqlite_template.read_bytes())
    (folder / "broken").mkdir()
    (folder / "broken" / "model_index.json").write_text("{}")
    ours = (ROOT / "catalogue.toml").read_text().replace('source = "examples', f'source = "{ROOT}/examples')
    (folder / "catalogue.toml").write_text(ours + BROKEN)
    return {
        "STROP_DATABASE_URL": f"sqlite:///{folder / 'strop.db'}", "STROP_BROKER_URL": broker_url,
        "STROP_CATALOGUE": str(folder / "catalogue.toml"), "STROP_WORKER_NAME": "worker-1",
    }  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, parts: dict[str, str]) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack"), parts) as stack:
        yield stack


@pytest.fixture(scope="module")
def short(stack: Stack) -> str:
    """A finished job, full of markup."""
    job = post(stack, SHORT)
    eventually(lambda: ended(stack, job), 180)
    return job


@pytest.fixture
def keyless(tmp_path: Path, parts: dict[str, str]) -> Iterator[str]:
    """The address of a gateway that has no key, over the same database."""
    port = processes.free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STROP_")} | parts
    environment |= {"STROP_STATE_DIR": str(tmp_path), "STROP_GRPC_PORT": str(processes.free_port())}
    words = [sys.executable, "-m", "uvicorn", "--factory", "--port", str(port), "service.app:create_app"]
    with processes.running(
        words, ready=lambda: processes.answers(port), log=tmp_path / "log", end=signal.SIGTERM,
        remedy="see its log", env=environment, cwd=ROOT,
    ):  # fmt: skip
        assert httpx.get(f"{url}/readyz").is_success
        yield url


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    found = os.environ.get("STROP_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "no Chromium on the PATH: apt-get install chromium, or set STROP_CHROMIUM to its binary"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[Callable[..., tuple[Page, Watched]]]:
    """Pages in contexts of their own (nothing stored), checked at the end."""
    opened: list[tuple[BrowserContext, Watched, set[str]]] = []

    def make(width: int = 1200, height: int = 900) -> tuple[Page, Watched]:
        context = chromium.new_context(viewport={"width": width, "height": height})
        page, hosts = context.new_page(), set[str]()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
        watched = Watched(page)
        opened.append((context, watched, hosts))
        return page, watched

    yield make
    for context, watched, hosts in opened:
        context.close()
        watched.check()
        assert hosts <= {"127.0.0.1"}
