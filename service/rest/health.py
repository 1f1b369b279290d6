"""Public: is the process alive, can it serve, and where are the other faces."""

from service.rest.asking import Ask, router
from service.wire.shapes import Places, Status

health = router("health")


@health.get("/healthz")
async def alive() -> Status:  # on the loop: that a store stalls and holds every thread is no reason to end the process
    """The process answers."""
    return Status()


@health.get("/readyz", responses={503: {"description": "The database does not answer, or is not migrated."}})
def ready(ask: Ask) -> Status:
    """The database answers, and is migrated. Workers, broker and inference may be away: jobs can be posted and read."""
    ask.ready()
    return Status()


@health.get("/.well-known/strop")
def discover(ask: Ask) -> Places:
    """Where the other faces are. Where a URL is null, use this gateway's host with the port."""
    return ask.places()
