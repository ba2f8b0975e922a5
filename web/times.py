"""Times as a client writes them and reads them, and the days they belong to."""

from __future__ import annotations

from datetime import timedelta

from parsers.moments import DAY_US, EPOCH, HINT, SECOND_US, is_relative, parse_time, rfc3339, to_us

__all__ = [
    "DAY_US", "EPOCH", "HINT", "RELATIVE_GRAIN_US", "SECOND_US",
    "day_before", "day_of", "is_relative", "parse_time", "rfc3339", "to_us",
]  # fmt: skip

# The window of a relative time moves on by itself. For validators and caches it stands still this long, so that a
# poll that finds nothing new can be answered without a query.
RELATIVE_GRAIN_US = 60 * SECOND_US


def day_of(us: int) -> str:
    """Return the UTC day of a time, ``YYYY-MM-DD``."""
    return (EPOCH + timedelta(microseconds=us)).date().isoformat()


def day_before(us: int, days: int) -> str:
    """Return the UTC day that lies ``days`` before the day of a time."""
    return ((EPOCH + timedelta(microseconds=us)).date() - timedelta(days=days)).isoformat()
