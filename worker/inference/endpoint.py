"""The parts of the endpoint, wired: what the routes ask."""

from dataclasses import dataclass

from worker.inference.cache import AdapterCache
from worker.inference.engine import Engine
from worker.inference.giving import Giving
from worker.inference.health import Health, WarmUp
from worker.inference.images import Images
from worker.inference.later import Drawings
from worker.inference.metrics import Metrics

DRAIN_SECONDS = 10.0
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

    def close(self) -> None:
        """Take no more, and finish what was taken, asynchronous requests too: what waits for DRAIN_SECONDS at most, what has
        begun to its end. Their answers are in the store then.
        """
        self.engine.drain(DRAIN_SECONDS)
        self.engine.close()
        self.warm_up.close()
        self.adapters.close()
        self.drawings.close()
