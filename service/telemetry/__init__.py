"""Logs, and the readiness of processes that serve nobody; metrics and traces come later."""

from service.telemetry.logs import configure
from service.telemetry.pulse import LOOPBACK, Pulse, served

__all__ = ["LOOPBACK", "Pulse", "configure", "served"]
