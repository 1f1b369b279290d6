"""The list of jobs in a real browser, on the real stack."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.visits import JOB, LONG, MINUTES, NewPage, address, cancel, ended, give_key, keep, post
from tests.browser.watched import INVALID, OFFLINE
from tests.eventually import eventually
from tests.stack import Stack

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class TestTheList:
    @pytest.mark.usefixtures("short")
    def test_moves_with_its_jobs(self, stack: Stack, new_page: NewPage) -> None:
        dropped = post(stack, LONG)
        cancel(stack, dropped)
        failing = post(stack, JOB | {"base_model": "broken", "adapter_name": "never-made"})
        eventually(lambda: ended(stack, failing), 180)
        page, _ = new_page(height=560)
        page.goto(address(stack))
        give_key(page)
        running = post(
            stack, LONG | {"adapter_name": "smooth-shapes", "reward": {"type": "jpeg-compressibility"}, "steps": 60}
        )
        waiting = post(stack, LONG | {"adapter_name": "exact-scenes", "reward": {"type": "scene"}})
        first, second = page.locator(".job").nth(0), page.locator(".job").nth(1)
        expect(first.locator(".pill")).to_have_text("queued")
        expect(second.locator(".steps")).to_have_text(re.compile(r"^[1-5]\d / 60"), timeout=MINUTES)
        expect(second.locator(".pill")).to_have_text("running")
        keep(page, "page-list.png")
        cancel(stack, waiting, running)
        expect(first.locator(".pill")).to_have_text("cancelled")
        expect(second.locator(".pill")).to_have_text("cancelled", timeout=MINUTES)

    def test_shows_one_state_and_pages_further(self, stack: Stack, new_page: NewPage) -> None:
        jobs = [post(stack, LONG | {"adapter_name": f"waiting-{number}"}) for number in range(22)]
        page, _ = new_page()
        page.goto(address(stack))
        give_key(page)
        rows = page.locator(".job")
        expect(rows).to_have_count(20)
        page.get_by_role("button", name="More").click()
        expect(rows.filter(has_text="waiting-0")).to_be_visible()
        page.get_by_label("Show").select_option("running")
        expect(rows).to_have_count(1, timeout=MINUTES)
        cancel(stack, *jobs)
        expect(rows).to_have_count(0, timeout=MINUTES)  # without a reload
        expect(page.get_by_text("No job is running")).to_be_visible()
        page.get_by_label("Show").select_option("")
        expect(rows.first.locator(".pill")).to_have_text("cancelled")

    def test_says_when_the_gateway_is_away_and_comes_back_with_it(self, stack: Stack, new_page: NewPage) -> None:
        page, watched = new_page()
        watched.pardon(OFFLINE)
        page.goto(address(stack))
        give_key(page)
        expect(page.locator("#link")).to_have_text("live")
        page.context.set_offline(True)
        expect(page.locator("#link")).to_contain_text("gateway away · next try in", timeout=20_000)
        page.context.set_offline(False)
        expect(page.locator("#link")).to_have_text("live", timeout=20_000)

    def test_stays_where_more_is_asked_for_while_the_gateway_is_away(self, stack: Stack, new_page: NewPage) -> None:
        jobs = [post(stack, LONG | {"adapter_name": f"further-{number}"}) for number in range(21)]
        page, watched = new_page()
        watched.pardon(OFFLINE)
        page.goto(address(stack))
        give_key(page)
        rows, more = page.locator(".job"), page.get_by_role("button", name="More")
        expect(rows).to_have_count(20)
        page.context.set_offline(True)
        more.click()
        expect(page.locator("#link")).to_contain_text("gateway away · next try in")
        expect(rows).to_have_count(20)
        expect(more).to_be_enabled()
        page.context.set_offline(False)
        more.click()
        expect(rows.filter(has_text="further-0")).to_be_visible()
        cancel(stack, *jobs)

    def test_that_is_refused_for_good_is_asked_for_no_longer(self, stack: Stack, new_page: NewPage) -> None:
        jobs = [post(stack, LONG | {"adapter_name": f"refused-{number}"}) for number in range(21)]
        page, watched = new_page()
        watched.pardon(INVALID)
        page.clock.install()
        page.route(
            "**/jobs?*cursor=*", lambda asked: asked.continue_(url=f"{stack.gateway.base_url}/jobs?cursor=no-cursor")
        )
        page.goto(address(stack))
        give_key(page)
        page.get_by_role("button", name="More").click()
        expect(page.get_by_role("heading", name="This cannot be shown")).to_be_visible()
        expect(page.locator("#link")).to_have_text("refused")
        watched.paths()
        page.clock.fast_forward(30_000)
        # what the wait's end asked for would come before this
        page.evaluate("fetch('/healthz').then((answer) => answer.text())")
        assert watched.paths() == ["/healthz"]
        expect(page.locator("#link")).to_have_text("refused")
        cancel(stack, *jobs)

    def test_is_asked_once_a_minute_while_nobody_sees_it(self, stack: Stack, new_page: NewPage) -> None:
        page, watched = new_page()
        page.clock.install()
        page.goto(address(stack))
        give_key(page)
        expect(page.locator("#link")).to_have_text("live")
        turned = "(hidden) => { window.unseen = hidden; document.dispatchEvent(new Event('visibilitychange')); }"
        page.evaluate("Object.defineProperty(document, 'hidden', { get: () => window.unseen === true })")
        page.evaluate(turned, True)
        watched.paths()
        page.clock.fast_forward(50_000)
        assert watched.paths() == []
        with page.expect_response(lambda answer: "/jobs?" in answer.url):
            page.clock.fast_forward(11_000)
        with page.expect_response(lambda answer: "/jobs?" in answer.url):
            page.evaluate(turned, False)

    def test_and_a_job_fit_a_narrow_screen(self, stack: Stack, short: str, new_page: NewPage) -> None:
        page, _ = new_page(width=380, height=700)
        page.goto(address(stack))
        give_key(page)
        page.locator(".job").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
        page.goto(address(stack, short))
        expect(page.locator("#recipe")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 380
