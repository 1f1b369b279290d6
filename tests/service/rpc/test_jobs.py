"""Every plain method of Jobs over each database; the proto says what the shapes say."""

from datetime import datetime
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from strop.v1 import jobs_pb2, models_pb2, problems_pb2, rewards_pb2

from service.domain.artifacts import Kind
from service.domain.ids import JobId
from service.domain.jobs import JobError, Progress, State
from service.domain.methods import METHODS
from service.domain.principals import LOCAL
from service.domain.recipes import BriefRecipe, JobRequest, Lora, Needs, Samples, Validation
from service.domain.rewards import REWARDS
from service.domain.verbs import CANCEL
from service.operations import once
from service.rpc import messages
from service.wire import problems, shapes
from tests.service.rest.calls import GOOD
from tests.service.rpc.calls import Rpc, Serving, key_of, message_of, refused
from tests.service.world import World

FULL: dict[str, Any] = {
    **GOOD,
    "method": {
        "type": "sharpening-rlhf",
        "candidates": 4,
        "learning_rate": 0.05,
        "beta": "auto",
        "rollout_guidance": 3,
    },
    "lora": {"rank": 4, "targets": ["attention"]},
    "steps": 7,
    "seed": 2**63 - 1,
    "dtype": "fp32",
    "samples": {"every": 0, "prompts": ["a red circle"], "guidance": 2.5, "num_inference_steps": 3},
    "validation": {
        "every": 5,
        "prompts": ["a blue cross"],
        "guidance": 1.5,
        "num_inference_steps": 4,
        "keep_best": False,
        "patience": 2,
    },
    "checkpoint_every": 5,
    "adapter_name": "red-things",
    "priority": -10,
    "metadata": {"run": "7"},
}


@pytest.fixture
def rpc(serving: Serving) -> Rpc:
    return serving.rpc


