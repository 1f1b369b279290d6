"""Public: is the process alive, can it serve."""

from service.rest.asking import Ask, router
from service.wire.shapes import Status

health = router("health")


@health.get("/healthz")
def alive() -> Status:
    """The process answers."""
    return Status()


@health.get("/readyz", responses={503: {"description": "The database does not answer."}})
def ready(ask: Ask) -> Status:
    """The database answers. Workers, the broker and inference may be away: jobs can be posted and read all the same."""
    ask.ready()
    return Status()
