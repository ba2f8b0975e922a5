"""Times at which a route tells nobody: days of the week, hours of the day, or both. Pure; times are given to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY = 24 * 60
FORM = "days, hours or both, and a time zone: `sat,sun`, `mon-fri 18:00-08:00 Europe/Berlin`"
_HOURS = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class MuteTime:
    """Days of the week (0 is Monday) and the minutes of each between which it holds; ``end`` may lie on the next day."""

    days: frozenset[int]
    start: int
    end: int
    zone: str

    @classmethod
    def parse(cls, text: str) -> MuteTime:
        """Read one. Raises ValueError, which says what is wrong."""
        words = text.lower().split()
        zone = "UTC"
        if words and not _HOURS.fullmatch(words[-1]) and not _days(words[-1]):
            zone = text.rsplit(maxsplit=1)[-1]
            words.pop()
            if zone not in available_timezones():
                raise ValueError(
                    f"{text!r}: {zone!r} is neither days nor hours nor a time zone; it should be {FORM}"
                )
        hours = _HOURS.fullmatch(words[-1]) if words else None
        if hours:
            words.pop()
        days = _days(words[0]) if len(words) == 1 else None
        if (words and not days) or not (days or hours):
            raise ValueError(f"{text!r} should be {FORM}")
        start, end = (0, MINUTES_A_DAY)
        if hours:
            start, end = int(hours[1]) * 60 + int(hours[2]), int(hours[3]) * 60 + int(hours[4])
        if start == end or max(start, end) > MINUTES_A_DAY:
            raise ValueError(
                f"{text!r}: it should end at another time than it begins, at 24:00 at the latest"
            )
        return cls(days or frozenset(range(7)), start, end if end > start else end + MINUTES_A_DAY, zone)

    def holds(self, now_us: int) -> bool:
        """Say whether a moment lies in it. Hours past midnight belong to the day on which they began."""
        now = datetime.fromtimestamp(now_us / 1e6, UTC).astimezone(ZoneInfo(self.zone))
        minute = now.hour * 60 + now.minute
        if now.weekday() in self.days and self.start <= minute < self.end:
            return True
        before = (now - timedelta(days=1)).weekday()
        return before in self.days and minute < self.end - MINUTES_A_DAY


def _days(word: str) -> frozenset[int] | None:
    """Return the days that a list of days and ranges of days names; None if it is none."""
    found: set[int] = set()
    for part in word.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last and last not in DAYS):
            return None
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(found)
