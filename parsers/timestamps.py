"""Times as writers spell them, as microseconds since 1970 UTC. A time is never taken from the clock.

| spelling | example |
|---|---|
| RFC 3339 and ISO 8601, any zone | `2026-11-23T10:00:00.123Z`, `2026-11-23 10:00:00+01:00`, `20261123T100000Z` |
| without a zone: in the configured one | `2026-11-23T10:00:00` |
| Python's logging, a comma before milliseconds | `2026-11-23 10:00:00,123` |
| Unix seconds, with or without a fraction | `1795428000`, `1795428000.25` |
| Unix milliseconds, microseconds, nanoseconds: told apart by size | `1795428000123` |
| a leap second is the last microsecond before it | `2016-12-31T23:59:60Z` |
| a date alone: its first moment | `2026-11-23` |
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from parsers.moments import DAY_US, EPOCH, SECOND_US, to_us

EARLIEST_US = 631_152_000 * SECOND_US  # 1990-01-01: nothing that logs JSON is older
LATEST_US = 4_102_444_800 * SECOND_US  # 2100-01-01: for files without a date in their name
AHEAD_US = (
    DAY_US  # a line may be this much later than the end of its file's day: zones, writers open over midnight
)

# Above these a Unix time is in the next smaller unit: 1e11 seconds is the year 5138, 1e11 ms is 1973.
_UNITS = ((Decimal(10) ** 11, SECOND_US), (Decimal(10) ** 14, 1000), (Decimal(10) ** 17, 1))
_NUMBER = re.compile(r"[+-]?\d{1,20}(?:\.\d{1,12})?(?:[eE][+]?\d{1,2})?")
_ISO = re.compile(
    r"(?P<year>\d{4})-?(?P<month>\d\d)-?(?P<day>\d\d)"
    r"(?:[Tt _](?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,12}))?)?"
    r"\s?(?P<zone>[Zz]|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?"
)


def parse_time(text: str, zone: ZoneInfo) -> int | None:
    """Return microseconds since 1970 UTC for any spelling of the table above, or None.

    ``zone`` is where a time without a zone was written; digits below a microsecond are cut off.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text) and not _compact_date(text):
        return _from_number(text)
    match = _ISO.fullmatch(text)
    return _from_iso(match, zone) if match and text.isascii() else None


def _compact_date(text: str) -> bool:
    return len(text) == 8 and text.isdecimal() and "19900101" <= text <= "29991231"


def _from_number(text: str) -> int | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    size = abs(number)
    for limit, factor in _UNITS:
        if size < limit:
            return int(number * factor)
    return int(number / 1000) if size < Decimal(10) ** 20 else None


def _from_iso(match: re.Match[str], zone: ZoneInfo) -> int | None:
    second = int(match["second"] or 0)
    leap = second == 60
    try:
        moment = datetime(
            int(match["year"]),
            int(match["month"]),
            int(match["day"]),
            int(match["hour"] or 0),
            int(match["minute"] or 0),
            59 if leap else second,
            999_999 if leap else int((match["fraction"] or "").ljust(6, "0")[:6]),
            tzinfo=zone if match["zone"] is None else UTC,
        )
        moment -= _offset(match["zone"])
        return to_us(moment)
    except (ValueError, OverflowError):
        return None


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone[0] not in "+-":
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[3:].lstrip(":") or 0)
    if hours > 18 or minutes > 59:
        raise ValueError(zone)
    size = timedelta(hours=hours, minutes=minutes)
    return -size if zone[0] == "-" else size


def format_time(us: int) -> str:
    """Return RFC 3339 text in UTC with microseconds."""
    return (EPOCH + timedelta(microseconds=us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def latest_for(file_date_us: int | None) -> int:
    """Return the first moment that is absurd for a line of a file with this date in its name (None: it has none)."""
    return LATEST_US if file_date_us is None else file_date_us + DAY_US + AHEAD_US
