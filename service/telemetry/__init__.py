"""Logs; metrics and traces come later."""

from service.telemetry.logs import configure

__all__ = ["configure"]
