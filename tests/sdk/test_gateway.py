"""The client against the real gateway: create, list, get, watch, wait, cancel, files, artifacts, models."""

import dataclasses
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import strop

from service.domain.principals import LOCAL
from tests.eventually import eventually
from tests.sdk.conftest import GOOD, Gateway
from tests.service.domain.archives import png, zipped


class TestAJob:
    def test_is_created_with_every_default_resolved(self, client: strop.Client) -> None:
        job = client.jobs.create(**GOOD, steps=7, lora={"rank": 4}, metadata={"who": "me"})
        assert (job.state, job.progress.steps, job.metadata) == (strop.State.QUEUED, 7, {"who": "me"})
        assert job.recipe["lora"] == {"rank": 4, "targets": ["attention", "feed-forward", "conv"]}
        assert job.recipe["method"]["type"] == "forward-process"
        assert client.jobs.get(job.id) == job

    def test_is_one_however_often_it_is_created_under_one_key(self, client: strop.Client) -> None:
        one, again = (client.jobs.create(**GOOD, idempotency_key="the-same") for _ in range(2))
        assert one.id == again.id
        with pytest.raises(strop.InvalidRequest, match="another body"):
            client.jobs.create(**GOOD, steps=9, idempotency_key="the-same")

    def test_is_refused_with_a_remedy_for_each_wrong_field(self, client: strop.Client) -> None:
        with pytest.raises(strop.InvalidRequest) as caught:
            client.jobs.create(**{**GOOD, "steps": 0, "priority": 11})
        assert {each.path for each in caught.value.errors} == {"steps", "priority"}
        assert all(each.message and each.remedy for each in caught.value.errors)
        assert caught.value.request_id

    def test_is_cancelled_and_cancelling_twice_is_no_error(self, client: strop.Client) -> None:
        job = client.jobs.create(**GOOD)
        assert [client.jobs.cancel(job.id).state for _ in range(2)] == [strop.State.CANCELLED] * 2
        with pytest.raises(strop.JobCancelled):
            client.jobs.wait(job.id, timeout=60)

    def test_that_is_not_there_is_not_found(self, client: strop.Client) -> None:
        nowhere = "job_" + "0" * 26
        for call in (client.jobs.get, client.jobs.cancel, client.jobs.wait, client.artifacts.list):
            with pytest.raises(strop.NotFound):
                call(nowhere)

    def test_that_failed_is_raised_with_its_own_words(self, gateway: Gateway, client: strop.Client) -> None:
        run = gateway.begun(client)
        run.fail()
        with pytest.raises(strop.JobFailed, match="cannot be loaded") as caught:
            client.jobs.wait(run.id, timeout=60)
        assert caught.value.code == "base_unloadable"


