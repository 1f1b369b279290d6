"""`make test-compose`: the images, the compose file and the README's curl lines, run for real on an engine of one's own.

No image is pulled: standins.py makes what the files name. A worker is killed in the middle of a job. What was said and
answered becomes docs/transcripts/compose.md. `--scratch FOLDER` keeps the engine's folder, so that a second run is quick.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.deploy import standins
from tests.deploy.caller import Caller
from tests.deploy.engine import DOCKER, Engine, engine, install
from tests.deploy.transcript import Transcript, last
from tests.servers.processes import answers, free_port

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "transcripts" / "compose.md"
PORTS = {"GATEWAY_PORT": 8000, "INFERENCE_PORT": 8001, "GRPC_PORT": 8002}
SMALL = {
    "base_model": "shapes",
    "prompts": ["a red circle left of a blue square", "a green cross above a black triangle"],
    "reward": {"type": "clip", "model": "shapes-clip"},
    "steps": 4,
    "adapter_name": "first",
}

OPENING = """# A job through docker compose

Written by `make test-compose`: commands and what they answered, whole but for long lines (`…`). The images that the files name
were not pulled: stand-ins under their names, made from Debian's packages, took their place (`tests/deploy/standins/`), so
PostgreSQL here is Debian's 15 and Redis its 7.0. The three images are built by `docker build`, since the compose plugin
builds only beside another plugin; `docker compose build` was not tried here. The machine has two cores and no GPU."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scratch", type=Path, help="folder of the engine, kept; default: a new one, removed")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("strop: asked to stop"))  # so that what it started ends with it
    install()
    with ExitStack() as stack:
        if chosen.scratch:
            scratch = chosen.scratch.absolute()
            scratch.mkdir(parents=True, exist_ok=True)
        else:
            scratch = Path(tempfile.mkdtemp(prefix="strop-compose-"))
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        checkout(scratch / "strop")
        made = stack.enter_context(engine(scratch))
        standins.make(made, scratch)
        (scratch / "bin").mkdir(exist_ok=True)
        for name, real in (("docker", Path(DOCKER)), ("strop", Path(sys.executable).parent / "strop")):
            (scratch / "bin" / name).unlink(missing_ok=True)
            (scratch / "bin" / name).symlink_to(real)
        page = Transcript(
            scratch / "strop",
            {name: value for name, value in made.environment.items() if not name.startswith("STROP_")}
            | {"PATH": f"{scratch / 'bin'}:{made.environment['PATH']}"},
        )
        with standins.pip_configuration(scratch):
            build(page)
        stack.callback(leave, made, scratch / "strop")
        try:
            run(page)
        except BaseException:
            subprocess.run(
                [DOCKER, "compose", "logs", "--tail", "15"], cwd=page.folder, env=made.environment, check=False
            )
            raise
        page.write(PAGE)


def checkout(folder: Path) -> None:
    """The tree as a fresh clone with what is being worked on would have it."""
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def leave(made: Engine, folder: Path) -> None:
    """Whatever happened, no container stays."""
    subprocess.run([DOCKER, "compose", "down", "--volumes"], cwd=folder, env=made.environment, check=False)


def build(page: Transcript) -> None:
    page.note(OPENING)
    page.note("## Build")
    for target in ("gateway", "worker", "inference"):
        page.say(
            f"docker build --quiet --network host --secret id=pip,src=../pip.conf --target {target} --tag strop-{target} ."
        )
    page.note("They stand on a `python:3.11-slim` that holds PostgreSQL and Redis too here; torch is a build for CPUs.")
    page.say(
        "docker image ls --format '{{.Repository}} {{.Size}}' --filter reference='strop-[gwi]*' --filter reference=python"
    )


def run(page: Transcript) -> None:
    ports = {name: port if not answers(port) else free_port() for name, port in PORTS.items()}
    page.note("## Start")
    key = "$(python3 -c 'import secrets; print(secrets.token_urlsafe(24))')"
    page.say(f'cp .env.example .env && sed -i "s/^STROP_API_KEY=.*/STROP_API_KEY={key}/" .env')
    for name, port in ports.items():
        if port != PORTS[name]:
            page.say(f"sed -i 's/^{name}=.*/{name}={port}/' .env")
    caller = Caller(page, f"localhost:{ports['GATEWAY_PORT']}", f"localhost:{ports['INFERENCE_PORT']}")
    page.say("docker compose up --detach --no-build --wait", shown=last(20))
    page.say("docker compose ps --all --format 'table {{.Service}}\\t{{.Status}}\\t{{.Ports}}'")
    page.say("docker compose exec -T gateway python -c 'import torch'", shown=last(1), may_fail=True)
    page.say("docker compose exec -T worker sh -c 'id; touch /app/x'", may_fail=True)
    page.say(f"curl -s -o /dev/null -w '%{{http_code}}\\n' {caller.gateway}/jobs")
    caller.begin()
    small_job(caller)
    readme_job(caller)
    page.note("## Stop")
    page.say("docker compose ps --format 'table {{.Service}}\\t{{.Status}}'")
    page.say("docker compose down", shown=last(11))


def small_job(caller: Caller) -> None:
    caller.page.note("## A small job, and a picture from its adapter")
    job = caller.post(f"'{json.dumps(SMALL)}'")
    caller.wait(job, lambda found: found["state"] == "succeeded", 900)
    caller.page.say(f'curl -s -H "$KEY" {caller.gateway}/jobs/{job}/artifacts')
    caller.draw("first")
    caller.draw("shapes")


def readme_job(caller: Caller) -> None:
    page = caller.page
    page.note("## The README's own job, and its worker killed in the middle")
    job = caller.post("@examples/shapes.json")
    caller.wait(job, lambda found: found["progress"]["step"] >= 12, 1200)
    page.say("kill -9 $(docker inspect --format '{{.State.Pid}}' strop-worker-1)")
    page.note("The engine starts the container again; its worker finds the job once the lease of the dead one is over.")
    caller.wait(job, lambda found: len(found["attempts"]) == 2, 180)

    page.note("Asked to stop, a worker writes a checkpoint and hands its job back; the next one goes on.")
    caller.wait(job, lambda found: found["progress"]["step"] >= 24, 1200)
    page.say("docker compose stop worker", shown=last(1))
    caller.look(job)
    page.say("docker compose start worker", shown=last(1))

    page.note("The client (`pip install ./sdk`) follows it to its end over gRPC.")
    key = "STROP_API_KEY=$(sed -n s/^STROP_API_KEY=//p .env)"
    page.say(f"{key} strop --url http://{caller.gateway} jobs watch {job}", shown=last(1))
    caller.look(job)
    events = f'curl -s -H "$KEY" "{caller.gateway}/jobs/{job}/events?after=$after"'
    resumed = """grep -o '"fence":[0-9]*,"step":[0-9]*,"type":"job.resumed"'"""
    page.say(f"for after in 0 100 200 300 400; do {events}; done | {resumed}")
    caller.draw("sharper-shapes")


if __name__ == "__main__":
    main()
