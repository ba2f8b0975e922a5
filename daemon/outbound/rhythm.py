"""How long files are usually silent, learned from how long they were. Pure; times are given to it.

A silence is judged by the hour of the week in which it began: one that begins on Friday evening may last until Monday,
one that begins on Tuesday at eleven may not. What counts is the longest that began about that hour in the last weeks.
Where too few weeks are known it is the longest of each day of the last fortnight, whenever it began: that holds a
night, a weekend and another one. A silence that raised an alarm is not taken for usual before it came back on several
days. Hours are of UTC; the neighbours of an hour count as well, so a clock that is set for the summer is no news.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
WEEK_HOURS = 7 * 24
MONDAY_HOURS = 3 * 24  # 1970 began on a Thursday
LEARNING_DAYS = 7  # with growth, before a silence is anything unusual: a week has all its days in it
LEARNING_WEEKS = 2  # in which a silence began about an hour, before that hour has a bound of its own
KEPT_DAYS = 14
KEPT_WEEKS = 4  # of each hour: 168 x 4 numbers at most, some 15 kB for each pattern of files
FACTOR = 2  # a silence is unusual when it is so many times as long as the longest usual one
# Of an hour few silences are known. Where files grow by chance the longest of them says little: nothing shorter than
# so many times what is usual for an hour (the median of all) counts as the longest.
HOURS_FACTOR = 4
LEAST_US = 300_000_000  # five minutes: nobody gets up for less
BACK_DAYS = 3  # on so many days about the same hour, and what raised an alarm is usual


@dataclass(frozen=True, slots=True)
class Alarm:
    """A silence that raised an alarm: how long it was (microseconds), and the hour of the day in which it began."""

    gap_us: int
    hour: int | None = None


@dataclass(slots=True)
class Rhythm:
    """The longest silences in microseconds: usual ones by day (since 1970) and by hour of the week, and alarming ones."""

    usual: dict[int, int] = field(default_factory=dict)
    alarming: dict[int, Alarm] = field(default_factory=dict)
    hours: dict[int, dict[int, int]] = field(default_factory=dict)  # hour of the week → week → longest
    last_us: int | None = None  # growth that was seen in this run: nobody knows what was while we were away

    def grew(self, now_us: int) -> None:
        """Note that a file grew."""
        day = now_us // DAY_US
        began_us = now_us if self.last_us is None else self.last_us
        gap = max(0, now_us - began_us)
        within = self.within(began_us)
        if within is None or gap < within:
            self.usual[day] = max(self.usual.get(day, 0), gap)
            if self.last_us is not None:
                hour, week = _hour_of_week(began_us)
                weeks = self.hours.setdefault(hour, {})
                weeks[week] = max(weeks.get(week, 0), gap)
        else:
            before = self.alarming.get(day)
            if before is None or before.gap_us < gap:
                self.alarming[day] = Alarm(gap, _hour_of_day(began_us))
            self.usual.setdefault(day, 0)
        self._forget(day)
        self.last_us = now_us

    def _forget(self, day: int) -> None:
        for old in [each for each in self.usual if each <= day - KEPT_DAYS]:
            del self.usual[old]
        for old in [each for each in self.alarming if each <= day - KEPT_DAYS]:
            del self.alarming[old]
        week = _hour_of_week(day * DAY_US)[1]
        for weeks in self.hours.values():
            for old in [each for each in weeks if each <= week - KEPT_WEEKS]:
                del weeks[old]
        self.hours = {hour: weeks for hour, weeks in self.hours.items() if weeks}

    def within(self, began_us: int) -> int | None:
        """Return how long a silence may be that began at a time; None while too few days are known."""
        if len(self.usual) < LEARNING_DAYS:
            return None
        about = self._about(began_us)
        longest = max(self.usual.values()) if about is None else about
        return max(LEAST_US, FACTOR * max(longest, self._came_back(None if about is None else began_us)))

    def _about(self, began_us: int) -> int | None:
        """Return the longest usual silence that began about this hour of the week; None: too few weeks are known."""
        hour, _ = _hour_of_week(began_us)
        near = [self.hours.get((hour + by) % WEEK_HOURS, {}) for by in (-1, 0, 1)]
        if len({week for weeks in near for week in weeks}) < LEARNING_WEEKS:
            return None
        usual = median(max(weeks.values()) for weeks in self.hours.values())
        least = min(round(HOURS_FACTOR * usual), max(self.usual.values()))
        return max(least, *(gap for weeks in near for gap in weeks.values()))

    def _came_back(self, began_us: int | None) -> int:
        """Return what raised alarms often enough to be usual, of those about the same hour of the day (None: of all)."""
        hour = None if began_us is None else _hour_of_day(began_us)
        gaps = [
            alarm.gap_us
            for alarm in self.alarming.values()
            if hour is None or alarm.hour is None or (alarm.hour - hour + 1) % 24 <= 2
        ]
        return max(sorted(gaps, reverse=True)[BACK_DAYS - 1 : BACK_DAYS], default=0)

    def to_json(self) -> dict[str, Any]:
        """Return what is to be kept over a restart."""
        return {
            "usual": {str(day): gap for day, gap in self.usual.items()},
            "alarming": {str(day): [alarm.gap_us, alarm.hour] for day, alarm in self.alarming.items()},
            "hours": {
                str(hour): {str(week): gap for week, gap in weeks.items()}
                for hour, weeks in self.hours.items()
            },
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Rhythm:
        """Return what `to_json` made, also before it knew hours. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        return cls(
            {int(day): int(gap) for day, gap in given["usual"].items()},
            {
                int(day): Alarm(*alarm) if isinstance(alarm, list) else Alarm(int(alarm))
                for day, alarm in given["alarming"].items()
            },
            {
                int(hour): {int(week): int(gap) for week, gap in weeks.items()}
                for hour, weeks in given.get("hours", {}).items()
            },
        )


def _hour_of_week(at_us: int) -> tuple[int, int]:
    """Return the hour of the week, from Monday, and the number of the week."""
    week, hour = divmod(at_us // HOUR_US + MONDAY_HOURS, WEEK_HOURS)
    return hour, week


def _hour_of_day(at_us: int) -> int:
    return at_us // HOUR_US % 24
