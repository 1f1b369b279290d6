"""Somebody with curl, the key and the README: posts, looks, waits and draws, and has it written down."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.deploy.transcript import Transcript
from tests.eventually import eventually

JSON = "-H 'Content-Type: application/json'"
KEY = 'KEY="Authorization: Bearer $(sed -n s/^STROP_API_KEY=//p .env)"'
LOOK = """look() { curl -s -H "$KEY" GATEWAY/jobs/$1 | python3 -c 'import json, sys
job = json.load(sys.stdin)
print(*(f"{name}: {job[name]}" for name in ("state", "adapter", "progress")), *job["attempts"], sep="\\n")'; }"""


@dataclass(frozen=True)
class Caller:
    page: Transcript
    gateway: str
    inference: str

    def begin(self) -> None:
        self.page.keep(KEY)
        self.page.keep(LOOK.replace("GATEWAY", self.gateway))

    def post(self, body: str) -> str:
        """The id of the new job. `body` is an argument of curl's -d."""
        job: str = json.loads(self.page.say(f'curl -s -H "$KEY" {JSON} -d {body} {self.gateway}/jobs'))["id"]
        return job

    def wait(self, job: str, condition: Callable[[dict[str, Any]], bool], seconds: float) -> None:
        """Until the job is so; then how it is. Ends the run where the job has failed."""

        def so() -> bool:
            found = json.loads(self.page.ask(f'curl -s -H "$KEY" {self.gateway}/jobs/{job}'))
            if found["state"] in ("failed", "cancelled"):
                sys.exit(f"strop: {job} ended as {found['state']}: {found['error']}")
            return condition(found) or bool(time.sleep(2))

        eventually(so, seconds)
        self.look(job)

    def look(self, job: str) -> None:
        self.page.say(f"look {job}")

    def draw(self, model: str) -> None:
        body = json.dumps({"model": model, "prompt": "a red circle left of a blue square", "seed": 1})
        self.page.say(
            f"curl -s -H \"$KEY\" {JSON} -d '{body}' {self.inference}/v1/images/generations", shown=without_picture
        )


def without_picture(answer: str) -> str:
    """The answer with the picture's bytes told by their number. Ends the run where there is no picture."""
    said = json.loads(answer)
    for image in said["data"]:
        image["b64_json"] = f"… {len(image['b64_json'])} characters …"
    return json.dumps(said, ensure_ascii=False)
