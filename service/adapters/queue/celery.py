"""Celery as both ends use it: the worker's parent consumes with it, the gateway rings with it."""

from celery import Celery

WAKE = "strop.wake"
"""The one task. Its message says "look", not what for."""

QUEUE = "strop"


def make_celery(broker_url: str) -> Celery:
    """Threads, because prefork's children may have no children; one, because one device; no prefetch, early ack, no results.

    Early ack: Redis gives late-acked messages out again after the visibility timeout, while their task still runs.
    """
    app = Celery("strop", broker=broker_url, set_as_current=False)
    app.conf.update(
        worker_pool="threads",
        worker_concurrency=1,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        task_acks_late=False,
        task_ignore_result=True,
        result_backend=None,
        task_serializer="json",
        accept_content=["json"],
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        worker_send_task_events=False,
        worker_enable_remote_control=True,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        enable_utc=True,
    )
    return app
