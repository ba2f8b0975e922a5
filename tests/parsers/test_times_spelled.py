"""Times in every documented spelling, by the batch and one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers.clock import iso_times
from parsers.moments import EPOCH
from parsers.timestamps import LATEST_US, format_time, latest_for, parse_time

BERLIN, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ("2026-11-23T10:00:00Z", "2026-11-23T10:00:00+00:00"),
        ("2026-11-23T10:00:00.123456789Z", "2026-11-23T10:00:00.123456+00:00"),
        ("2026-11-23t10:00:00z", "2026-11-23T10:00:00+00:00"),
        ("2026-11-23 10:00:00+01:30", "2026-11-23T08:30:00+00:00"),
        ("2026-11-23T10:00:00-0800", "2026-11-23T18:00:00+00:00"),
        ("2026-11-23T10:00:00 UTC", "2026-11-23T10:00:00+00:00"),
        ("20261123T100000Z", "2026-11-23T10:00:00+00:00"),
        ("2026-11-23 10:00:00,123", "2026-11-23T09:00:00.123+00:00"),
        ("2026-07-23T10:00:00", "2026-07-23T08:00:00+00:00"),
        ("2026-11-23T10:00", "2026-11-23T09:00:00+00:00"),
        ("2026-11-23", "2026-11-22T23:00:00+00:00"),
        ("20261123", "2026-11-22T23:00:00+00:00"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999+00:00"),
        ("1795428000", "2026-11-23T10:00:00+00:00"),
        ("1795428000.25", "2026-11-23T10:00:00.250+00:00"),
        ("1795428000123", "2026-11-23T10:00:00.123+00:00"),
        ("1795428000123456", "2026-11-23T10:00:00.123456+00:00"),
        ("1795428000123456789", "2026-11-23T10:00:00.123456+00:00"),
        ("1.795428e9", "2026-11-23T10:00:00+00:00"),
    ],
)
def test_a_spelling_means_a_moment(spelled, meant):
    """Zones, fractions, and the units of Unix time; without a zone the configured one counts."""
    assert parse_time(spelled, BERLIN) == micros(meant)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-13-01T00:00:00Z",
        "2026-02-30",
        "2026-11-23T25:00:00Z",
        "2026-11-23T10:00:61Z",
        "12/31/2026",
        "2026-11-23T10:00:00+99:00",
        "0000-01-01T00:00:00Z",
        "1e99",
        "--5",
        "٢٠٢٦-11-23T10:00:00Z",
        "NaN",
    ],
)
def test_what_is_no_time_is_none(text):
    """No guessing: what cannot be read is left to the date of the file."""
    assert parse_time(text, UTC_ZONE) is None


FORMATS = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S,%f"]


@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda moment, form: moment.strftime(form),
                st.datetimes(timezones=st.just(UTC)),
                st.sampled_from(FORMATS),
            ),
            st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{3})?Z?\Z"),
            st.none(),
            st.text(max_size=24),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_the_batch_reads_a_time_as_one_alone(texts, utc):
    """What the vectorised reader knows is what the exact one says; the rest it leaves alone."""
    column = pa.array(texts, pa.string())
    us, known = iso_times(column, naive_is_utc=utc)
    zone = UTC_ZONE if utc else BERLIN
    for text, value, sure in zip(texts, us.tolist(), known.tolist(), strict=True):
        if text is not None and sure:
            assert value == parse_time(text, zone)


def test_the_everyday_spelling_is_read_by_the_batch():
    """Otherwise every line would cost a call."""
    texts = pa.array(["2026-11-23T10:00:00.123Z", "2024-02-29T23:59:59.999Z"])
    us, known = iso_times(texts, naive_is_utc=False)
    assert known.all()
    assert [format_time(value) for value in us.tolist()] == [
        "2026-11-23T10:00:00.123000Z",
        "2024-02-29T23:59:59.999000Z",
    ]
    sliced = pa.array(["x", *texts.to_pylist()])[1:]
    assert iso_times(sliced, naive_is_utc=False)[0].tolist() == us.tolist()


def test_a_file_with_a_date_bounds_its_times():
    """A line may be a day late; without a date in the name only the year 2100 is absurd."""
    day = micros("2026-11-23T00:00:00+00:00")
    assert latest_for(day) == micros("2026-11-25T00:00:00+00:00")
    assert latest_for(None) == LATEST_US == micros("2100-01-01T00:00:00+00:00")
    assert datetime.fromtimestamp(LATEST_US / 1e6, UTC).year == 2100
