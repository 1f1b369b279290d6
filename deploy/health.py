"""A container's health: `python -m deploy.health ready PORT` asks /readyz, `… database` asks the database itself.

Exits with 0 or with a sentence. The images have no curl, and the steward listens to nobody.
"""

import sys
from http.client import HTTPConnection, HTTPException

PATIENCE = 5.0


def ready(port: int) -> None:
    """The HTTP app of this container can serve."""
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        sys.exit(f"strop: port {port} does not answer: {error}")
    if status != 200:
        sys.exit(f"strop: port {port} is not ready: it answers {status}")


def database() -> None:
    """The database of this container's settings answers."""
    from service import settings
    from service.adapters import db
    from service.domain.errors import Unavailable

    try:
        db.connect(settings.load().database_url, connections=1).ping()
    except Unavailable as error:
        sys.exit(f"strop: {error.message}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ready", port]:
            ready(int(port))
        case ["database"]:
            database()
        case _:
            sys.exit(__doc__)