class TestAJobsLife:
    def test_is_paused_resumed_and_retried(self, gateway: Gateway, client: strop.Client) -> None:
        run = gateway.begun(client)
        assert [client.jobs.pause(run.id).state for _ in range(2)] == [strop.State.PAUSING] * 2
        run.pause()
        assert client.jobs.resume(run.id).state is strop.State.QUEUED
        with pytest.raises(strop.Conflict, match="goes on already") as refused:
            client.jobs.resume(run.id)
        assert refused.value.code == "cannot_resume"
        gateway.begin(run.id).fail()
        assert client.jobs.retry(run.id).state is strop.State.QUEUED
        client.jobs.cancel(run.id)

    def test_goes_on_in_a_clone_with_overrides(self, client: strop.Client) -> None:
        job = client.jobs.create(**GOOD, steps=7, adapter_name="red", metadata={"run": "1"}, seed=2**62)
        twin = client.jobs.clone(job.id, {"steps": 8, "method": {"candidates": 4}, "adapter_name": None})
        assert (twin.parent_id, twin.progress.steps, twin.metadata) == (job.id, 8, {"run": "1"})
        assert (twin.recipe["method"]["candidates"], twin.recipe["adapter_name"]) == (4, None)
        assert twin.recipe["seed"] == 2**62
        with pytest.raises(strop.InvalidRequest) as refused:
            client.jobs.clone(job.id, {"steps": 0, "stps": 3})
        assert {each.path for each in refused.value.errors} == {"steps", "stps"}
        with pytest.raises(strop.InvalidRequest, match="seed"):
            client.jobs.clone(job.id, {"seed": 2**60})

    def test_is_certified(self, gateway: Gateway, client: strop.Client, tmp_path: Path) -> None:
        run = gateway.begun(client)
        with pytest.raises(strop.Conflict) as refused:
            client.jobs.certificate(run.id)
        assert refused.value.code == "too_few_checkpoints"
        run.checkpoint(tmp_path, 10, 20, 30)
        job = client.jobs.certificate(run.id, from_step=10, steps=20, priority=10)
        assert (job.kind, job.parent_id, job.progress.steps, job.certificate) == ("certificate", run.id, 30, None)
        assert [each.id for each in islice(client.jobs.list(kind="certificate"), 1)] == [job.id]
        gateway.begin(job.id).certify("f" * 64)
        done = client.jobs.wait(job.id, timeout=60)
        assert done.certificate is not None
        assert (done.certificate.from_step, done.certificate.to_step, done.certificate.holds) == (10, 30, False)
        assert client.jobs.get(run.id).certificates == (done.certificate,)
        run.fail()

    @pytest.mark.parametrize("verb", ["clone", "certificate"])
    def test_makes_one_job_under_one_key(
        self, gateway: Gateway, client: strop.Client, tmp_path: Path, verb: str
    ) -> None:
        run = gateway.begun(client)
        run.checkpoint(tmp_path, 10, 20)
        made = {getattr(client.jobs, verb)(run.id, idempotency_key=f"{verb}-{run.id}").id for _ in range(3)}
        assert len(made) == 1
        run.fail()
        client.jobs.cancel(made.pop())

    def test_says_what_ended_it_early(self, gateway: Gateway, client: strop.Client, tmp_path: Path) -> None:
        run = gateway.begun(client, max_nfe=100)
        run.succeed(tmp_path)
        assert client.jobs.get(run.id).stop_reason == "completed"


class TestList:
    def test_goes_through_all_pages_lazily(self, client: strop.Client) -> None:
        made = [client.jobs.create(**GOOD).id for _ in range(5)]
        assert [job.id for job in islice(client.jobs.list(limit=2), 5)] == made[::-1]

    def test_of_a_state_has_that_state_only(self, client: strop.Client) -> None:
        job = client.jobs.cancel(client.jobs.create(**GOOD).id)
        found = list(client.jobs.list("cancelled", limit=100))
        assert job.id in {each.id for each in found}
        assert {each.state for each in found} == {strop.State.CANCELLED}

    def test_of_a_state_that_is_none_is_refused(self, client: strop.Client) -> None:
        with pytest.raises(strop.InvalidRequest, match="no state 'dreaming'"):
            next(client.jobs.list("dreaming"))

    def test_out_of_bounds_is_refused_by_the_gateway(self, client: strop.Client) -> None:
        with pytest.raises(strop.InvalidRequest) as caught:
            next(client.jobs.list(limit=101))
        assert caught.value.errors[0].path == "limit"


