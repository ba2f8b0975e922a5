"""Buckets of time, as a calendar has them: aligned in a time zone, days of 23 and 25 hours included."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from parsers.moments import EPOCH, to_us
from storage.coded import Ints
from storage.rollups import DAY_US, HOUR_US, QUARTER_US

MINUTE_US = 60_000_000
MONTH_US = 31 * DAY_US  # stands for a calendar month
MAX_POINTS = 180  # bars that a chart of a dashboard still tells apart
MAX_BUCKETS = 300  # of one answer, if somebody asks for a step of their own
# Steps by name. From a quarter of an hour on, roll-ups answer; a day or more is a calendar day of the time zone.
STEPS = {
    "1m": MINUTE_US,
    "5m": 5 * MINUTE_US,
    "15m": QUARTER_US,
    "1h": HOUR_US,
    "3h": 3 * HOUR_US,
    "6h": 6 * HOUR_US,
    "12h": 12 * HOUR_US,
    "1d": DAY_US,
    "7d": 7 * DAY_US,
    "1M": MONTH_US,
}
STEPS_US = tuple(STEPS.values())
DAYS_A_WEEK = 7
DECEMBER = 12


def step_of(length_us: int) -> int:
    """Return the least step that cuts a range into at most MAX_POINTS."""
    return next((step for step in STEPS_US if length_us <= step * MAX_POINTS), STEPS_US[-1])


def grid(start_us: int, end_us: int, step_us: int, timezone: str) -> list[int]:
    """Return the starts of the buckets that cover a range, aligned to midnight in a time zone, rising.

    Steps below a day follow the clock on the wall: where clocks are put forward a bucket is shorter, where they are
    put back it is longer, or, when it is no longer than what is put back, comes twice. Weeks begin on Monday. All
    starts of a quarter hour and more lie on the quarter hours that roll-ups have.
    """
    zone = ZoneInfo(timezone)
    starts: list[int] = []
    for at in _starts((EPOCH + timedelta(microseconds=start_us)).astimezone(zone).date(), step_us, zone):
        if at > end_us:
            break
        if at <= start_us:
            starts = [at]
        else:
            starts.append(at)
    return starts


def ends(starts: list[int], step_us: int, timezone: str) -> list[int]:
    """Return where each bucket of a grid ends: where the next one begins, which of the last is not in the grid."""
    zone = ZoneInfo(timezone)
    day = (EPOCH + timedelta(microseconds=starts[-1])).astimezone(zone).date()
    return [*starts[1:], next(at for at in _starts(day, step_us, zone) if at > starts[-1])]


def grain_of(starts: Sequence[int]) -> int:
    """Return the widest bucket that never crosses one of the starts."""
    grain = int(np.gcd.reduce(np.array(starts, np.int64))) or DAY_US
    return math.gcd(grain, DAY_US)


def bins(starts: Ints, times: npt.NDArray[Any]) -> Ints:
    """Return between which starts times lie; before the first counts as the first."""
    found: Ints = np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)
    return found


def _starts(day: date, step_us: int, zone: ZoneInfo) -> Iterator[int]:
    """Yield the starts of buckets, rising, from the one on that holds the midnight of a day."""
    if step_us == MONTH_US:
        day = day.replace(day=1)
    elif step_us == DAYS_A_WEEK * DAY_US:
        day -= timedelta(days=day.weekday())
    while True:
        following = _after(day, step_us)
        if step_us >= DAY_US:
            yield _midnight(day, zone)
        else:
            yield from _within(_midnight(day, zone), _midnight(following, zone), step_us, zone)
        day = following


def _after(day: date, step_us: int) -> date:
    if step_us == MONTH_US:
        return date(day.year + day.month // DECEMBER, day.month % DECEMBER + 1, 1)
    return day + timedelta(days=max(1, step_us // DAY_US))


def _within(midnight: int, following: int, step_us: int, zone: ZoneInfo) -> Iterator[int]:
    """Yield the starts within a day, whose clocks may be changed once."""
    before, after = _offset(midnight, zone), _offset(following, zone)
    if before == after:
        # Where clocks are put forward at midnight, the day begins later on the wall.
        late = (midnight + before) % DAY_US
        yield midnight
        yield from range(midnight + step_us - late % step_us, following, step_us)
        return
    low, high = midnight // QUARTER_US, following // QUARTER_US
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle * QUARTER_US, zone) == before else (low, middle)
    change = high * QUARTER_US
    yield from range(midnight, change, step_us)
    shift = after - before
    elapsed = change - midnight  # on the clock, when it was changed
    continues = (elapsed + shift) // step_us == (elapsed - 1) // step_us
    if not continues or step_us <= -shift:
        yield change
    first = (elapsed + shift) // step_us * step_us + step_us - shift + midnight
    yield from range(first, following, step_us)


def _offset(at_us: int, zone: ZoneInfo) -> int:
    offset = (EPOCH + timedelta(microseconds=at_us)).astimezone(zone).utcoffset()
    assert offset is not None
    return offset // timedelta(microseconds=1)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return to_us(datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC))
