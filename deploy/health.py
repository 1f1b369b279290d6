"""A container's health: `python -m deploy.health ready PORT` asks /readyz on loopback. The images have no curl.

Gateway and inference are ready when they can serve; worker and steward, which serve nobody, when they went about their work
a moment ago. Exits with 0 or with a sentence.
"""

import sys
from http.client import HTTPConnection, HTTPException

PATIENCE = 5.0


def ready(port: int) -> None:
    """The process of this container is ready."""
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        told = answer.read(200).decode(errors="replace")
    except (OSError, HTTPException) as error:
        sys.exit(f"strop: port {port} does not answer: {error}")
    if answer.status != 200:
        sys.exit(f"strop: port {port} is not ready: it answers {answer.status}: {told}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ready", port]:
            ready(int(port))
        case _:
            sys.exit(__doc__)
