"""A job with very many prompts: read, listed, watched and ended by what is shown of it; run, cloned and certified by the whole."""

from typing import Any

import pytest

from service.domain.artifacts import Kind
from service.domain.jobs import Job, JobError, State
from service.domain.principals import LOCAL
from service.domain.recipes import SHOWN_PROMPTS, BriefRecipe, CertificateRequest, JobRequest
from service.operations.receipts import Receipts
from tests.service.world import World

PROMPTS = tuple(f"a red circle number {each}" for each in range(100))
ASKED = tuple(f"a blue square number {each}" for each in range(50))


def post(world: World, **changes: Any) -> Job:
    return world.post(prompts=PROMPTS, validation={"prompts": ASKED}, **changes)


def gone(world: World, job: Job) -> None:
    """The whole recipe as no reader can read it: who needs it is found out."""
    world.sql("UPDATE jobs SET recipe = '0' WHERE id = :id", id=job.id)


def shows_the_first(job: Job) -> None:
    said = job.recipe.public()
    assert said["prompts"] == list(PROMPTS[:SHOWN_PROMPTS])
    assert said["validation"]["prompts"] == list(ASKED[:SHOWN_PROMPTS])
    assert (said["prompt_count"], said["validation_prompt_count"]) == (100, 50)
    assert len(said["prompts_sha256"]) == 64


def test_is_read_and_listed_without_its_whole_recipe(world: World) -> None:
    job = post(world)
    gone(world, job)
    for seen in (job, world.get(job), *world.jobs.list(LOCAL).items):
        shows_the_first(seen)


@pytest.mark.parametrize("how", ["failed", "handed_back", "succeeded"])
def test_is_ended_without_its_whole_recipe(world: World, how: str) -> None:
    job = world.claim_of(post(world, adapter_name="red")).job
    world.attempts.keep(job.id, job.fence, 1, Kind.ADAPTER, "adapter.safetensors", world.file())
    gone(world, job)
    if how == "failed":
        ended = world.attempts.fail(job.id, job.fence, JobError("x", "x"), cause="x", retry=False)
    elif how == "handed_back":
        ended = world.attempts.stopped(job.id, job.fence, "handed_back")
    else:
        ended = world.attempts.succeed(job.id, job.fence, training_nfe=1, training_fe=1, code_version="t")
        assert world.models.resolve(LOCAL, "red@1")
    assert ended.state is {"failed": State.FAILED, "handed_back": State.QUEUED}.get(how, State.SUCCEEDED)
    shows_the_first(ended)


def test_is_run_with_all_of_it(world: World) -> None:
    claim = world.claim_of(post(world))
    assert claim.job.recipe.prompts == PROMPTS
    assert claim.job.recipe.validation is not None
    assert claim.job.recipe.validation.prompts == ASKED
    assert not isinstance(claim.job.recipe, BriefRecipe)


def test_its_clone_and_its_certificate_have_all_of_it(world: World) -> None:
    job = world.claim_of(post(world)).job
    for step in (10, 20):
        world.attempts.keep(job.id, job.fence, step, Kind.CHECKPOINT, f"c-{step}", world.file(f"{step}".encode()))
    clone = world.jobs.clone(LOCAL, job.id, {"priority": 10}, JobRequest.model_validate_json)[0]
    assert world.claim_of(clone).job.recipe == job.recipe.model_copy(update={"priority": 10, "parent_id": job.id})
    certificate = world.jobs.certify(LOCAL, job.id, CertificateRequest(priority=10))[0]
    replayed = world.claim_of(certificate).job.recipe
    assert (replayed.prompts, replayed.validation) == (PROMPTS, job.recipe.validation)
    shows_the_first(world.get(certificate))


def test_its_receipt_is_measured_on_prompts_that_are_not_all_shown(world: World) -> None:
    world.deliver(prompts=PROMPTS, validation={"prompts": ASKED})
    subject = Receipts(world.database, world.store).subject(LOCAL, "red@1", None, None)
    assert subject.recipe.prompts == PROMPTS
    assert subject.prompts == ASKED[: len(subject.prompts)]


def test_what_is_shown_of_a_job_is_stored_as_no_job(world: World) -> None:
    job = post(world)
    assert isinstance(job.recipe, BriefRecipe)
    with pytest.raises(AssertionError, match="whole recipe"):
        world.jobs._add(LOCAL, None, lambda: job.recipe, {})


def test_short_lists_are_stored_once(world: World) -> None:
    world.post(prompts=PROMPTS[:SHOWN_PROMPTS], validation={"prompts": ASKED[:SHOWN_PROMPTS]})
    assert world.sql("SELECT brief FROM jobs") == [(None,)]


def test_a_long_job_of_a_process_of_the_version_before_is_shown_alike(world: World) -> None:
    job = post(world)
    world.sql("UPDATE jobs SET brief = NULL")
    shows_the_first(world.get(job))
