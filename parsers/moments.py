"""Times as people write them in questions: ISO 8601, a bare date, `now`, or so much before now (`-15m`)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HINT = "write 2024-05-31, 2024-05-31T14:00:00Z, -15m, -24h, -7d or now"

_UNITS_US = {
    "s": SECOND_US,
    "m": 60 * SECOND_US,
    "h": 3600 * SECOND_US,
    "d": DAY_US,
    "w": 7 * DAY_US,
}
_RELATIVE = re.compile(r"-(\d{1,6})([smhdw])")
_DATE = re.compile(r"\d{4}-?(?:\d{2}-?\d{2}|W\d{2}-?\d)")  # also ISO 8601's basic form and its weeks
# As lines are read: a leap second is the last microsecond before it.
_LEAP = re.compile(r"(T\d{2}:?\d{2}:?)60(?:[.,]\d{1,9})?(?![\d.,])")
# A `+` that was not percent-encoded arrives as a space.
_LOST_PLUS = re.compile(r"(T\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?) (\d{2}:?\d{2})")


def is_relative(text: str) -> bool:
    """Return whether the meaning of a time depends on when it is read."""
    return text == "now" or _RELATIVE.fullmatch(text) is not None


def is_date(text: str) -> bool:
    """Return whether a text has the form of a bare date, which means a whole day."""
    return _DATE.fullmatch(text) is not None


def parse_time(text: str, *, now_us: int, end: bool = False) -> int:
    """Return microseconds since 1970, UTC. A bare date is its first moment, or with ``end`` its last.

    Raises ValueError with a message for people. A time without a zone is UTC.
    """
    text = text.strip()
    if text == "now":
        return now_us
    relative = _RELATIVE.fullmatch(text)
    if relative:
        return max(0, now_us - int(relative[1]) * _UNITS_US[relative[2]])
    try:
        if is_date(text):
            start = to_us(datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC))
            return start + DAY_US - 1 if end else start
        moment = datetime.fromisoformat(_LEAP.sub(r"\g<1>59.999999", _LOST_PLUS.sub(r"\1+\2", text)))
    except ValueError:
        raise ValueError(f"{text!r} is not a time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    found = to_us(moment)
    if not FIRST_US <= found <= LAST_US:  # by its zone
        raise ValueError(f"{text!r} is outside the years that can be stored")
    return found


def to_us(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


FIRST_US = to_us(datetime.min.replace(tzinfo=UTC))  # the first and the last moment that have a name
LAST_US = to_us(datetime.max.replace(tzinfo=UTC))


def rfc3339(us: int) -> str:
    """Return a time as RFC 3339 in UTC with `Z`, with as many digits of the second as it needs."""
    text = (EPOCH + timedelta(microseconds=us)).isoformat().removesuffix("+00:00")
    return f"{text.rstrip('0') if '.' in text else text}Z"
