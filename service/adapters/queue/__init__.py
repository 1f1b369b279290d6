"""The doorbell: Celery over Redis, which wakes workers and never carries the truth. One of Celery's three doors."""

from service.adapters.queue.celery import WAKE, make_celery
from service.adapters.queue.doorbell import Doorbell

__all__ = ["WAKE", "Doorbell", "make_celery"]