def as_json(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


class TestCreate:
    def test_is_what_rest_would_have_made(self, rpc: Rpc, world: World) -> None:
        job = rpc.create(FULL)
        stored = world.jobs.get(LOCAL, JobId(job.id)).recipe
        posted = world.post(**FULL).recipe
        assert stored == posted
        assert stored.seed == 2**63 - 1
        assert (job.state, job.recipe.base_model, job.recipe.seed) == (jobs_pb2.JOB_STATE_QUEUED, "shapes", 2**63 - 1)
        assert not job.HasField("adapter")
        assert not job.HasField("error")

    def test_fills_in_every_default(self, rpc: Rpc) -> None:
        job = rpc.create()
        assert job.recipe.method["candidates"] == 8
        assert list(job.recipe.lora.targets) == ["attention", "feed-forward", "conv"]
        assert (job.recipe.prompt_count, job.progress.steps) == (1, 60)

    def test_rings_once(self, rpc: Rpc, world: World) -> None:
        rpc.create()
        assert world.bell.rings == 1

    def test_is_done_once_for_one_idempotency_key(self, rpc: Rpc) -> None:
        request = jobs_pb2.JobsCreateRequest(
            base_model="shapes", prompts=["a"], metadata={str(n): "x" for n in range(16)}, idempotency_key="k"
        )
        request.reward.update({"type": "clip", "model": "shapes-clip"})
        turned = jobs_pb2.JobsCreateRequest(  # the same message, its maps filled in another order
            base_model="shapes", prompts=["a"], metadata={str(n): "x" for n in reversed(range(16))}, idempotency_key="k"
        )
        turned.reward.update({"model": "shapes-clip", "type": "clip"})
        first = rpc.jobs.Create(request, metadata=key_of())
        again = rpc.jobs.Create(turned, metadata=key_of())
        assert again.job.id == first.job.id
        assert (first.replayed, again.replayed) == (False, True)


class TestReading:
    def test_a_job_says_what_rest_says(self, rpc: Rpc, world: World) -> None:
        job = world.run(metadata={"a": "b"})
        progress = Progress(3, 60, 0.25, 960, 1000.5, 12.0)
        world.attempts.record(job.id, job.fence, 3, "job.step", {"loss": 1.5}, progress=progress)
        error = JobError("out_of_memory", "Lower the batch.")
        world.attempts.fail(job.id, job.fence, error, cause="out_of_memory", retry=False)
        told = as_json(rpc.get(job.id))
        by_rest = shapes.Job.of(world.get(job)).model_dump(mode="json")
        assert told["state"] == "JOB_STATE_FAILED"
        assert told["error"] == by_rest["error"]
        assert told["progress"] == {
            "step": "3",
            "steps": "60",
            "reward": 0.25,
            "training_nfe": "960",
            "training_fe": 1000.5,
        }
        (attempt,) = told["attempts"]
        assert (attempt["worker"], attempt["cause"]) == ("w1", "out_of_memory")
        began = by_rest["attempts"][0]["started_at"]
        assert datetime.fromisoformat(attempt["started_at"]) == datetime.fromisoformat(began)
        assert told["recipe"]["base"] == by_rest["recipe"]["base"]

    def test_pages_lead_through_all_newest_first(self, rpc: Rpc, world: World) -> None:
        posted = [world.post().id for _ in range(5)]
        seen: list[str] = []
        cursor = None
        while True:
            page = rpc.jobs.List(jobs_pb2.JobsListRequest(limit=2, cursor=cursor), metadata=key_of())
            seen += [job.id for job in page.data]
            assert page.has_more == page.HasField("next_cursor")
            if not page.has_more:
                break
            cursor = page.next_cursor
        assert seen == posted[::-1]

    def test_a_list_may_be_of_one_state(self, rpc: Rpc, world: World) -> None:
        running, _ = world.run(), world.post()
        page = rpc.jobs.List(jobs_pb2.JobsListRequest(state=jobs_pb2.JOB_STATE_RUNNING), metadata=key_of())
        assert [job.id for job in page.data] == [running.id]

    def test_cancel_is_done_twice_without_harm(self, rpc: Rpc, world: World) -> None:
        job = world.post()
        for _ in range(2):
            answer = rpc.jobs.Cancel(jobs_pb2.JobsCancelRequest(id=job.id), metadata=key_of())
            assert answer.job.state == jobs_pb2.JOB_STATE_CANCELLED


def keyed(key: str) -> Any:
    return (*key_of(), ("idempotency-key", key))


class TestVerbs:
    """What each does to a job: tests/service/operations/test_verbs.py; who refuses what: tests/service/refusals.py."""

    def test_pause_resume_and_retry_answer_with_the_job_and_again_under_their_key(
        self, serving: Serving, world: World
    ) -> None:
        jobs, job = serving.rpc.jobs, world.run()
        steps = (
            (jobs.Pause, jobs_pb2.JobsPauseRequest(id=job.id), jobs_pb2.JOB_STATE_PAUSING),
            (jobs.Resume, jobs_pb2.JobsResumeRequest(id=job.id), jobs_pb2.JOB_STATE_QUEUED),
            (jobs.Retry, jobs_pb2.JobsRetryRequest(id=job.id), jobs_pb2.JOB_STATE_QUEUED),
        )
        for place, (call, request, state) in enumerate(steps):
            answers = [call(request, metadata=keyed(f"k{place}")) for _ in range(2)]
            assert [(each.job.state, each.replayed) for each in answers] == [(state, False), (state, True)]
            if place == 0:
                world.attempts.stopped(job.id, job.fence, "paused")
            elif place == 1:
                job = world.claim_of(job).job
                world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="x", retry=False)

    def test_clone_and_certificate_make_one_job_under_one_key(self, serving: Serving, world: World) -> None:
        job = world.run(seed=7)
        for step in (10, 20):
            name = f"checkpoint-{step}"
            world.attempts.keep(job.id, job.fence, step, Kind.CHECKPOINT, name, world.file(name.encode()))
        clone = jobs_pb2.JobsCloneRequest(id=job.id)
        clone.overrides.update({"steps": 3, "metadata": {"run": "2"}})
        certificate = jobs_pb2.JobsCertificateRequest(id=job.id, steps=10)
        for call, request, kind in (
            (serving.rpc.jobs.Clone, clone, "sharpening"),
            (serving.rpc.jobs.Certificate, certificate, "certificate"),
        ):
            first, again = (call(request, metadata=keyed(kind)) for _ in range(2))
            assert (first.job.id, first.replayed, again.replayed) == (again.job.id, False, True)
            assert (first.job.kind, first.job.parent_id) == (kind, job.id)
        assert len(world.jobs.list(LOCAL).items) == 3

    def test_a_key_is_one_whether_it_comes_as_field_or_as_metadata(self, serving: Serving) -> None:
        request = message_of(GOOD, jobs_pb2.JobsCreateRequest())
        first = serving.rpc.jobs.Create(request, metadata=keyed("k"))
        request.idempotency_key = "k"
        for metadata in (key_of(), keyed("k")):
            again = serving.rpc.jobs.Create(request, metadata=metadata)
            assert (again.job.id, again.replayed) == (first.job.id, True)
        told = refused(serving.rpc.jobs.Create, request, keyed("another"))
        assert (told.problem["code"], told.violations.keys()) == ("invalid_idempotency_key", {"Idempotency-Key"})

    def test_a_key_means_the_same_verb_on_both_faces(self, serving: Serving, world: World) -> None:
        job = world.post()
        world.jobs.ask(LOCAL, job.id, CANCEL, once.keyed("k", f"/jobs/{job.id}/cancel"))
        answer = serving.rpc.jobs.Cancel(jobs_pb2.JobsCancelRequest(id=job.id), metadata=keyed("k"))
        assert answer.replayed