class Watcher:
    """Somebody who watches in a thread."""

    def __init__(self, updates: Iterator[strop.Job | strop.Event]) -> None:
        self.jobs: list[strop.Job] = []
        self.events: list[strop.Event] = []
        self._thread = threading.Thread(target=self._take, args=(updates,), daemon=True)
        self._thread.start()

    def _take(self, updates: Iterator[Any]) -> None:
        for each in updates:
            (self.jobs if isinstance(each, strop.Job) else self.events).append(each)

    def ends(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def has_seen(self, step: int) -> bool:
        return any(event.step == step for event in self.events)


class TestWatch:
    def test_tells_every_event_and_ends_with_the_job(
        self, gateway: Gateway, client: strop.Client, tmp_path: Path
    ) -> None:
        run = gateway.begun(client, adapter_name="watched")
        watcher = Watcher(client.jobs.watch(run.id))
        for step in (1, 2, 3):
            run.step(step)
        eventually(lambda: watcher.has_seen(3))
        run.succeed(tmp_path)
        watcher.ends()
        assert [event.number for event in watcher.events] == list(range(1, len(watcher.events) + 1))
        assert [event.step for event in watcher.events if event.type == "job.step"] == [1, 2, 3]
        assert watcher.events[-1].type == "job.succeeded"
        last = watcher.jobs[-1]
        assert (last.state, last.adapter, last.progress.training_nfe) == (strop.State.SUCCEEDED, "watched@1", 800)
        assert client.jobs.wait(run.id) == last

    def test_survives_a_restart_of_the_gateway(self, gateway: Gateway, client: strop.Client, tmp_path: Path) -> None:
        run = gateway.begun(client)
        watcher = Watcher(client.jobs.watch(run.id))
        run.step(1)
        eventually(lambda: watcher.has_seen(1))
        gateway.stop()
        run.step(2)
        gateway.start()
        run.step(3)
        eventually(lambda: watcher.has_seen(3))
        run.succeed(tmp_path)
        watcher.ends()
        assert [event.number for event in watcher.events] == list(range(1, len(watcher.events) + 1))
        assert watcher.jobs[-1].state is strop.State.SUCCEEDED

    def test_with_a_time_limit_gives_up(self, gateway: Gateway, client: strop.Client) -> None:
        run = gateway.begun(client)
        with pytest.raises(TimeoutError, match="is running"):
            client.jobs.wait(run.id, timeout=2)


class TestFiles:
    def test_are_uploaded_and_named_by_a_job(self, client: strop.Client, tmp_path: Path) -> None:
        (tmp_path / "prompts.txt").write_text("a red circle\na blue square\n")
        file = client.files.upload(tmp_path / "prompts.txt")
        assert (file.filename, file.kind, file.prompts) == ("prompts.txt", "text", 2)
        job = client.jobs.create(base_model="shapes", prompts_file=file.id, reward=GOOD["reward"])
        assert (job.recipe["prompt_count"], job.recipe["prompts_file"]) == (2, file.id)

    def test_of_pictures_are_what_a_job_learns_from(self, client: strop.Client, tmp_path: Path) -> None:
        (tmp_path / "set.zip").write_bytes(zipped({"a.png": png(), "a.txt": b"a red circle"}))
        file = client.files.upload(tmp_path / "set.zip")
        sft = {"type": "sharpening-sft"}
        job = client.jobs.create(base_model="shapes", images_file=file.id, method=sft, reward=GOOD["reward"])
        named = {name: job.recipe[name] for name in ("images_file", "images_sha256", "image_count", "prompt_count")}
        assert named == {"images_file": file.id, "images_sha256": file.sha256, "image_count": 1, "prompt_count": 1}

    def test_that_hold_nothing_are_refused(self, client: strop.Client, tmp_path: Path) -> None:
        (tmp_path / "empty.txt").write_text("")
        with pytest.raises(strop.InvalidRequest):
            client.files.upload(tmp_path / "empty.txt")


def test_an_adapter_is_what_the_next_job_begins_with(gateway: Gateway, client: strop.Client, tmp_path: Path) -> None:
    gateway.begun(client, adapter_name="warm", lora={"rank": 4}).succeed(tmp_path)
    run = gateway.begun(client, adapter_name="warmer", start_adapter="warm")
    recipe = client.jobs.get(run.id).recipe
    assert (recipe["start_adapter"], recipe["lora"]["rank"]) == ("warm@1", 4)
    assert recipe["start_adapter_sha256"] == client.models.get("warm").sha256
    run.succeed(tmp_path)
    assert client.models.get("warmer").start_adapter == "warm@1"
    with pytest.raises(strop.InvalidRequest) as refused:
        client.jobs.create(**GOOD, start_adapter="warm", lora={"rank": 8})
    (wrong,) = refused.value.errors
    assert (wrong.path, wrong.remedy) == ("lora.rank", "set it to 4, or leave it out")


def test_artifacts_are_listed_and_downloaded(gateway: Gateway, client: strop.Client, tmp_path: Path) -> None:
    run = gateway.begun(client)
    content = run.succeed(tmp_path)
    assert {each.kind for each in client.artifacts.list(run.id)} == {"adapter", "manifest"}
    found = {path.name: path.read_bytes() for path in client.artifacts.download(run.id, tmp_path / "made")}
    assert found["adapter.safetensors"] == content
    assert found.keys() == {"adapter.safetensors", "manifest.json"}


def test_models_rewards_and_methods_say_what_a_job_may_name(
    gateway: Gateway, client: strop.Client, tmp_path: Path
) -> None:
    gateway.begun(client, adapter_name="named").succeed(tmp_path)
    models = {model.name: model for model in client.models.list()}
    assert (models["shapes"].kind, models["shapes"].guidance_scale, models["named@1"].kind) == ("base", 2.0, "adapter")
    found = client.models.get("named")
    assert found.adapter == strop.Adapter("named", (1,))
    assert found.receipt == strop.ReceiptStage("pending")
    assert dataclasses.replace(found, adapter=None, receipt=None) == models["named@1"]
    with pytest.raises(strop.NotFound):
        client.models.get("nobody")
    rewards = {reward.type: reward for reward in client.rewards.list()}
    assert "model" in rewards["clip"].schema["properties"]
    assert [method.type for method in client.methods.list()][:2] == ["sharpening-rlhf", "sharpening-sft"]


def test_an_alias_is_set_moved_drawn_from_and_taken_away(
    gateway: Gateway, client: strop.Client, tmp_path: Path
) -> None:
    for _ in range(2):
        gateway.begun(client, adapter_name="aliased").succeed(tmp_path)
    assert client.models.set_alias("aliased", "stable", 1).name == "aliased@stable"
    assert client.models.get("aliased@stable").name == "aliased@1"
    moved = client.models.set_alias("aliased", "stable", 2)
    found = client.models.get("aliased")
    assert found.adapter == strop.Adapter("aliased", (2, 1), (moved,))
    assert (found.aliases, moved.needs_receipt) == (("stable",), False)
    with gateway.database.write() as unit:
        unit.adapters.point(LOCAL.tenant, "aliased", "stable", 2, needs_receipt=True)
    for gone in (
        lambda: client.models.delete_alias("aliased", "stable"),
        lambda: client.models.delete("aliased@2", force=True),
    ):
        with pytest.raises(strop.Conflict, match="needs_receipt false first") as needed:
            gone()
        assert needed.value.code == "alias_needs_receipt"
    assert client.models.set_alias("aliased", "stable", 2, needs_receipt=False).needs_receipt is False
    with pytest.raises(strop.InvalidRequest, match="no aliased@3") as refused:
        client.models.set_alias("aliased", "stable", 3)
    assert refused.value.errors[0].remedy == "name one of its versions: 2, 1"
    client.models.delete_alias("aliased", "stable", idempotency_key="once-and-again")
    client.models.delete_alias("aliased", "stable", idempotency_key="once-and-again")
    with pytest.raises(strop.NotFound):
        client.models.get("aliased@stable")
    client.models.set_alias("aliased", "stable", 2)
    with pytest.raises(strop.Conflict, match="aliased@stable"):
        client.models.delete("aliased")
    client.models.delete("aliased@1")
    client.models.delete("aliased", force=True, idempotency_key="gone")
    client.models.delete("aliased", force=True, idempotency_key="gone")
    with pytest.raises(strop.NotFound):
        client.models.delete("aliased")


@pytest.mark.parametrize("key", [None, "wrong-key-of-sixteen"])
def test_without_the_key_every_noun_is_refused(
    gateway: Gateway, key: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STROP_API_KEY", raising=False)
    (tmp_path / "p").write_text("a")
    with strop.Client(gateway.url, key) as client:
        for call in (
            lambda: client.jobs.create(**GOOD), lambda: next(client.jobs.list()), lambda: next(client.jobs.watch("x")),
            client.models.list, client.rewards.list, client.methods.list,
            lambda: client.files.upload(tmp_path / "p"), lambda: client.artifacts.list("x"),
        ):  # fmt: skip
            with pytest.raises(strop.Unauthenticated):
                call()
