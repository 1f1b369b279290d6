"""The jobs that these tests post, and what a reader of the page does."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page

from tests.browser.watched import Watched
from tests.stack import KEY, ROOT, Stack

SCREENSHOTS = ROOT / "build" / "screenshots"
HIDDEN_HTML = '<img src=x onerror="window.injected=true"><b>bold</b>'
SCENES = [
    "a red circle left of a blue square", "a green triangle above a yellow circle",
    "a purple cross below a cyan square", "a black square right of a purple triangle",
]  # fmt: skip
STEPS = 8
JOB: dict[str, Any] = {
    "base_model": "shapes",
    "prompts": SCENES,
    "reward": {"type": "clip", "model": "shapes-clip"},
    "method": {
        "type": "sharpening-rlhf", "candidates": 4, "rollout_steps": 3, "prompts_per_step": 2, "timesteps_per_pair": 2,
        "learning_rate": 3e-3,
    },
    "lora": {"rank": 4},
    "steps": STEPS,
    "checkpoint_every": 4,
    "samples": {"every": 1, "num_inference_steps": 10, "guidance": 3.0},
    "adapter_name": "sharper-shapes",
}  # fmt: skip
SHORT = JOB | {
    "steps": 1, "adapter_name": "first-try", "samples": {"every": 1, "num_inference_steps": 2, "prompts": [HIDDEN_HTML]},
    "metadata": {"note": HIDDEN_HTML},
}  # fmt: skip
LONG = JOB | {"steps": 5000, "samples": {"every": 0}, "adapter_name": "endless"}
MINUTES = 180_000

NewPage = Callable[..., tuple[Page, Watched]]


def post(stack: Stack, job: dict[str, Any]) -> str:
    answer = stack.gateway.post("/jobs", json=job)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def ended(stack: Stack, job: str) -> dict[str, Any] | None:
    found: dict[str, Any] = stack.gateway.get(f"/jobs/{job}").json()
    return found if found["state"] in ("succeeded", "failed", "cancelled") else None


def cancel(stack: Stack, *jobs: str) -> None:
    for job in jobs:
        stack.gateway.post(f"/jobs/{job}/cancel")


def address(stack: Stack, job: str = "") -> str:
    return str(stack.gateway.base_url) + (f"/#/jobs/{job}" if job else "/")


def give_key(page: Page, given: str = KEY) -> None:
    page.get_by_label("Key", exact=True).fill(given)
    page.get_by_role("button", name="Open").click()


def state(page: Page) -> Locator:
    return page.locator(".head .pill")


def loaded(page: Page) -> int:
    """Sample pictures that came whole; they load when they are scrolled to."""
    page.locator("#samples").scroll_into_view_if_needed()
    every = "[...document.querySelectorAll('#samples img')].filter((each) => each.naturalWidth > 0).length"
    return int(page.evaluate(every))


def keep(page: Page, name: str) -> None:
    """A picture for the docs: `make page-pictures` copies it there."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.mouse.move(0, 0)
    page.screenshot(path=SCREENSHOTS / name, animations="disabled")
