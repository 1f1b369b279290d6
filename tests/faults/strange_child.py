"""`python -m tests.faults.strange_child`: the real child, but that the reward of a job with `reward` in its metadata is strange.

hang      answers no more after its first call           nan, short, words   answers nonsense after its first call
limited   asks a server that says 429, always            busy                a server that says so twice, then answers
hungry    takes memory without end below RLIMIT_AS       full                lets files have 20 kB from its second call on

What comes of it is for the real `Checked`, the real loop and the real parent. The server's port is `port` in the metadata;
it is asked by the SDK's bounded `Retries`, which are what the service has for a 429.
"""

import resource
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import torch
from strop.errors import StropError
from strop.refusals import of_response
from strop.retrying import Retries
from torch import Tensor

from service.domain.errors import JobFailure
from worker.child import __main__ as child
from worker.child import run as running
from worker.pipe import Begin
from worker.rewards.jpeg import JpegCompressibility
from worker.rewards.reward import Checked

RETRIES = Retries(retries=3, first_wait=0.05)


class Strange:
    def __init__(self, begin: Begin) -> None:
        metadata = begin.recipe["metadata"]
        self._mood, self._port = metadata["reward"], metadata.get("port")
        self._right = JpegCompressibility()
        self._calls = 0
        if not begin.scratch.endswith("-1") and self._mood == "full":
            self._mood = ""  # the second attempt finds room

    def __call__(self, pictures: Tensor, prompts: Sequence[str]) -> Any:
        self._calls += 1
        if self._calls == 1 and self._mood not in ("limited", "busy"):
            return self._right(pictures, prompts)
        match self._mood:
            case "hang":
                signal.pause()
            case "nan":
                return torch.full((len(prompts),), float("nan"))
            case "short":
                return torch.zeros(len(prompts) - 1)
            case "words":
                return ["8.4/10"] * len(prompts)
            case "limited" | "busy":
                self._ask()
            case "hungry":
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
                torch.ones(2**28)
            case "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        return self._right(pictures, prompts)

    def _ask(self) -> None:
        def once() -> None:
            answer = httpx.get(f"http://127.0.0.1:{self._port}/")
            if answer.is_error:
                raise of_response(answer)

        try:
            RETRIES.call(once)
        except StropError as error:
            raise JobFailure(f"the reward's server: {error}", code="reward_unavailable") from error


def main() -> None:
    true_run, true_make = running.run, running.make

    def run(begin: Begin, *given: Any) -> None:
        if mood := begin.recipe["metadata"].get("reward"):
            running.make = lambda *_, **__: Checked(mood, Strange(begin))  # type: ignore[assignment]
        else:
            running.make = true_make
        true_run(begin, *given)

    running.run = run  # type: ignore[assignment]
    child.main()


if __name__ == "__main__":
    main()
