"""Times as clients write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.times import DAY_US, day_before, day_of, is_relative, parse_time, rfc3339

NOW = 1_780_315_200_000_000  # 2026-06-01T12:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("-15m", NOW - 15 * 60 * 1_000_000),
        ("-24h", NOW - DAY_US),
        ("-7d", NOW - 7 * DAY_US),
        ("2026-06-01", NOW - DAY_US // 2),
        ("2026-06-01T12:00:00Z", NOW),
        ("2026-06-01T12:00:00", NOW),
        ("2026-06-01T14:00:00+02:00", NOW),
        ("2026-06-01T14:00:00 02:00", NOW),
        ("2026-06-01T14:00:00.000001 0200", NOW + 1),
        ("2026-06-01T11:59:60Z", NOW - 1),
        ("20260601T115960.5Z", NOW - 1),
    ],
)
def test_a_start_is_read_in_every_form_the_contract_names(text: str, expected: int) -> None:
    """ISO 8601, bare dates, so much before now; a plus that was not escaped is still a plus."""
    assert parse_time(text, now_us=NOW) == expected


def test_a_bare_end_date_is_the_last_moment_of_its_day() -> None:
    """Both ends are inclusive, so a bare date means the whole day."""
    start = parse_time("2026-06-01", now_us=NOW)
    for day in ("2026-06-01", "20260601", "2026-W23-1"):
        assert parse_time(day, now_us=NOW) == start
        assert parse_time(day, now_us=NOW, end=True) == start + DAY_US - 1


@pytest.mark.parametrize(
    "text", ["", "yesterday", "-15x", "15m", "2026-02-30", "2026-13-01", "1e9", "9" * 40, "-9999999h"]
)
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    """The message repeats the text, so that a person sees which of several it was."""
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text, now_us=NOW)


@given(st.text(max_size=40))
def test_no_text_raises_anything_but_value_error(text: str) -> None:
    """Whatever a client sends is a time or a ValueError."""
    try:
        moment = parse_time(text, now_us=NOW)
    except ValueError:
        return
    assert isinstance(moment, int)


@given(st.integers(min_value=0, max_value=4_102_444_800_000_000))
def test_times_written_are_times_read(us: int) -> None:
    """Our own RFC 3339 comes back to the microsecond."""
    assert parse_time(rfc3339(us), now_us=NOW) == us


def test_days_are_counted_in_utc() -> None:
    """The day before a moment does not depend on its hour."""
    assert day_of(NOW) == "2026-06-01"
    assert day_before(NOW, 90) == "2026-03-03"
    assert is_relative("-1d")
    assert not is_relative("2026-06-01")
