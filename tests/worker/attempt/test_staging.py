import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.domain.catalogue import BaseModelEntry, RewardModelEntry
from service.domain.errors import FenceLost
from service.domain.recipes import Recipe
from worker.attempt.staging import Models, NotStaged, OtherWeights, stage_models

REVISION = "0123456789abcdef0123456789abcdef01234567"


def recipe(base: str, reward: str | None = None, revision: str = "") -> Recipe:
    fields: dict[str, Any] = {"base_model": "b", "prompts": ["a"], "reward": {"type": "jpeg-compressibility"}}
    return Recipe(
        **fields,
        base=BaseModelEntry(name="b", source=base, family="sd", revision=revision),
        reward_model=RewardModelEntry(name="r", source=reward, type="clip", revision=revision) if reward else None,
        prompts_sha256="",
        prompt_count=1,
    )


def no_download(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    raise AssertionError("nothing is to be fetched")


class TestPreviewDecoder:
    """Looked for before the base, which is not even fetched."""

    def wanting(self, preview: str, folder: Path) -> Recipe:
        made = recipe("hub:owner/name", revision=REVISION)
        entry = made.base.model_copy(update={"preview_decoder": str(folder)})
        return made.model_copy(update={"base": entry, "method": made.method.model_copy(update={"preview": preview})})

    def test_that_is_not_there_fails_the_job_with_the_remedy(self, tmp_path: Path) -> None:
        with pytest.raises(NotStaged, match=r'folder taesd on this worker.*method\.preview "vae"') as failure:
            stage_models(self.wanting("taesd", tmp_path / "taesd"), tmp_path, no_download)
        assert failure.value.code == "base_unavailable"

    def test_is_not_missed_by_a_job_that_uses_none(self, tmp_path: Path) -> None:
        with pytest.raises(AssertionError, match="nothing is to be fetched"):
            stage_models(self.wanting("vae", tmp_path / "taesd"), tmp_path, no_download)


class TestFolders:
    def test_are_used_where_they_are(self, tmp_path: Path) -> None:
        assert stage_models(recipe(str(tmp_path), str(tmp_path)), tmp_path, no_download) == Models(tmp_path, tmp_path)

    def test_that_are_not_there_fail_the_job(self, tmp_path: Path) -> None:
        with pytest.raises(NotStaged, match="base model 'b'") as failure:
            stage_models(recipe(str(tmp_path / "gone")), tmp_path, no_download)
        assert (failure.value.code, failure.value.retry) == ("base_unavailable", True), "another worker may have it"

    def test_whose_weights_are_others_may_be_right_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"weights")
        with pytest.raises(OtherWeights, match="not those that the catalogue pins") as failure:
            stage_models(recipe(str(tmp_path), revision="sha256:" + "0" * 64), tmp_path, no_download)
        assert (failure.value.code, failure.value.retry) == ("catalogue_changed", True)

    def test_are_hashed_only_as_long_as_the_attempt_goes_on(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").write_bytes(b"weights" * 10**6)
        asked = []

        def go_on() -> None:
            asked.append(1)
            raise FenceLost

        with pytest.raises(FenceLost):
            stage_models(recipe(str(tmp_path), revision="sha256:" + "0" * 64), tmp_path, no_download, go_on)
        assert len(asked) == 1

    def test_for_rewards_have_a_code_of_their_own(self, tmp_path: Path) -> None:
        with pytest.raises(NotStaged) as failure:
            stage_models(recipe(str(tmp_path), str(tmp_path / "gone")), tmp_path, no_download)
        assert failure.value.code == "reward_unavailable"

    def test_in_buckets_are_refused_with_a_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(NotStaged, match="s3://, which this version cannot fetch"):
            stage_models(recipe("s3://bucket/base"), tmp_path, no_download)


INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
}
HELD = {
    "model_index.json": json.dumps(INDEX).encode(),
    "unet/config.json": b"{}",
    "unet/weights.safetensors": b"safe",
    "unet/weights.fp16.safetensors": b"half",
    "scheduler/scheduler_config.json": b"{}",
    "safety_checker/config.json": b"{}",
    "safety_checker/model.fp16.safetensors": b"of a part that is not loaded",
    "text_encoders/t5xxl_fp16.safetensors": b"a copy for another program",
    "old.ckpt": b"x",
}


class Hub(ThreadingHTTPServer):
    """Speaks as much of the hub's API as a download of one small repository needs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.asked: list[str] = []
        self.held = dict(HELD)
        self.refuses: tuple[int, str] | None = None
        """The status and the hub's own word with which it refuses all that it is asked for."""


