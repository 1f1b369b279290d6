"""`strop jobs` and the other nouns of the gateway, against the real one."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import strop

from tests.eventually import eventually
from tests.sdk.cli.conftest import Command
from tests.sdk.conftest import GOOD, Gateway
from tests.service.running import KEY

pytestmark = pytest.mark.usefixtures("at_gateway")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    path.write_text(json.dumps(GOOD))
    return path


class TestCreate:
    def test_sends_the_file_with_the_changes(self, command: Command, client: strop.Client, file: Path) -> None:
        changes = (
            "--set",
            "steps=7",
            "--set",
            "method.type=sharpening-rlhf",
            "--set",
            "method.candidates=4",
            "--set",
            "adapter_name=red-things",
        )
        said = command("jobs", "create", "-f", file, *changes, "--set", "metadata.run=first")
        assert said.code == 0
        job = client.jobs.get(said.out.split()[0])
        assert said.out == f"{job.id} queued\n"
        assert (job.progress.steps, job.metadata) == (7, {"run": "first"})
        assert (job.recipe["method"]["candidates"], job.recipe["adapter_name"]) == (4, "red-things")

    def test_reads_standard_input(self, command: Command, monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
        with file.open() as opened:
            monkeypatch.setattr("sys.stdin", opened)
            assert command("--json", "jobs", "create", "-f", "-").json["state"] == "queued"

    def test_with_one_key_makes_one_job(self, command: Command, file: Path) -> None:
        made = [command("jobs", "create", "-f", file, "--idempotency-key", "k1", "--json").json["id"] for _ in "12"]
        assert made[0] == made[1]

    def test_says_what_is_wrong_with_each_field(self, command: Command, file: Path) -> None:
        said = command("jobs", "create", "-f", file, "--set", "steps=0", "--set", "priority=11")
        assert (said.code, said.out) == (1, "")
        first, *fields = said.err.splitlines()
        assert first.startswith("strop: ")
        assert [line.split(":")[0].strip() for line in fields] == ["steps", "priority"]
        assert "send a whole number, 1 or more" in fields[0]

    def test_says_which_field_is_not_known(self, command: Command, file: Path) -> None:
        said = command("jobs", "create", "-f", file, "--set", "stps=3")
        assert said.code == 1
        assert "  stps: this field is not known; remove it" in said.err

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (("-f", "nowhere.json"), "nowhere.json"),
            ((), "-f FILE"),
            (("--set", "steps"), "write NAME=VALUE"),
            (("--set", "steps=1", "--set", "steps.x=1"), "steps is not an object"),
            (("--set", "idempotency_key=x"), "--idempotency-key"),
        ],
    )
    def test_that_cannot_be_understood_is_usage(self, command: Command, words: tuple[str, ...], complaint: str) -> None:
        said = command("jobs", "create", *words)
        assert said.code == 2
        assert complaint in said.err

    def test_of_no_json_is_usage(self, command: Command, file: Path) -> None:
        file.write_text("{")
        assert command("jobs", "create", "-f", file).code == 2
        file.write_text("[]")
        assert "not a JSON object" in command("jobs", "create", "-f", file).err


def test_get_shows_a_job_and_its_attempts(command: Command, at_gateway: Gateway, client: strop.Client) -> None:
    run = at_gateway.begun(client)
    run.step(3)
    said = command("jobs", "get", run.id)
    assert said.out.startswith(f"{run.id} running  step 3/60  reward 0.2500  24 NFE  57 s left\n  attempt 1 on w1")
    assert command("jobs", "get", run.id, "--json").json["progress"]["training_fe"] == 28.5


def test_list_shows_the_newest_first_and_no_more_than_asked_for(command: Command, client: strop.Client) -> None:
    ids = [client.jobs.create(**GOOD).id for _ in range(3)]
    heading, *lines = command("jobs", "list", "--limit", "2").out.splitlines()
    assert heading.split() == ["ID", "STATE", "STEP", "REWARD", "ADAPTER", "CREATED"]
    assert [line.split()[0] for line in lines] == ids[:0:-1]
    client.jobs.cancel(ids[0])
    found = command("jobs", "list", "--state", "cancelled", "--limit", 1, "--json").json
    assert (found["id"], found["state"]) == (ids[0], "cancelled")


class TestWatch:
    def test_tells_a_job_in_lines_to_its_end(
        self, command: Command, at_gateway: Gateway, client: strop.Client, tmp_path: Path
    ) -> None:
        run = at_gateway.begun(client, adapter_name="told")
        run.step(1)
        worker = threading.Timer(0.3, lambda: (run.step(2), run.succeed(tmp_path)))
        worker.start()
        said = command("jobs", "watch", run.id)
        worker.join()
        lines = said.out.splitlines()
        assert said.code == 0
        assert lines[0].startswith(f"{run.id} running  step 1/60")
        assert lines[-1].endswith("800 NFE  adapter told@1")

    def test_in_json_has_every_update(
        self, command: Command, at_gateway: Gateway, client: strop.Client, tmp_path: Path
    ) -> None:
        run = at_gateway.begun(client)
        run.step(1)
        run.succeed(tmp_path)
        updates = [json.loads(line) for line in command("jobs", "watch", run.id, "--json").out.splitlines()]
        assert [each["step"] for each in updates if each.get("type") == "job.step"] == [1]
        assert updates[0]["state"] == "succeeded"

    def test_of_a_job_that_failed_is_code_1(self, command: Command, at_gateway: Gateway, client: strop.Client) -> None:
        run = at_gateway.begun(client)
        run.fail()
        said = command("jobs", "watch", run.id)
        assert said.code == 1
        assert "base_unloadable: the base model cannot be loaded" in said.out
        said = command("jobs", "wait", run.id)
        assert (said.code, said.err) == (1, "strop: the base model cannot be loaded (base_unloadable)\n")


def test_wait_gives_up_when_told_to(command: Command, client: strop.Client) -> None:
    job = client.jobs.create(**GOOD)
    said = command("jobs", "wait", job.id, "--timeout", "2")
    assert said.code == 1
    assert "is queued when the time is over" in said.err


def test_cancel_stops_a_job(command: Command, client: strop.Client) -> None:
    job = client.jobs.create(**GOOD)
    assert command("jobs", "cancel", job.id).out == f"{job.id} cancelled\n"
    assert command("jobs", "cancel", "job_" + "0" * 26).code == 1


def test_pause_resume_and_retry_say_the_new_state(command: Command, at_gateway: Gateway, client: strop.Client) -> None:
    run = at_gateway.begun(client)
    assert command("jobs", "pause", run.id).out == f"{run.id} pausing\n"
    run.pause()
    assert command("jobs", "resume", run.id).out == f"{run.id} queued\n"
    said = command("jobs", "resume", run.id)
    assert said.code == 1
    assert "it goes on already (cannot_resume, request req_" in said.err
    at_gateway.begin(run.id).fail()
    assert command("jobs", "retry", run.id, "--json").json["state"] == "queued"
    client.jobs.cancel(run.id)


def test_clone_queues_a_job_with_what_is_different(command: Command, client: strop.Client, tmp_path: Path) -> None:
    job = client.jobs.create(**GOOD, adapter_name="red-things", metadata={"who": "me"})
    changes = tmp_path / "changes.json"
    changes.write_text('{"steps": 9, "adapter_name": null}')
    made = command("jobs", "clone", job.id, "-f", changes, "--set", "method.candidates=4", "--json").json
    assert (made["parent_id"], made["progress"]["steps"], made["metadata"]) == (job.id, 9, {"who": "me"})
    assert (made["recipe"]["adapter_name"], made["recipe"]["method"]["candidates"]) == (None, 4)
    assert command("jobs", "clone", job.id).out.endswith(" queued\n")


@pytest.mark.parametrize("holds", [True, False])
def test_certificate_watched_ends_with_whether_it_holds(
    command: Command, at_gateway: Gateway, client: strop.Client, tmp_path: Path, holds: bool
) -> None:
    run = at_gateway.begun(client)
    run.checkpoint(tmp_path, 10, 20)

    def replay() -> None:
        job = eventually(lambda: next((each for each in client.jobs.list("queued", kind="certificate")), None))
        claimed = at_gateway.begin(job.id)
        replay = claimed.job.recipe.replay
        assert replay is not None
        claimed.certify(replay.expected_sha256 if holds else "f" * 64)

    worker = threading.Thread(target=replay)
    worker.start()
    said = command("jobs", "certificate", run.id, "--from-step", 10, "--steps", 10, "--priority", 10, "--watch")
    worker.join()
    words = "certificate of steps 10 to 20 " + ("holds" if holds else "does NOT hold")
    assert (said.code, said.out.splitlines()[-1].endswith(words)) == (0 if holds else 1, True)
    assert words in command("jobs", "get", run.id).out
    listed = command("jobs", "list", "--kind", "certificate", "--limit", 1, "--json").json
    assert (listed["kind"], listed["parent_id"]) == ("certificate", run.id)
    run.fail()


def test_download_fetches_into_a_folder_named_as_the_job(
    command: Command, at_gateway: Gateway, client: strop.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = at_gateway.begun(client)
    content = run.succeed(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = command("jobs", "download", run.id)
    assert sorted(said.out.split()) == [f"{run.id}/adapter.safetensors", f"{run.id}/manifest.json"]
    assert (
        command("jobs", "download", run.id, "--into", "here", "--kind", "adapter").out == "here/adapter.safetensors\n"
    )
    assert Path("here/adapter.safetensors").read_bytes() == content


def test_files_models_rewards_and_methods(command: Command, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a red circle\n")
    assert command("files", "upload", tmp_path / "prompts.txt").out.startswith("file_")
    assert command("models", "list").out.splitlines()[1].split()[:4] == ["shapes", "base", "shapes", "64"]
    assert command("models", "show", "shapes", "--json").json["licence"] == "Apache-2.0"
    assert command("models", "show", "nobody").code == 1
    assert [line.split()[0] for line in command("rewards").out.splitlines()[:2]] == ["TYPE", "clip"]
    method = json.loads(command("methods", "--json").out.splitlines()[0])
    assert method["schema"]["properties"]["candidates"]["type"] == "integer"


def test_models_have_aliases(command: Command, at_gateway: Gateway, client: strop.Client, tmp_path: Path) -> None:
    at_gateway.begun(client, adapter_name="shell").succeed(tmp_path)
    assert command("models", "alias", "shell@stable", 1).out == "shell@stable → 1\n"
    shown = command("models", "show", "shell@stable").out.splitlines()
    assert shown[0].split()[:2] == ["NAME", "KIND"]
    assert shown[1].split()[:3] == ["shell@1", "adapter", "shapes"]
    assert [line.strip() for line in shown[2:]] == ["versions: 1", "shell@stable → 1"]
    assert command("models", "show", "shell", "--json").json["adapter"]["aliases"][0]["version"] == 1
    refused = command("models", "alias", "shell@stable", 1, "--needs-receipt")
    assert (refused.code, "receipt_missing" in refused.err) == (1, True)
    assert command("models", "unalias", "shell@stable").out == "shell@stable is gone\n"
    assert command("models", "unalias", "shell").code == 2
    client.models.set_alias("shell", "best", 1)
    assert "shell@best" in command("models", "delete", "shell@1").err
    assert command("models", "delete", "shell@1", "--force").out == "shell@1 is gone\n"
    assert command("models", "show", "shell").code == 1


@pytest.mark.alone
class TestTheProcess:
    def start(self, at_gateway: Gateway, *words: str) -> "subprocess.Popen[str]":
        environment = os.environ | {"STROP_URL": at_gateway.url, "STROP_API_KEY": KEY}
        return subprocess.Popen(
            [sys.executable, "-m", "strop", *words], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 — a shell's background job ignores it, and the child would too
        )  # fmt: skip

    def test_ctrl_c_ends_the_watching_and_not_the_job(self, at_gateway: Gateway, client: strop.Client) -> None:
        run = at_gateway.begun(client)
        process = self.start(at_gateway, "jobs", "watch", run.id)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(f"{run.id} running")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err == f"strop: job {run.id} goes on; watch on with: strop jobs watch {run.id}\n"
        assert client.jobs.get(run.id).state is strop.State.RUNNING

    def test_says_nothing_of_a_gateway_that_restarts(
        self, at_gateway: Gateway, client: strop.Client, tmp_path: Path
    ) -> None:
        run = at_gateway.begun(client)
        process = self.start(at_gateway, "jobs", "watch", run.id)
        assert process.stdout is not None
        process.stdout.readline()
        at_gateway.stop()
        at_gateway.start()
        run.succeed(tmp_path)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        assert "succeeded" in out

    def test_ends_when_its_reader_has_seen_enough(self, at_gateway: Gateway, client: strop.Client) -> None:
        run = at_gateway.begun(client)
        process = self.start(at_gateway, "jobs", "watch", run.id, "--json")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        run.step(1)
        assert eventually(lambda: process.poll() is not None)
        assert process.stderr.read() == ""
        process.stderr.close()
