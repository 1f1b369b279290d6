"""The status page in a real browser, on the real stack, while real jobs run: the key, and the view of one job."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.adapters import db
from service.operations.waiting import Explaining
from tests.browser.visits import (
    HIDDEN_HTML,
    JOB,
    LONG,
    MINUTES,
    SCENES,
    STEPS,
    NewPage,
    address,
    ended,
    give_key,
    keep,
    loaded,
    post,
    state,
)
from tests.eventually import eventually
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class TestTheKey:
    def test_a_wrong_one_shows_the_problems_sentence_and_the_right_one_opens(
        self, stack: Stack, new_page: NewPage
    ) -> None:
        page, _ = new_page()
        page.goto(address(stack))
        expect(page.get_by_text(".strop/key")).to_be_visible()
        expect(page.get_by_role("alert")).to_be_hidden()
        give_key(page, "not-the-key-at-all")
        expect(page.get_by_role("alert")).to_have_text(
            stack.gateway.get("/jobs", headers={"Authorization": ""}).json()["detail"]
        )
        give_key(page)
        expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]

        page.get_by_role("button", name="Forget key").click()
        page.get_by_label("Remember").check()
        give_key(page)
        expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        assert page.evaluate("[sessionStorage.length, localStorage.length]") == [0, 1]

    def test_is_not_asked_for_where_the_gateway_has_none(self, keyless: str, new_page: NewPage) -> None:
        page, watched = new_page()
        page.goto(keyless)
        expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
        expect(page.locator("#link")).to_have_text("live")
        assert watched.complaints == []


class TestAJob:
    def test_is_watched_from_the_empty_list_to_its_end_without_a_reload(self, stack: Stack, new_page: NewPage) -> None:
        page, _ = new_page(height=1900)
        page.goto(address(stack))
        give_key(page)
        expect(page.get_by_text("No jobs yet")).to_be_visible()
        expect(page.locator("pre")).to_contain_text("-d @examples/shapes.json")
        page.evaluate("window.neverReloaded = true")

        endless = post(stack, LONG)
        rows = page.locator(".job")
        expect(rows).to_have_count(1)
        expect(rows.locator(".pill")).to_have_text("running", timeout=MINUTES)
        watched = post(stack, JOB)
        expect(rows.nth(0)).to_contain_text("sharper-shapes")
        expect(rows.nth(0).locator(".pill")).to_have_text("queued")

        rows.nth(1).get_by_role("link").click()  # the endless one, cancelled by its button
        expect(page.locator("h1")).to_have_text("endless")
        page.get_by_role("button", name="Cancel…").click()
        page.get_by_role("button", name="Keep it").click()
        expect(state(page)).to_have_text("running")
        expect(page.get_by_role("img", name=re.compile("^Reward by step"))).to_be_visible(timeout=MINUTES)
        page.get_by_role("link", name="Jobs", exact=True).click()
        rows.nth(0).get_by_role("link").click()
        expect(state(page)).to_have_text("queued")
        with page.expect_response(lambda answer: answer.url.endswith(f"/jobs/{watched}") and answer.status == 304):
            pass  # nothing new, and no body
        expect(page.get_by_text("waiting for a worker")).to_be_visible()
        page.get_by_role("link", name="Jobs", exact=True).click()
        rows.nth(1).get_by_role("link").click()
        page.get_by_role("button", name="Cancel…").click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(state(page)).to_have_text("cancelled", timeout=MINUTES)
        assert stack.gateway.get(f"/jobs/{endless}").json()["state"] == "cancelled"
        expect(page.get_by_role("button", name="Cancel…")).to_be_hidden()

        page.get_by_role("link", name="Jobs", exact=True).click()
        rows.nth(0).get_by_role("link").click()
        expect(state(page)).to_have_text("running", timeout=MINUTES)
        steps = page.locator("#events summary", has_text="Steps")
        steps.click(timeout=MINUTES)
        expect(state(page)).to_have_text("succeeded", timeout=MINUTES)
        expect(page.locator("#events details[open] li")).to_have_count(
            STEPS
        )  # what was opened stayed open, and went on
        self.shows_all_that_there_is(page, stack, watched)
        assert page.evaluate("window.neverReloaded") is True
        steps.click()
        page.evaluate("scrollTo(0, 0)")
        keep(page, "page-job.png")

    def shows_all_that_there_is(self, page: Page, stack: Stack, job: str) -> None:
        expect(page.locator("h1")).to_have_text("sharper-shapes@1")
        for curve in ("#reward", "#loss"):
            expect(page.locator(f"{curve} svg")).to_have_attribute("data-points", str(STEPS))
            expect(page.locator(f"{curve} .dots circle")).to_have_count(STEPS)
        page.locator("#reward summary").click()
        expect(page.locator("#reward tbody tr")).to_have_count(STEPS)
        page.locator("#reward summary").click()
        page.locator("#reward svg").hover(position={"x": 52, "y": 60})
        expect(page.locator("#reward output")).to_contain_text("step 1")
        page.locator("#reward svg").press("End")
        expect(page.locator("#reward output")).to_contain_text(f"step {STEPS}")

        rows = page.locator(".samples > li")
        expect(rows).to_have_count(len(SCENES))
        expect(rows.nth(0).locator("figcaption")).to_have_text(["Base", f"Step {STEPS}"])
        eventually(lambda: loaded(page) == len(SCENES) * (2 + STEPS), 20)
        rows.nth(1).get_by_role("button", name="Step 2").click()
        expect(rows.nth(0).locator("figcaption")).to_have_text(["Base", "Step 2"])
        rows.nth(1).get_by_role("button", name=f"Step {STEPS}").click()

        expect(page.locator("#attempts tbody tr")).to_contain_text("succeeded")
        expect(page.locator("#recipe")).to_contain_text("rollout_guidance")
        files = {each["name"]: each for each in stack.gateway.get(f"/jobs/{job}/artifacts").json()["data"]}
        name = "pytorch_lora_weights.safetensors"
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        content = Path(download.value.path()).read_bytes()
        assert (download.value.suggested_filename, len(content)) == (name, files[name]["bytes"])
        expect(page.locator("#artifacts code", has_text=files[name]["sha256"])).to_have_count(1)

    def test_shows_markup_in_what_was_posted_as_text(self, stack: Stack, short: str, new_page: NewPage) -> None:
        page, _ = new_page()
        page.goto(address(stack, short))
        give_key(page)
        expect(page.locator(".samples .prompt")).to_have_text(HIDDEN_HTML)
        expect(page.locator("#recipe .groups")).to_contain_text(HIDDEN_HTML)
        eventually(lambda: loaded(page) == 3)
        assert page.locator("main b", has_text="bold").count() == 0
        assert page.evaluate("window.injected") is None

    def test_that_is_finished_is_never_asked_again_but_for_new_links(
        self, stack: Stack, short: str, new_page: NewPage
    ) -> None:
        page, watched = new_page()
        page.clock.install()
        page.goto(address(stack, short))
        give_key(page)
        expect(page.locator("#link")).to_have_text("finished")
        expect(page.locator("#receipt .verdict")).to_have_text(re.compile("passed|failed"), timeout=MINUTES)
        expect(page.locator("#artifacts")).to_contain_text("receipt-1.json")
        eventually(lambda: loaded(page) == 3)
        watched.paths()
        page.clock.run_for(30 * 60_000)
        assert watched.paths() == []
        with page.expect_response(lambda answer: answer.url.endswith("/artifacts")):
            page.clock.fast_forward(26 * 60_000)
        assert watched.paths() == [f"/jobs/{short}/artifacts"]  # pictures that came stay as they are

    def test_that_no_worker_can_take_says_why(self, stack: Stack, parts: dict[str, str], new_page: NewPage) -> None:
        job = post(stack, JOB | {"needs": {"labels": ["nobody-has-it"]}, "adapter_name": "never-begun"})
        page, _ = new_page()
        page.goto(address(stack, job))
        give_key(page)
        expect(page.get_by_text("waiting for a worker")).to_be_visible()
        database = db.connect(parts["STROP_DATABASE_URL"])
        assert Explaining(database, due_seconds=0).turn() == 1
        database.close()
        expect(page.get_by_text("none carries the label 'nobody-has-it'")).to_be_visible()
        page.get_by_role("button", name="Cancel…").click()
        page.get_by_role("button", name="Cancel the job").click()
        expect(state(page)).to_have_text("cancelled")

    def test_that_failed_says_why(self, stack: Stack, new_page: NewPage) -> None:
        job = post(stack, JOB | {"base_model": "broken", "adapter_name": "never-made"})
        failed = eventually(lambda: ended(stack, job), 180)
        assert failed["state"] == "failed"
        page, _ = new_page()
        page.goto(address(stack, job))
        give_key(page)
        expect(state(page)).to_have_text("failed")
        expect(page.locator(".failure")).to_contain_text(failed["error"]["code"])
        expect(page.locator(".failure")).to_contain_text(failed["error"]["message"])
