"""What a page asks for and complains of."""

import re
from urllib.parse import urlsplit

from playwright.sync_api import Page, Request

REFUSED = re.compile(r"Failed to load resource: the server responded with a status of 401")
INVALID = re.compile(r"Failed to load resource: the server responded with a status of 422")
OFFLINE = re.compile(r"Failed to load resource: net::ERR_INTERNET_DISCONNECTED")


class Watched:
    """What a page asked for and complained of. `pardon` names complaints that a test brings about on purpose."""

    def __init__(self, page: Page) -> None:
        self.requests: list[Request] = []
        self.complaints: list[str] = []
        self._pardoned: list[re.Pattern[str]] = [REFUSED]
        page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108 — it takes no built-in
        page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def pardon(self, complaint: re.Pattern[str]) -> None:
        self._pardoned.append(complaint)

    def paths(self) -> list[str]:
        """Of the requests so far, in order; forgotten afterwards."""
        seen, self.requests[:] = [urlsplit(request.url).path for request in self.requests], []
        return seen

    def check(self) -> None:
        wrong = [text for text in self.complaints if not any(known.search(text) for known in self._pardoned)]
        assert not wrong
