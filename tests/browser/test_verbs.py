"""What a reader asks of a job by the page's buttons: pause, resume, retry, clone, certify. (Cancel: test_page.py.)"""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.visits import JOB, LONG, MINUTES, NewPage, address, cancel, ended, give_key, post, state
from tests.eventually import eventually
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def visit(stack: Stack, new_page: NewPage, job: str) -> Page:
    page, watched = new_page()
    watched.pardon(re.compile("status of 4(09|22)"))
    page.goto(address(stack, job))
    give_key(page)
    return page


def shown(page: Page) -> list[str]:
    return page.locator(".verbs button:visible").all_inner_texts()


def test_a_running_job_is_paused_and_resumed(stack: Stack, new_page: NewPage) -> None:
    job = post(stack, LONG | {"priority": 5})
    page = visit(stack, new_page, job)
    expect(state(page)).to_have_text("running", timeout=MINUTES)
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(state(page)).to_have_text("paused", timeout=MINUTES)
    assert shown(page) == ["Resume", "Clone…", "Cancel…"]
    page.get_by_role("button", name="Resume", exact=True).click()
    expect(state(page)).to_have_text("running", timeout=MINUTES)
    cancel(stack, job)
    eventually(lambda: ended(stack, job), 60)


def test_a_failed_job_is_retried_and_watched_on(stack: Stack, new_page: NewPage) -> None:
    job = post(stack, JOB | {"base_model": "broken", "adapter_name": "never-made"})
    eventually(lambda: ended(stack, job), 180)
    page = visit(stack, new_page, job)
    expect(state(page)).to_have_text("failed")
    assert shown(page) == ["Retry", "Clone…"]
    expect(page.locator("#attempts tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Retry", exact=True).click()
    expect(page.locator("#attempts tbody tr")).to_have_count(2, timeout=MINUTES)  # a finished job is asked about again
    expect(state(page)).to_have_text("failed", timeout=MINUTES)


def test_a_clone_opens_with_what_is_different_and_a_wrong_one_says_why(stack: Stack, new_page: NewPage) -> None:
    job = post(stack, LONG | {"priority": -10, "adapter_name": "parent"})
    page = visit(stack, new_page, job)
    page.get_by_role("button", name="Clone…").click()
    changes = page.get_by_label("What is to be different")
    changes.fill('{"steps": 0}')
    page.get_by_role("button", name="Queue the clone").click()
    expect(page.locator("dialog[open] .wrong")).to_contain_text("steps: send a whole number, 1 or more")
    changes.fill('{"steps": 77, "adapter_name": "twin"}')
    page.get_by_role("button", name="Queue the clone").click()
    expect(page.locator("h1")).to_have_text("twin")
    expect(page.locator(".head")).to_contain_text(f"cloned from {job}")
    expect(page.locator(".head .done")).to_contain_text("of 77")
    twin = page.url.rsplit("/", 1)[-1]
    assert stack.gateway.get(f"/jobs/{twin}").json()["parent_id"] == job
    cancel(stack, job, twin)


def test_a_certificate_opens_and_its_parent_shows_what_it_found(stack: Stack, new_page: NewPage) -> None:
    job = post(stack, JOB | {"steps": 4, "checkpoint_every": 2, "samples": {"every": 0}, "adapter_name": "proven"})
    assert eventually(lambda: ended(stack, job), 180)["state"] == "succeeded"
    page = visit(stack, new_page, job)
    page.get_by_role("button", name="Certify").click()
    expect(page.locator("h1")).to_have_text(f"Certificate of {job}")
    expect(state(page)).to_have_text("succeeded", timeout=MINUTES)
    expect(page.locator(".head .left")).to_have_text("steps 2 to 4 hold")
    page.get_by_role("link", name=job).click()
    expect(page.locator(".certificates li")).to_have_text("Certificate: steps 2 to 4 hold")
