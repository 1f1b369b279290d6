"""Images under the names that our files use, made without pulling any: one Debian by debootstrap, then standins/Dockerfile."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from tests.deploy.engine import Engine

HERE = Path(__file__).parent
INSIDE = "python3,python3-venv,python3-pip,ca-certificates,curl,postgresql,redis-server"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def make(engine: Engine, scratch: Path) -> None:
    """Tags what docker-compose.yml and the Dockerfile name. A Debian that `scratch` holds already is used again."""
    if not engine.docker("images", "--quiet", "strop-standin"):
        root = scratch / "debian"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={INSIDE}", "bookworm", root], stdout=sys.stderr, check=True
        )
        shutil.copy(
            CERTIFICATES, root / CERTIFICATES.relative_to("/")
        )  # whom this machine trusts, its builds trust too
        packed = subprocess.Popen(["tar", "--directory", root, "--create", "."], stdout=subprocess.PIPE)
        subprocess.run(
            ["/usr/bin/docker", "import", "-", "strop-standin"], stdin=packed.stdout, env=engine.environment, check=True,
            stdout=sys.stderr,
        )  # fmt: skip
        shutil.rmtree(root)
    context = scratch / "standins"
    shutil.copytree(HERE / "standins", context, dirs_exist_ok=True)
    shutil.copy(Path(sys.executable).parent / "weed", context)
    for target, name in named().items():
        engine.docker("build", "--quiet", "--network", "none", "--target", target, "--tag", name, str(context))


def named() -> dict[str, str]:
    """Target of standins/Dockerfile → the name that our files give the image."""
    compose = (HERE.parents[1] / "docker-compose.yml").read_text(encoding="utf-8")
    dockerfile = (HERE.parents[1] / "Dockerfile").read_text(encoding="utf-8")
    images = {
        repository.split("/")[-1]: f"{repository}:{tag}"
        for repository, tag in re.findall(r"image: ([\w/]+):\$\{\w+_TAG:-([\w.]+)\}", compose)
    }
    python = re.search(r"^ARG PYTHON=(.+)$", dockerfile, re.MULTILINE)
    assert python is not None and set(images) == {"postgres", "redis", "seaweedfs"}
    return images | {"python": python.group(1)}


@contextmanager
def pip_configuration(scratch: Path) -> Iterator[Path]:
    """This machine's pip configuration, as a file for the builds. Folders that it names are served on loopback meanwhile."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    lines = ["[global]", "timeout = 180", f"cert = {CERTIFICATES}"]
    with ExitStack() as stack:
        for name, value in re.findall(r"^global\.(index-url|extra-index-url|find-links)='(.*)'$", listed, re.MULTILINE):
            places = [stack.enter_context(_reachable(place)) for place in re.split(r"\s+|\\n", value) if place]
            lines.append(f"{name} = {' '.join(places)}")
        file = scratch / "pip.conf"
        file.write_text("\n".join(lines) + "\n")
        yield file


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        """Thousands of lines that nobody reads."""


@contextmanager
def _reachable(place: str) -> Iterator[str]:
    """A URL as it is; a folder under an address of loopback."""
    if not place.startswith(("file://", "/")):
        yield place
        return
    folder = Path(urlsplit(place).path)
    handler = partial(Quiet, directory=str(folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{folder.name}/"
        server.shutdown()
