"""The parts of the endpoint, wired: what the routes ask."""

from dataclasses import dataclass

from worker.inference.adapters.cache import AdapterCache
from worker.inference.api.giving import Giving
from worker.inference.api.health import Health, WarmUp
from worker.inference.api.images import Images
from worker.inference.api.later import Drawings
from worker.inference.api.metrics import Metrics
from worker.inference.engine.engine import Engine

LAST_SECONDS = 10.0
"""Beyond the time that the HTTP server gave to those who wait for an answer."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`url`: where callers reach it, for links; None: where the request came to."""

    engine: Engine
    adapters: AdapterCache
    images: Images
    giving: Giving
    drawings: Drawings
    warm_up: WarmUp
    health: Health
    metrics: Metrics
    url: str | None = None

    def refuse(self) -> None:
        """Take no more, and say so; what was taken is drawn. Returns at once."""
        self.health.draining = True
        self.engine.drain(0)

    def close(self) -> None:
        """Take no more, and finish what was taken, asynchronous requests too: what waits for LAST_SECONDS at most, what has
        begun to its end. Their answers are in the store then.
        """
        self.engine.drain(LAST_SECONDS)
        self.engine.close()
        self.warm_up.close()
        self.adapters.close()
        self.drawings.close()
