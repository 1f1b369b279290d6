"""POST, GET, list; cancel and the other verbs; clone, certificate; events."""

from pathlib import Path
from typing import Any

import pytest

from service.adapters import db
from service.domain.artifacts import Kind
from service.domain.jobs import JobError, Progress
from service.operations.attempts import Attempts
from service.operations.waiting import Explaining
from service.settings import Settings
from tests.service.rest.calls import OFFERS, Gateway

SHAPE = {
    "id", "object", "kind", "parent_id", "state", "created_at", "recipe", "adapter", "error", "stop_reason", "wait_reason",
    "certificate", "certificates", "progress", "attempts", "metadata",
}  # fmt: skip


class TestCreate:
    def test_answers_201_with_the_job_and_its_place(self, gateway: Gateway) -> None:
        answer = gateway.post_job({"metadata": {"run": "7"}})
        job = answer.json()
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"/jobs/{job['id']}"
        assert job.keys() == SHAPE
        assert (job["object"], job["state"], job["adapter"], job["error"]) == ("job", "queued", None, None)
        assert job["created_at"].endswith("Z")
        assert job["attempts"] == []
        assert job["metadata"] == {"run": "7"}
        assert job["progress"] == {
            "step": 0,
            "steps": 60,
            "reward": None,
            "training_nfe": 0,
            "training_fe": 0,
            "training_seconds": 0,
            "seconds_left": None,
        }

    def test_resolves_every_default_and_tells_no_path(self, gateway: Gateway) -> None:
        answer = gateway.post_job()
        recipe = answer.json()["recipe"]
        assert recipe["method"]["candidates"] == 8
        assert recipe["lora"]["rank"] == 16
        assert recipe["base"]["licence"] == "Apache-2.0"
        assert recipe["prompt_count"] == 1
        assert "source" not in answer.text

    def test_takes_prompts_from_a_file(self, gateway: Gateway) -> None:
        file = gateway.post_file(b"a red circle\na blue square\n").json()
        answer = gateway.post_job({"prompts": ..., "prompts_file": file["id"]})
        assert answer.status_code == 201
        assert answer.json()["recipe"]["prompt_count"] == 2

    def test_is_done_once_for_one_idempotency_key(self, gateway: Gateway) -> None:
        first = gateway.post_job(idempotency_key="k1")
        again = gateway.post_job(idempotency_key="k1")
        assert again.status_code == first.status_code == 201
        assert again.json()["id"] == first.json()["id"]
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["Idempotent-Replayed"] == "true"
        assert gateway.job_count() == 1

    def test_refuses_a_key_with_another_body(self, gateway: Gateway) -> None:
        gateway.post_job(idempotency_key="k1")
        answer = gateway.post_job({"seed": 1}, idempotency_key="k1")
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        assert gateway.job_count() == 1


class TestGet:
    def test_is_what_was_posted(self, gateway: Gateway) -> None:
        posted = gateway.post_job().json()
        assert gateway.get(f"/jobs/{posted['id']}").json() == posted

    def test_costs_nothing_while_nothing_changed(self, gateway: Gateway) -> None:
        path = f"/jobs/{gateway.new_job()}"
        tag = gateway.get(path).headers["ETag"]
        again = gateway.get(path, headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)

    def test_comes_anew_after_each_change(self, gateway: Gateway, attempts: Attempts) -> None:
        path = f"/jobs/{gateway.new_job()}"
        seen = [gateway.get(path).headers["ETag"]]

        def changed() -> dict[str, Any]:
            answer = gateway.get(path, headers={"If-None-Match": seen[-1]})
            assert answer.status_code == 200
            seen.append(answer.headers["ETag"])
            return answer.json()

        claim = attempts.claim("w1", "cpu", OFFERS)
        assert claim is not None
        job = changed()
        assert (job["state"], job["attempts"][0]["worker"], job["attempts"][0]["fence"]) == ("running", "w1", 1)
        done = Progress(step=3, steps=60, reward=0.25, training_nfe=40, training_fe=52.0, seconds_left=9.5)
        attempts.record(claim.job.id, claim.job.fence, 3, "job.step", {"loss": 0.5}, progress=done)
        assert changed()["progress"]["reward"] == 0.25
        gateway.client.post(f"{path}/cancel")
        assert changed()["state"] == "cancelling"
        attempts.stopped(claim.job.id, claim.job.fence, "cancelled")
        assert changed()["state"] == "cancelled"
        assert len(set(seen)) == len(seen)

    def test_says_why_no_worker_can_take_it_and_to_who_polls_too(
        self, gateway: Gateway, attempts: Attempts, settings: Settings
    ) -> None:
        attempts.show("w1", OFFERS)
        path = f"/jobs/{gateway.new_job({'needs': {'labels': ['big']}})}"
        before = gateway.get(path)
        assert before.json()["wait_reason"] is None
        database = db.connect(settings.database_url)
        Explaining(database, due_seconds=0).turn()
        database.close()
        after = gateway.get(path, headers={"If-None-Match": before.headers["ETag"]})
        assert after.json()["wait_reason"].endswith("none carries the label 'big' (STROP_WORKER_LABELS)")

    @pytest.mark.parametrize("name", ["job_" + "0" * 26, "job_1", "..%2f..%2fetc", "%00", "a" * 500])
    def test_of_no_job_is_404(self, gateway: Gateway, name: str) -> None:
        answer = gateway.get(f"/jobs/{name}", headers={"If-None-Match": "*"})
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


