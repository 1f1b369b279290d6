"""What Prometheus reads: parsed by its own parser, counted where it happens, with a bounded number of lines."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.worker.inference.calls import post
from worker.inference.adapters.cache import CacheFigures, Level
from worker.inference.api.metrics import MAX_ADAPTERS, Metrics
from worker.inference.engine.figures import OTHERS, Figures

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    return {
        (each.name, tuple(sorted(each.labels.items()))): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def read(client: TestClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.text)


@pytest.fixture
def grown(shared: TestClient) -> Iterator[Any]:
    """How much a sample has grown since the test began."""
    before = read(shared)
    yield (
        lambda name, **labels: (
            read(shared).get((name, tuple(labels.items())), 0) - before.get((name, tuple(labels.items())), 0)
        )
    )


def test_steps_are_counted_with_how_full_they_were(shared: TestClient, grown: Any) -> None:
    post(shared, n=3, batch_size=4, num_inference_steps=5)
    assert grown("strop_denoiser_calls_total", size="4") == 5
    assert grown("strop_denoiser_samples_total", size="4") == 15
    assert grown("strop_step_seconds_count") == 5
    assert grown("strop_step_seconds_sum") > 0
    assert grown("strop_nfe_total", adapter="tiny") == 30
    assert grown("strop_padding_nfe_total") == 10
    assert grown("strop_requests_total", outcome="finished") == 1
    assert grown("strop_requests_waiting") == grown("strop_requests_running") == 0


def test_refusals_are_counted_by_code_at_every_depth(shared: TestClient, grown: Any) -> None:
    post(shared, n=11)
    post(shared, model="nothing")
    shared.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    assert grown("strop_refusals_total", code="invalid_request", status="422") == 1
    assert grown("strop_refusals_total", code="unknown_model", status="422") == 1
    assert grown("strop_refusals_total", code="unauthenticated", status="401") == 1


def test_the_cache_is_told_level_by_level(shared: TestClient) -> None:
    found = read(shared)
    for name in ("strop_adapter_cache_hits_total", "strop_adapter_cache_misses_total", "strop_adapter_cache_bytes"):
        assert {labels for each, labels in found if each == name} == {
            (("level", "memory"),), (("level", "disk"),), (("level", "store"),),
        }  # fmt: skip


def test_the_cache_tells_what_was_joined_and_evicted() -> None:
    told = SimpleNamespace(figures=lambda: CacheFigures(Level(), Level(), Level(), joined=3, evicted=5))
    engine = SimpleNamespace(figures=lambda: Figures(waiting=0, running=0, finished=0, failed=0, aborted=0))
    found = samples(Metrics(engine, told).text().decode())  # type: ignore[arg-type]
    assert found["strop_adapter_cache_joined_total", ()] == 3
    assert found["strop_adapter_cache_evicted_total", ()] == 5


class TestLabels:
    def figures(self, adapters: int) -> Figures:
        nfe = {f"red@{number}": number for number in range(1, adapters + 1)}
        return Figures(waiting=0, running=0, finished=0, failed=0, aborted=0, nfe=nfe)

    def test_of_adapters_are_bounded_and_lose_nothing(self) -> None:
        engine = SimpleNamespace(figures=lambda: self.figures(3 * MAX_ADAPTERS))
        found = samples(Metrics(engine, no_cache()).text().decode())  # type: ignore[arg-type]
        lines = {labels[0][1]: value for (name, labels), value in found.items() if name == "strop_nfe_total"}
        assert len(lines) == MAX_ADAPTERS + 1
        assert sum(lines.values()) == sum(range(1, 3 * MAX_ADAPTERS + 1))
        assert lines[OTHERS] > lines["red@1"]

    def test_of_adapters_only_ever_grow(self) -> None:
        told = [self.figures(MAX_ADAPTERS // 2), self.figures(2 * MAX_ADAPTERS)]
        told.append(replace(told[1], nfe=dict(reversed(told[1].nfe.items()))))
        metrics = Metrics(SimpleNamespace(figures=lambda: told.pop(0)), no_cache())  # type: ignore[arg-type]
        first, second, third = (samples(metrics.text().decode()) for _ in range(3))
        assert all(second[name] >= value for name, value in first.items())
        assert second == third


def no_cache() -> Any:
    return SimpleNamespace(figures=lambda: CacheFigures(Level(), Level(), Level(), 0, 0))
