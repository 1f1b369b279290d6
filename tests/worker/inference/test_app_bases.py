"""A base model that is far away, by HTTP: others are drawn while its folder is fetched, and its failure is told."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.adapters import hub
from service.domain.catalogue import BaseModelEntry
from service.domain.errors import JobFailure
from service.settings import Settings
from tests.eventually import eventually
from tests.worker.inference.calls import post
from tests.worker.inference.conftest import CATALOGUE, KEY
from worker.inference import bases
from worker.inference.app import create_app


def test_a_download_that_hangs_comes_to_an_end_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = hub.Fetch("far/away", tmp_path / "far", (sys.executable, "-c", "input()"))
    entry = BaseModelEntry(name="far", source="hub:far/away", revision="0" * 40, family="sd", resolution=64)
    read, write = os.pipe()  # nobody ever writes
    monkeypatch.setattr(hub, "plan", lambda entry, cache: hangs)
    monkeypatch.setattr(bases, "FETCH_SECONDS", 0.3)
    monkeypatch.setattr(subprocess, "run", partial(subprocess.run, stdin=read))
    with pytest.raises(JobFailure, match=r"did not give it within 0 s; look at the line to the hub") as caught:
        bases.folder(entry, tmp_path)
    assert caught.value.code == "base_unavailable"
    os.close(read)
    os.close(write)


def test_one_request_for_a_base_that_is_far_away_stops_nobody(
    settings: Settings, sd_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = CATALOGUE.replace("bases.tiny", "bases.far").format(folder=sd_folder)
    settings.catalogue.write_text(settings.catalogue.read_text() + far)
    asked, arrived, folder = threading.Event(), threading.Event(), bases.folder

    def fetched(entry: BaseModelEntry, cache: Path) -> Path:
        if entry.name == "far" and not arrived.is_set():
            asked.set()
            assert arrived.wait(60)
            raise JobFailure("The base model far cannot be loaded: the hub is away.", code="base_unavailable")
        return folder(entry, cache)

    monkeypatch.setattr(bases, "folder", fetched)
    with TestClient(create_app(settings)) as client, ThreadPoolExecutor() as others:
        client.headers["Authorization"] = f"Bearer {KEY}"
        waits = others.submit(post, client, model="far")
        assert asked.wait(60)
        assert post(client).status_code == 200
        assert not waits.done()
        arrived.set()
        refused = waits.result()
        assert (refused.status_code, refused.json()["code"]) == (503, "base_unavailable")
        assert "the hub is away" in refused.json()["detail"]
        assert post(client, model="far").status_code == 200
        eventually(lambda: client.get("/readyz").status_code == 200)
