"""How long files are usually silent, learned from how long they were. Pure; times are given to it.

What counts is the longest silence of each day, of the last fortnight: it holds a night, a weekend and another one. A
silence that raised an alarm is not taken for usual before it came back on several days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DAY_US = 86_400_000_000
LEARNING_DAYS = 7  # with growth, before a silence is anything unusual: a week has all its days in it
KEPT_DAYS = 14
FACTOR = 2  # a silence is unusual when it is so many times as long as the longest usual one
LEAST_US = 300_000_000  # five minutes: nobody gets up for less
BACK_DAYS = 3  # on so many days, and what raised an alarm is usual


@dataclass(slots=True)
class Rhythm:
    """The longest silences by day (days since 1970), usual ones and those that raised an alarm; microseconds."""

    usual: dict[int, int] = field(default_factory=dict)
    alarming: dict[int, int] = field(default_factory=dict)
    last_us: int | None = None  # growth that was seen in this run: nobody knows what was while we were away

    def grew(self, now_us: int) -> None:
        """Note that a file grew."""
        day = now_us // DAY_US
        gap = 0 if self.last_us is None else max(0, now_us - self.last_us)
        within = self.within_us
        kind = self.usual if within is None or gap < within else self.alarming
        kind[day] = max(kind.get(day, 0), gap)
        if kind is self.alarming:
            self.usual.setdefault(day, 0)
        for days in (self.usual, self.alarming):
            for old in [each for each in days if each <= day - KEPT_DAYS]:
                del days[old]
        self.last_us = now_us

    @property
    def within_us(self) -> int | None:
        """How long a silence may be; None while too few days are known."""
        if len(self.usual) < LEARNING_DAYS:
            return None
        longest = max(self.usual.values())
        came_back = sorted(self.alarming.values(), reverse=True)[BACK_DAYS - 1 : BACK_DAYS]
        return max(LEAST_US, FACTOR * max(longest, *came_back, 0))

    def to_json(self) -> dict[str, Any]:
        """Return what is to be kept over a restart."""
        return {
            "usual": {str(day): gap for day, gap in self.usual.items()},
            "alarming": {str(day): gap for day, gap in self.alarming.items()},
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Rhythm:
        """Return what `to_json` made. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        return cls(
            {int(day): int(gap) for day, gap in given["usual"].items()},
            {int(day): int(gap) for day, gap in given["alarming"].items()},
        )