class TestWhatCallersMayName:
    def test_base_models(self, rpc: Rpc) -> None:
        listed = rpc.models.List(models_pb2.ModelsListRequest(), metadata=key_of()).data
        assert [(model.name, model.kind, model.resolution) for model in listed] == [("shapes", "base", 64)]
        assert rpc.models.Get(models_pb2.ModelsGetRequest(name="shapes"), metadata=key_of()).model == listed[0]

    def test_methods_and_rewards_with_their_schemas(self, rpc: Rpc) -> None:
        methods = rpc.models.ListMethods(models_pb2.ListMethodsRequest(), metadata=key_of()).data
        rewards = rpc.rewards.List(rewards_pb2.RewardsListRequest(), metadata=key_of()).data
        for told, models, kind in ((methods, METHODS, "method"), (rewards, REWARDS, "reward")):
            by_rest = [shapes.choice(kind, model).model_dump(mode="json", by_alias=True) for model in models]  # type: ignore[arg-type]
            assert [{"object": kind, **as_json(each)} for each in told] == by_rest


def names(message: Any) -> set[str]:
    return set(message.DESCRIPTOR.fields_by_name)


def test_the_proto_has_every_field_of_the_shapes_and_no_other() -> None:
    assert names(jobs_pb2.JobsCreateRequest) - {"idempotency_key"} == JobRequest.model_fields.keys()
    assert names(jobs_pb2.Lora) == Lora.model_fields.keys()
    assert names(jobs_pb2.Samples) == Samples.model_fields.keys()
    assert names(jobs_pb2.Validation) == Validation.model_fields.keys()
    assert names(jobs_pb2.Needs) == Needs.model_fields.keys()
    assert names(jobs_pb2.Recipe) == BriefRecipe.model_fields.keys() - {
        "parent_id",
        "replay",
    }  # the job shows these itself
    for message, shape in (
        (jobs_pb2.Job, shapes.Job), (jobs_pb2.JobError, shapes.Error), (jobs_pb2.Progress, shapes.Progress),
        (jobs_pb2.Certificate, shapes.Certificate), (jobs_pb2.Attempt, shapes.Attempt), (jobs_pb2.Event, shapes.Event), (models_pb2.Model, shapes.Model),
        (models_pb2.Adapter, shapes.Adapter), (models_pb2.Alias, shapes.Alias),
        (problems_pb2.Problem, problems.Problem), (problems_pb2.FieldProblem, problems.FieldProblem),
    ):  # fmt: skip
        assert names(message) == shape.model_fields.keys() - {"object"}


def test_the_proto_has_every_state() -> None:
    numbers = {messages.state_of(value.number): value.number for value in jobs_pb2.JobState.DESCRIPTOR.values}
    assert numbers.keys() == {"unspecified", *State}