class TestList:
    def test_pages_newest_first_without_a_gap(self, gateway: Gateway) -> None:
        made = [gateway.new_job({"seed": seed}) for seed in range(5)]
        seen, cursor = [], None
        while True:
            page = gateway.get("/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            seen += [job["id"] for job in page["data"]]
            cursor = page["next_cursor"]
            assert page["object"] == "list"
            assert page["has_more"] == (cursor is not None)
            if cursor is None:
                break
        assert seen == made[::-1]

    def test_filters_by_state(self, gateway: Gateway) -> None:
        kept, cancelled = gateway.new_job(), gateway.new_job()
        gateway.client.post(f"/jobs/{cancelled}/cancel")
        assert [job["id"] for job in gateway.get("/jobs?state=queued").json()["data"]] == [kept]
        assert [job["id"] for job in gateway.get("/jobs?state=cancelled").json()["data"]] == [cancelled]

    @pytest.mark.parametrize(
        ("query", "path", "remedy"),
        [
            ("limit=0", "limit", "send a number, 1 or more"),
            ("limit=101", "limit", "send a number, at most 100"),
            ("limit=ten", "limit", "send a whole number"),
            ("state=done", "state", "choose queued, running, pausing"),
            ("kind=both", "kind", "choose sharpening or certificate"),
            ("cursor=nonsense", "cursor", "pass the next_cursor"),
            ("stat=queued", "stat", "remove it"),
        ],
    )
    def test_refuses_what_it_does_not_know(self, gateway: Gateway, query: str, path: str, remedy: str) -> None:
        answer = gateway.get(f"/jobs?{query}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["path"] == path
        assert answer.json()["errors"][0]["remedy"].startswith(remedy)


class TestCancel:
    def test_ends_a_waiting_job_at_once_and_again_is_no_error(self, gateway: Gateway) -> None:
        path = f"/jobs/{gateway.new_job()}/cancel"
        assert gateway.client.post(path).json()["state"] == "cancelled"
        assert gateway.client.post(path).status_code == 200

    def test_of_a_finished_job_is_409(self, gateway: Gateway, attempts: Attempts) -> None:
        job = gateway.new_job()
        claim = attempts.claim("w1", None, OFFERS)
        assert claim is not None
        attempts.fail(claim.job.id, claim.job.fence, JobError("nan", "NaN."), cause="nan", retry=False)
        answer = gateway.client.post(f"/jobs/{job}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")
        assert gateway.get(f"/jobs/{job}").json()["error"] == {"code": "nan", "message": "NaN."}

    def test_of_no_job_is_404(self, gateway: Gateway) -> None:
        assert gateway.client.post("/jobs/job_1/cancel").status_code == 404


class TestVerbs:
    """What each does to a job: tests/service/operations/test_verbs.py."""

    def test_pause_resume_and_retry_answer_with_the_job(self, gateway: Gateway, attempts: Attempts) -> None:
        job = gateway.new_job()
        claim = attempts.claim("w1", None, OFFERS)
        assert claim is not None
        assert gateway.act(job, "pause").json()["state"] == "pausing"
        attempts.stopped(claim.job.id, claim.job.fence, "paused")
        answer = gateway.act(job, "resume")
        assert (answer.status_code, answer.json()["state"]) == (200, "queued")
        claim = attempts.claim("w1", None, OFFERS)
        assert claim is not None
        attempts.fail(claim.job.id, claim.job.fence, JobError("nan", "NaN."), cause="nan", retry=False)
        answer = gateway.act(job, "retry")
        assert (answer.json()["state"], answer.json()["error"]) == ("queued", None)

    def test_in_another_state_are_409_with_a_code_and_the_remedy(self, gateway: Gateway) -> None:
        job = gateway.new_job()
        for verb, remedy in (
            ("pause", "once it runs"),
            ("resume", "it goes on already"),
            ("retry", "it goes on already"),
        ):
            answer = gateway.act(job, verb)
            assert (answer.status_code, answer.json()["code"]) == (409, f"cannot_{verb}")
            assert answer.json()["detail"].endswith(remedy)

    @pytest.mark.parametrize("verb", ["pause", "resume", "retry", "clone", "certificate"])
    def test_of_no_job_are_404(self, gateway: Gateway, verb: str) -> None:
        for job in ("job_1", "job_" + "0" * 26):
            assert gateway.act(job, verb).status_code == 404


class TestClone:
    def test_is_a_new_job_at_its_own_place(self, gateway: Gateway) -> None:
        job = gateway.new_job({"metadata": {"run": "1"}})
        answer = gateway.act(job, "clone", {"steps": 3, "method": {"candidates": 4}})
        twin = answer.json()
        assert (answer.status_code, answer.headers["Location"]) == (201, f"/jobs/{twin['id']}")
        assert (twin["parent_id"], twin["kind"], twin["metadata"]) == (job, "sharpening", {"run": "1"})
        assert (twin["recipe"]["steps"], twin["recipe"]["method"]["candidates"]) == (3, 4)

    def test_needs_no_body(self, gateway: Gateway) -> None:
        job = gateway.new_job({"seed": 5})
        assert gateway.client.post(f"/jobs/{job}/clone").json()["recipe"]["seed"] == 5

    def test_is_refused_in_every_place_of_the_whole_request(self, gateway: Gateway) -> None:
        job = gateway.new_job()
        answer = gateway.act(job, "clone", {"steps": 0, "nonsense": 1, "lora": {"rank": 999}, "prompts": None})
        assert answer.status_code == 422
        assert {each["path"] for each in answer.json()["errors"]} >= {"steps", "nonsense", "lora.rank"}
        assert gateway.job_count() == 1

    @pytest.mark.parametrize(
        ("body", "content_type", "status"),
        [(b"[]", "application/json", 422), (b'{"a": NaN}', "application/json", 422), (b"{}", "text/plain", 415)],
    )
    def test_takes_one_json_object(self, gateway: Gateway, body: bytes, content_type: str, status: int) -> None:
        path = f"/jobs/{gateway.new_job()}/clone"
        assert gateway.client.post(path, content=body, headers={"Content-Type": content_type}).status_code == status


class TestCertificate:
    def test_is_a_job_of_its_kind(self, gateway: Gateway, attempts: Attempts, tmp_path: Path) -> None:
        job = gateway.new_job()
        claim = attempts.claim("w1", None, OFFERS)
        assert claim is not None
        for step in (10, 20):
            (tmp_path / "state").write_text(str(step))
            attempts.keep(
                claim.job.id, claim.job.fence, step, Kind.CHECKPOINT, f"checkpoint-{step}", tmp_path / "state"
            )
        made = gateway.act(job, "certificate", {"from_step": 10, "steps": 10}).json()
        assert (made["kind"], made["parent_id"], made["progress"]["steps"]) == ("certificate", job, 20)
        assert (made["recipe"]["priority"], made["certificate"]) == (-5, None)
        assert [each["id"] for each in gateway.get("/jobs?kind=certificate").json()["data"]] == [made["id"]]
        claim = attempts.claim("w1", None, OFFERS)
        assert claim is not None
        attempts.certify(claim.job.id, claim.job.fence, found_sha256="f" * 64, training_nfe=8, training_fe=9.5)
        found = gateway.get(f"/jobs/{made['id']}").json()["certificate"]
        assert found == {
            "job": made["id"], "from_step": 10, "to_step": 20, "expected_sha256": found["expected_sha256"],
            "found_sha256": "f" * 64, "holds": False,
        }  # fmt: skip
        assert gateway.get(f"/jobs/{job}").json()["certificates"] == [found]

    def test_of_a_job_without_checkpoints_is_409(self, gateway: Gateway) -> None:
        answer = gateway.client.post(f"/jobs/{gateway.new_job()}/certificate")
        assert (answer.status_code, answer.json()["code"]) == (409, "too_few_checkpoints")

    def test_of_steps_below_one_is_refused(self, gateway: Gateway) -> None:
        answer = gateway.act(gateway.new_job(), "certificate", {"steps": 0, "from": 3})
        assert {each["path"] for each in answer.json()["errors"]} == {"steps", "from"}


class TestEvents:
    def test_come_in_order_from_any_number_on(self, gateway: Gateway, attempts: Attempts) -> None:
        job = gateway.new_job()
        claim = attempts.claim("w1", None, OFFERS)
        assert claim is not None
        for step in (1, 2, 3):
            attempts.record(claim.job.id, claim.job.fence, step, "job.step", {"reward": {"mean": step / 10}})
        page = gateway.get(f"/jobs/{job}/events?limit=3").json()
        assert page["has_more"]
        assert page["data"][2].keys() == {"object", "number", "fence", "step", "type", "data", "created_at"}
        rest = gateway.get(f"/jobs/{job}/events", params={"after": page["next_cursor"]}).json()
        assert not rest["has_more"]
        both = page["data"] + rest["data"]
        assert [event["number"] for event in both] == [1, 2, 3, 4, 5]
        assert [event["type"] for event in both] == ["job.queued", "job.started", *["job.step"] * 3]
        assert both[-1]["data"] == {"reward": {"mean": 0.3}}

    def test_of_no_job_is_404(self, gateway: Gateway) -> None:
        assert gateway.get("/jobs/job_1/events").status_code == 404
