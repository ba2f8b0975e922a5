"""Figures over time: zones with and without changes of clocks, zero fill, ends of the range, limits."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohttp.test_utils import TestClient

from tests.web.station import Station, event

MARCH = "start_date=2026-03-28&end_date=2026-03-30"  # clocks in Berlin go forward on the 29th


async def get(client: TestClient, path: str) -> Any:
    async with client.get(path) as response:
        body = await response.json()
        assert response.status == 200, body
        return body


async def refused(client: TestClient, path: str) -> Any:
    async with client.get(path) as response:
        body = await response.json()
        assert response.status == 422, body
        return body["errors"][0]


def hourly(station: Station, first: datetime, hours: int, **more: Any) -> None:
    """Write one event at half past every hour."""
    station.write(
        "a.log",
        [
            event(
                eventId=f"{first:%m%d}-{n}",
                timestamp=(first + timedelta(hours=n, minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                level=["info", "error"][n % 2],
                user={"id": n % 3, "username": f"u{n % 3}"},
                **more,
            )
            for n in range(hours)
        ],
    )


async def test_buckets_without_an_event_are_zero_and_every_level_has_a_line(
    station: Station, client: TestClient
) -> None:
    """A chart needs no gaps filled."""
    hourly(station, datetime(2026, 5, 30, 10, tzinfo=UTC), 2)
    body = await get(client, "/events/trends?start_date=2026-05-30&end_date=2026-05-30&interval=1h")
    assert len(body["buckets"]) == 24
    assert [bucket["events"] for bucket in body["buckets"]] == [0] * 10 + [1, 1] + [0] * 12
    assert body["buckets"][11]["by"] == {"debug": 0, "info": 0, "warning": 0, "error": 1, "critical": 0}
    assert not any(bucket["partial"] for bucket in body["buckets"])
    assert (body["events"], body["interval"], body["by"]) == (2, "1h", "level")
    assert body["plan"]["answeredBy"] == "roll-up"


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 28), [24, 23, 24]),
        ("Europe/Berlin", (2026, 10, 24), [24, 25, 24]),
        ("Australia/Lord_Howe", (2026, 4, 4), [24, 24.5, 24]),
        ("Australia/Lord_Howe", (2026, 10, 3), [24, 23.5, 24]),
        ("Asia/Kathmandu", (2026, 3, 28), [24, 24, 24]),
    ],
)
async def test_days_are_those_of_the_time_zone(
    station: Station, client: TestClient, zone: str, day: tuple[int, int, int], hours: list[float]
) -> None:
    """Also days of 23, 23½, 24½ and 25 hours: each holds the events between its midnights."""
    first = datetime(*day, tzinfo=ZoneInfo(zone))
    begin = first.astimezone(UTC)
    station.now_us = int((begin + timedelta(days=5)).timestamp() * 1e6)
    hourly(station, begin.replace(minute=0) - timedelta(hours=5), 24 * 3 + 12)
    end = (first + timedelta(days=3)).astimezone(UTC) - timedelta(microseconds=1)
    query = f"start_date={begin:%Y-%m-%dT%H:%M:%SZ}&end_date={end:%Y-%m-%dT%H:%M:%S.%fZ}&tz={zone}"
    for of in ("events", "users"):
        body = await get(client, f"/events/trends?{query}&interval=1d&of={of}")
        spans = [
            (datetime.fromisoformat(bucket["end"]) - datetime.fromisoformat(bucket["start"]))
            / timedelta(hours=1)
            for bucket in body["buckets"]
        ]
        assert spans == hours
        assert not any(bucket["partial"] for bucket in body["buckets"])
    body = await get(client, f"/events/trends?{query}&interval=1d")
    listed = []
    for bucket in body["buckets"]:
        last = datetime.fromisoformat(bucket["end"]) - timedelta(microseconds=1)
        page = await get(
            client, f"/events?start_date={bucket['start']}&end_date={last:%Y-%m-%dT%H:%M:%S.%fZ}"
        )
        listed.append(page["total"])
    assert [bucket["events"] for bucket in body["buckets"]] == listed


async def test_hours_follow_the_clock_on_the_wall(station: Station, client: TestClient) -> None:
    """Where clocks go forward an hour is missing, where they go back it comes twice; three hours are then two or four."""
    hourly(station, datetime(2026, 3, 28, tzinfo=UTC), 72)
    spring = await get(client, f"/events/trends?{MARCH}&tz=Europe/Berlin&interval=1h&by=none")
    assert spring["events"] == sum(bucket["events"] for bucket in spring["buckets"]) == 72
    threes = await get(client, f"/events/trends?{MARCH}&tz=Europe/Berlin&interval=3h&by=none")
    night = next(bucket for bucket in threes["buckets"] if bucket["start"] == "2026-03-28T23:00:00Z")
    assert night == {
        "start": "2026-03-28T23:00:00Z",
        "end": "2026-03-29T01:00:00Z",
        "partial": False,
        "events": 2,
    }


async def test_the_first_and_last_bucket_say_that_they_are_partial(
    station: Station, client: TestClient
) -> None:
    """What the range cuts off is not counted."""
    hourly(station, datetime(2026, 5, 30, tzinfo=UTC), 48)
    query = "start_date=2026-05-30T06:00:00Z&end_date=2026-05-31T11:59:59Z"
    body = await get(client, f"/events/trends?{query}&interval=1d")
    assert [(bucket["events"], bucket["partial"]) for bucket in body["buckets"]] == [(18, True), (12, True)]


async def test_distinct_users_of_each_bucket_and_of_all(station: Station, client: TestClient) -> None:
    """One call for every day, hour or month; the sum is no sum."""
    hourly(station, datetime(2026, 5, 29, tzinfo=UTC), 50)
    for committed in (False, True):
        if committed:
            station.archive.commit()
        days = await get(
            client, "/events/trends?start_date=2026-05-29&end_date=2026-05-31&interval=1d&of=users"
        )
        assert [bucket["users"] for bucket in days["buckets"]] == [3, 3, 2]
        assert days["users"] == 3
        assert days["plan"]["answeredBy"] == "roll-up"
        hours = await get(
            client, "/events/trends?start_date=2026-05-29&end_date=2026-05-29&interval=1h&of=users"
        )
        assert [bucket["users"] for bucket in hours["buckets"]] == [1] * 24
        months = await get(
            client, "/events/trends?start_date=2026-04-01&end_date=2026-06-30&interval=1M&of=users"
        )
        assert [bucket["users"] for bucket in months["buckets"]] == [0, 3, 0]


async def test_the_period_before_and_the_hours_of_the_week(station: Station, client: TestClient) -> None:
    """Both in the time zone asked for."""
    hourly(station, datetime(2026, 5, 30, 12, tzinfo=UTC), 1)  # a Saturday
    query = "start_date=2026-05-30&end_date=2026-05-31&interval=1d&previous=true&heatmap=weekday_hour"
    body = await get(client, f"/events/trends?{query}")
    assert body["previous"]["timeRange"]["start"] == "2026-05-28T00:00:00Z"
    assert [bucket["events"] for bucket in body["previous"]["buckets"]] == [0, 0]
    assert body["heatmap"]["events"][5][12] == 1
    nepal = await get(client, f"/events/trends?{query}&tz=Asia/Kathmandu")
    assert nepal["heatmap"]["events"][5][18] == 1
    assert sum(map(sum, nepal["heatmap"]["events"])) == 1


async def test_words_without_a_line_are_other_and_events_without_a_word_are_missing(
    station: Station, client: TestClient
) -> None:
    """No event is left out of a bucket's sum, whatever it is split by."""
    station.write("a.log", [event(eventId=f"e{n}", action=f"action{n:02}") for n in range(25)])
    station.write("b.log", [event(eventId="none", action=None)])
    body = await get(client, "/events/trends?hours=2&interval=1h&by=action")
    for bucket in body["buckets"]:
        assert bucket["events"] == sum(bucket["by"].values()) + bucket["other"] + bucket["missing"]
    assert (sum(b["other"] for b in body["buckets"]), sum(b["missing"] for b in body["buckets"])) == (5, 1)


async def test_too_many_buckets_and_split_users_are_refused(station: Station, client: TestClient) -> None:
    """With the parameter's name and what to do."""
    assert (await refused(client, "/events/trends?hours=24&interval=1m"))["loc"] == ["query", "interval"]
    assert (await refused(client, "/events/trends?of=users&by=level"))["loc"] == ["query", "by"]
    assert (await refused(client, "/events/trends?tz=Mars/Base"))["loc"] == ["query", "tz"]
    assert len((await get(client, "/events/trends?hours=8760"))["buckets"]) <= 300


async def test_statistics_compute_only_the_parts_asked_for(station: Station, client: TestClient) -> None:
    """A narrow question has a narrow answer; an unknown part is named."""
    hourly(station, datetime(2026, 6, 1, 8, tzinfo=UTC), 3)
    body = await get(client, "/events/statistics?parts=users,series")
    assert body["totals"] == {"users": 3}
    assert "byLevel" not in body
    assert set(body["plan"]["parts"]) == {"users", "series"}
    assert (await refused(client, "/events/statistics?parts=users,everything"))["loc"] == ["query", "parts"]
