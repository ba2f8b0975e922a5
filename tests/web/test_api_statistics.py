"""Figures: the originals' shapes, our additions, and how often they are computed."""

from typing import Any

from aiohttp.test_utils import TestClient

from tests.web.station import Station, event, served
from web.cache import AnswerCache
from web.keys import WebOptions


async def get(client: TestClient, path: str) -> Any:
    async with client.get(path) as response:
        body = await response.json()
        assert response.status == 200, body
        return body


def seed(station: Station) -> None:
    station.write(
        "a.log",
        [
            event(
                eventId=f"e-{n}",
                timestamp=f"2026-06-01T{10 + n // 30}:{n % 30:02}:00Z",
                level=["info", "error", "critical", "info", "debug"][n % 5],
                category=["security", "billing"][n % 2],
                user={"id": n % 4, "username": f"u{n % 4}"},
            )
            for n in range(60)
        ],
    )


async def test_the_last_day_has_the_originals_members(station: Station, client: TestClient) -> None:
    """All five levels and ten categories, zero-filled, unknown ones seen beside them; an error rate with one decimal."""
    seed(station)
    body = await get(client, "/api/v1/events/statistics")
    assert body["success"] is True
    assert body["timeRange"]["hours"] == 24
    assert body["totals"] == {"events": 60, "users": 4}
    assert body["byLevel"] == {"debug": 12, "info": 24, "warning": 0, "error": 12, "critical": 12}
    assert body["byCategory"]["security"] == 30
    assert body["byCategory"]["billing"] == 30
    assert body["byCategory"]["workflow"] == 0
    assert len(body["byCategory"]) == 11
    assert body["errorRate"] == 40.0
    assert len(body["criticalEvents"]) == 10
    assert {row["level"] for row in body["criticalEvents"]} == {"critical"}
    assert [row["eventCount"] for row in body["topUsers"]] == [15] * 4
    assert sum(point["total"] for point in body["series"]) == 60
    assert body["previous"]["totals"]["events"] == 0


NARROWED: list[tuple[str, int]] = [
    ("hours=1", 30),
    ("hours=2", 60),
    ("start_date=2026-06-01T10:00:00Z&end_date=2026-06-01T10:29:59Z", 30),
    ("level=critical", 12),
    ("start_date=-90m&hours=1", 30),
    ("end_date=2026-06-01T10:30:00Z&hours=1", 30),
    ("user_id=1&level=!debug", 12),
    ("tz=Europe/Berlin", 60),
]


async def test_hours_ranges_and_filters_narrow_the_figures(station: Station, client: TestClient) -> None:
    """The same filters as the list."""
    seed(station)
    found = [
        (query, (await get(client, f"/events/statistics?{query}"))["totals"]["events"])
        for query, _ in NARROWED
    ]
    assert found == NARROWED


async def test_an_unchanged_archive_is_counted_once_for_many_pages(
    station: Station, client: TestClient
) -> None:
    """Within the time of reuse the answer is given again; a new event ends that at once: never staleness."""
    seed(station)
    first = await get(client, "/events/statistics")
    station.now_us += 10_000_000
    again = await get(client, "/events/statistics")
    assert again["timeRange"] == first["timeRange"]
    station.write("a.log", [event(eventId="new")])
    newer = await get(client, "/events/statistics")
    assert newer["totals"]["events"] == 61
    station.now_us += 31_000_000
    later = await get(client, "/events/statistics")
    assert later["timeRange"] != newer["timeRange"]


async def test_a_poll_of_figures_is_304_while_they_hold(station: Station, client: TestClient) -> None:
    """And 200 when the time of reuse is over or something came in."""
    seed(station)
    async with client.get("/events/statistics") as response:
        tag = response.headers["ETag"]

    async def poll() -> int:
        async with client.get("/events/statistics", headers={"If-None-Match": tag}) as response:
            return response.status

    assert await poll() == 304
    station.now_us += 31_000_000
    assert await poll() == 200


async def test_without_reuse_every_answer_is_computed(station: Station) -> None:
    """`STATISTICS_CACHE_SECONDS=0` turns it off."""
    seed(station)
    async with served(station, WebOptions(statistics_cache_seconds=0)) as client:
        first = await get(client, "/events/statistics")
        station.now_us += 1_000_000
        assert (await get(client, "/events/statistics"))["timeRange"] != first["timeRange"]


async def test_one_users_figures_have_the_originals_members(station: Station, client: TestClient) -> None:
    """What the original left at zero is filled in."""
    seed(station)
    body = await get(client, "/events/stats?user_id=1&days=7")
    assert body["total_events"] == body["recent_activity_count"] == 15
    assert body["events_by_category"] == {"billing": 15}
    assert body["events_by_day"] == {"2026-06-01": 15}
    assert (await get(client, "/events/stats"))["total_events"] == 60


async def test_an_answer_is_made_once_however_many_wait() -> None:
    """And a maker that fails leaves the next one to make it."""
    import asyncio

    cache = AnswerCache(1_000_000)
    made = 0

    async def make() -> bytes:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        if made == 1:
            raise RuntimeError("the first one fails")
        return b"answer"

    results = await asyncio.gather(
        *(cache.get_or_make("question", "1", lambda: 5, make) for _ in range(10)), return_exceptions=True
    )
    assert made == 2
    assert sum(isinstance(result, RuntimeError) for result in results) == 1
    assert cache.get("question", "1", 6) is not None
    assert cache.get("question", "2", 6) is None
    assert cache.get("question", "1", 1_000_006) is None
