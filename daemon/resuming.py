"""A download that goes on where it broke off: what of it has come, and a question that stays the same."""

from __future__ import annotations

import time
from dataclasses import dataclass

from daemon.wanted import Values
from parsers.moments import is_relative, parse_time, rfc3339

RESUME_PAUSES = (0.5, 2.0, 5.0, 10.0, 20.0)  # seconds before each attempt to go on


@dataclass(slots=True)
class Part:
    """What of a body has come: its first ``at`` bytes, of the body with this tag."""

    at: int = 0
    tag: str | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest."""
        return {"Range": f"bytes={self.at}-", "If-Range": self.tag} if self.at and self.tag else {}


def fixed(values: Values) -> Values:
    """Return the values with times that stand still: a question that is put again must be the same."""
    now_us = time.time_ns() // 1000
    standing = {
        name: [rfc3339(parse_time(texts[0], now_us=now_us, end=name == "end_date"))]
        for name, texts in values.items()
        if name in {"start_date", "end_date"} and is_relative(texts[0])
    }
    return {**values, **standing}