class Page(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.refuses is not None:
            self._answer(self.server.refuses[0], b"", self.server.refuses[1])
            return
        held = self.server.held
        path = self.path.split("?")[0]
        name = path.partition(f"/resolve/{REVISION}/")[2]
        if path.startswith("/api/models/owner/name"):
            tree = [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in held.items()]
            about = {"id": "owner/name", "sha": REVISION, "siblings": [{"rfilename": name} for name in held]}
            self._answer(200, json.dumps(tree if "/tree/" in path else about).encode())
        elif name in held:
            self._answer(200, held[name])
        else:
            self._answer(404, b"", "RepoNotFound")

    def _answer(self, status: int, body: bytes, word: str = "") -> None:
        self.send_response(status)
        if word:
            self.send_header("X-Error-Code", word)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hash(body)}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


class TestHub:
    def download(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        import subprocess

        assert command[0] == sys.executable
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=Path.cwd())
        return done.returncode, (done.stderr.strip() or "-").splitlines()[-1]

    @pytest.mark.parametrize("checker", [[None, None], ["stable_diffusion", "StableDiffusionSafetyChecker"]])
    def test_gives_what_is_loaded_and_spares_the_rest(
        self, checker: Sequence[str | None], hub: Hub, tmp_path: Path
    ) -> None:
        """Not the safety checker, which no family is given, though SD 1.x names one and keeps it as it likes."""
        hub.held["model_index.json"] = json.dumps(INDEX | {"safety_checker": checker}).encode()
        models = stage_models(recipe("hub:owner/name", revision=REVISION), tmp_path, self.download)
        held = {str(path.relative_to(models.base)) for path in models.base.rglob("*") if path.is_file()}
        assert {name for name in held if not name.startswith(".cache")} == {
            "model_index.json",
            "scheduler/scheduler_config.json",
            "unet/config.json",
            "unet/weights.safetensors",
        }

    @pytest.mark.parametrize(
        ("lacks", "sentence"),
        [
            ("unet/weights.safetensors", "no .safetensors in full precision in unet"),
            ("model_index.json", "no model_index.json"),
        ],
    )
    def test_a_repository_without_what_is_loaded_is_refused_and_asked_again(
        self, lacks: str, sentence: str, hub: Hub, tmp_path: Path
    ) -> None:
        """Its half precision alone is not taken; and what was fetched so far is not held to be whole the next time."""
        del hub.held[lacks]
        for _ in range(2):
            with pytest.raises(NotStaged, match=re.escape(sentence)) as failure:
                stage_models(recipe("hub:owner/name", revision=REVISION), tmp_path, self.download)
            assert failure.value.code == "base_unavailable"

    @pytest.mark.parametrize("name", ["model.safetensors", "model.fp16.safetensors"])
    def test_a_reward_model_is_at_the_top_of_its_repository(self, name: str, hub: Hub, tmp_path: Path) -> None:
        base = tmp_path / "base"
        base.mkdir()
        wanted = recipe(str(base), reward="hub:owner/name", revision=REVISION)
        hub.held = {"config.json": b"{}", name: b"weights", "unet/weights.safetensors": b"others"}
        if name == "model.fp16.safetensors":
            with pytest.raises(NotStaged, match=r"no \.safetensors in full precision at its top"):
                stage_models(wanted, tmp_path, self.download)
        else:
            reward = stage_models(wanted, tmp_path, self.download).reward
            assert reward is not None
            assert {path.name for path in reward.iterdir() if path.is_file()} == {"config.json", name}

    def test_is_asked_once_a_host(self, hub: Hub, tmp_path: Path) -> None:
        stage_models(recipe("hub:owner/name", revision=REVISION), tmp_path, self.download)
        asked = len(hub.asked)
        stage_models(recipe("hub:owner/name", revision=REVISION), tmp_path, no_download)
        assert len(hub.asked) == asked

    def test_without_such_a_repository_fails_the_job_but_it_may_be_tried_again(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(NotStaged, match="owner/other") as failure:
            stage_models(recipe("hub:owner/other", revision=REVISION), tmp_path, self.download)
        assert failure.value.code == "base_unavailable"
        assert failure.value.retry

    def test_needs_a_pinned_revision(self, tmp_path: Path) -> None:
        with pytest.raises(NotStaged, match="pin a commit"):
            stage_models(recipe("hub:owner/name"), tmp_path, no_download)
