"""What Prometheus reads: the engine's and the cache's own figures, looked at when they are asked for, and refusals counted.

A label never takes more values than stated: of adapters the first MAX_ADAPTERS that were drawn with have a line each, and
all others share `(others)`, so that every line only ever grows.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.responses import Response

from service.wire.problems import Problem, Respond
from worker.inference.adapters.cache import AdapterCache
from worker.inference.engine.engine import Engine
from worker.inference.engine.figures import OTHERS, Figures

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MAX_ADAPTERS = 100


class Metrics:
    """One registry an endpoint."""

    def __init__(self, engine: Engine, adapters: AdapterCache) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Figures(engine, adapters))
        self._refusals = Counter(
            "strop_refusals",
            "Requests refused, by the code of the problem.",
            ("code", "status"),
            registry=self._registry,
        )

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def counted(self, respond: Respond) -> Respond:
        """The same, counting what it answers."""

        def counting(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
            self._refusals.labels(problem.code, str(problem.status)).inc()
            return respond(problem, headers)

        return counting


class _Figures(Collector):
    def __init__(self, engine: Engine, adapters: AdapterCache) -> None:
        self._engine, self._adapters = engine, adapters
        self._named: set[str] = set()

    def describe(self) -> list[Metric]:
        """Nothing beforehand: it would ask for figures before there are any."""
        return []

    def collect(self) -> Iterator[Metric]:
        figures = self._engine.figures()
        yield from _requests(figures)
        yield from _steps(figures)
        yield self._nfe(figures.nfe)
        yield _counter("strop_padding_nfe", "Denoiser forwards of padding rows.", figures.padding_nfe)
        yield _counter("strop_slot_loads", "Adapters copied into a slot.", figures.slot_loads)
        yield GaugeMetricFamily("strop_slot_bytes", "Device memory of the slots.", figures.slot_bytes)
        yield from self._cache()

    def _nfe(self, spent: Mapping[str, int]) -> Metric:
        for name in spent:
            if len(self._named) < MAX_ADAPTERS and name != OTHERS:
                self._named.add(name)
        family = CounterMetricFamily(
            "strop_nfe",
            "Denoiser forwards per sample, by adapter (or base model) they were spent for.",
            labels=("adapter",),
        )
        others = 0
        for name, nfe in spent.items():
            if name in self._named:
                family.add_metric((name,), nfe)
            else:
                others += nfe
        family.add_metric((OTHERS,), others)
        return family

    def _cache(self) -> Iterator[Metric]:
        figures = self._adapters.figures()
        levels = {"memory": figures.memory, "disk": figures.disk, "store": figures.store}
        hits = CounterMetricFamily("strop_adapter_cache_hits", "Adapters found at this level.", labels=("level",))
        misses = CounterMetricFamily("strop_adapter_cache_misses", "Adapters not found at it.", labels=("level",))
        held = GaugeMetricFamily(
            "strop_adapter_cache_bytes", "Held now; of the store: fetched so far.", labels=("level",)
        )
        for name, level in levels.items():
            hits.add_metric((name,), level.hits)
            misses.add_metric((name,), level.misses)
            held.add_metric((name,), level.bytes)
        yield from (hits, misses, held)
        yield _counter("strop_adapter_cache_joined", "Adapters asked for while they were loading.", figures.joined)
        yield _counter("strop_adapter_cache_evicted", "Adapters that made room in memory.", figures.evicted)


def _requests(figures: Figures) -> Iterator[Metric]:
    yield GaugeMetricFamily("strop_requests_waiting", "Requests that wait for their first step.", figures.waiting)
    yield GaugeMetricFamily("strop_requests_running", "Requests that have begun.", figures.running)
    ended = CounterMetricFamily("strop_requests", "Requests that have ended, by how.", labels=("outcome",))
    for outcome in ("finished", "failed", "aborted"):
        ended.add_metric((outcome,), getattr(figures, outcome))
    yield ended
    stalled = "Seconds since there was work and nothing came of it; 0 while idle."
    yield GaugeMetricFamily("strop_stalled_seconds", stalled, figures.stalled_seconds)


def _steps(figures: Figures) -> Iterator[Metric]:
    """How full calls are: rate(strop_denoiser_samples_total) / (size × rate(strop_denoiser_calls_total))."""
    calls = CounterMetricFamily("strop_denoiser_calls", "Denoiser calls, by padded size.", labels=("size",))
    samples = CounterMetricFamily("strop_denoiser_samples", "Samples in them, without padding.", labels=("size",))
    for size, count in sorted(figures.calls.items()):
        calls.add_metric((str(size),), count)
        samples.add_metric((str(size),), figures.samples[size])
    yield from (calls, samples)
    yield SummaryMetricFamily(
        "strop_step_seconds",
        "Time of a step of all samples in one call.",
        count_value=sum(figures.calls.values()),
        sum_value=figures.step_seconds,
    )
    yield _counter("strop_out_of_memory_splits", "Calls that were split for want of device memory.", figures.splits)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(name, words, value)
