"""The doorbell: one message to the one task; never an error, never more than half a second."""

import logging
import socket
import time
from pathlib import Path

import pytest

from service.adapters.queue import WAKE, Doorbell, make_celery
from service.adapters.queue.celery import QUEUE
from tests.service.world import run_at_once

BOUND = 0.5 + 0.25  # the promise, and a slow machine


def waiting(broker_url: str) -> int:
    """Messages in the queue."""
    with make_celery(broker_url).connection_for_read() as connection:
        return int(connection.default_channel.client.llen(QUEUE))


@pytest.fixture
def empty_broker(broker_url: str) -> str:
    with make_celery(broker_url).connection_for_write() as connection:
        connection.default_channel.client.flushall()
    return broker_url


def test_a_ring_is_one_message_for_the_task_that_wakes(empty_broker: str) -> None:
    Doorbell(empty_broker).ring()
    with make_celery(empty_broker).connection_for_read() as connection:
        message = connection.SimpleQueue(QUEUE).get(timeout=2)
        assert message.headers["task"] == WAKE == "strop.wake"
        assert message.content_type == "application/json"
        message.ack()


def test_rings_at_once_are_each_answered_by_a_later_message_and_may_share_it(empty_broker: str) -> None:
    bell = Doorbell(empty_broker)
    run_at_once([bell.ring] * 20)
    assert 1 <= waiting(empty_broker) <= 20


class TestABrokerThatIsAway:
    @pytest.fixture(params=["no socket", "refuses", "never answers"])
    def dead(self, request: pytest.FixtureRequest, tmp_path: Path):  # type: ignore[no-untyped-def]
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            port = server.getsockname()[1]
            if request.param == "never answers":
                server.listen(50)
            yield (
                f"redis+socket://{tmp_path}/none?virtual_host=0"
                if request.param == "no socket"
                else f"redis://127.0.0.1:{port}/0"
            )

    @pytest.mark.alone
    def test_costs_half_a_second_at_most_and_no_error(self, dead: str) -> None:
        bell = Doorbell(dead)
        for _ in range(3):
            began = time.monotonic()
            bell.ring()
            assert time.monotonic() - began < BOUND

    def test_is_logged_once_a_minute(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        bell = Doorbell(f"redis+socket://{tmp_path}/none?virtual_host=0")
        with caplog.at_level(logging.WARNING, logger="service.adapters.queue"):
            for _ in range(3):
                bell.ring()
        assert len(caplog.records) == 1


def test_a_broker_that_comes_back_is_rung_again(empty_broker: str, tmp_path: Path) -> None:
    link = tmp_path / "broker.sock"
    bell = Doorbell(f"redis+socket://{link}?virtual_host=0")
    bell.ring()
    link.symlink_to(empty_broker.removeprefix("redis+socket://").split("?")[0])
    bell.ring()
    assert waiting(empty_broker) == 1


def test_celery_is_set_up_as_the_design_says(broker_url: str) -> None:
    conf = make_celery(broker_url).conf
    assert (conf.worker_pool, conf.worker_concurrency, conf.worker_disable_prefetch) == ("threads", 1, True)
    assert (conf.task_acks_late, conf.task_ignore_result, conf.result_backend) == (False, True, None)
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
