"""Where the archive reports what it did. The daemon gives a Prometheus one; without it nothing is recorded."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives measurements by metric name; the names are one table in `daemon.metrics`."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def seconds(self, name: str, value: float, **labels: str) -> None:
        """Observe a duration."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""


class Silent:
    """An observer that keeps nothing: for one-shot commands and tests."""

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Ignore."""

    def seconds(self, name: str, value: float, **labels: str) -> None:
        """Ignore."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Ignore."""
