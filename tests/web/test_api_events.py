"""Lists of events and single events, over real HTTP and a real archive."""

from typing import Any

from aiohttp.test_utils import TestClient
from yarl import URL

from tests.web.station import DAY_US, NOW_US, Station, event, served
from web.keys import WebOptions


def seed(station: Station, count: int = 120) -> None:
    lines = [
        event(
            eventId=f"e-{n}",
            timestamp=f"2026-06-01T{n // 60:02}:{n % 60:02}:00Z",
            level=("error" if n % 10 == 0 else "info"),
            user={"id": n % 3, "username": f"user{n % 3}"},
            request={"ip": f"10.0.0.{n % 5}", "path": f"/p/{n}", "statusCode": 200 + n % 4},
            riskScore=n % 101,
            tags=[f"t{n % 2}"],
        )
        for n in range(count)
    ]
    station.write("app-2026-06-01.log", lines)


async def get(client: TestClient, path: str, status: int = 200) -> Any:
    async with client.get(path) as response:
        body = await response.json()
        assert response.status == status, body
        return body


async def test_a_page_has_the_originals_envelope_under_both_prefixes(
    station: Station, client: TestClient
) -> None:
    """Newest first, with total, page and pages, and our cursor and snapshot beside them."""
    seed(station)
    page = await get(client, "/events?limit=50")
    assert (await get(client, "/api/v1/events?limit=50"))["data"] == page["data"]
    assert page["success"] is True
    assert [row["eventId"] for row in page["data"][:2]] == ["e-119", "e-118"]
    assert (page["total"], page["page"], page["pages"], page["total_is_estimate"]) == (120, 1, 3, False)
    assert page["data"][0]["user"] == {"id": 2, "username": "user2"}
    assert page["snapshot"] == 120


async def test_pages_by_cursor_give_every_event_once(station: Station, client: TestClient) -> None:
    """The Link header and `next` lead to the end, also while new events come in."""
    seed(station)
    found: list[str] = []
    address: str | None = "/api/v1/events?limit=25&start_date=-2d"
    while address is not None:
        async with client.get(address) as response:
            assert response.status == 200, await response.text()
            found += [row["eventId"] for row in (await response.json())["data"]]
            link = response.links.get("next")
            address = str(URL(str(link["url"])).relative()) if link else None
        station.now_us += 60_000_000
        station.write("late.log", [event(eventId="late", timestamp="2026-06-01T11:59:59Z")])
    assert sorted(found, key=lambda i: int(i[2:])) == [f"e-{n}" for n in range(120)]


async def test_a_snapshot_keeps_pages_from_shifting(station: Station, client: TestClient) -> None:
    """Without it page 2 is of the newest; with it page 2 follows page 1 whatever came in since."""
    seed(station, 40)
    first = await get(client, "/events?limit=10&page=1")
    station.write("late.log", [event(eventId=f"late-{n}") for n in range(5)])
    pinned = await get(client, f"/events?limit=10&page=2&snapshot={first['snapshot']}")
    shifted = await get(client, "/events?limit=10&page=2")
    assert pinned["data"][0]["eventId"] == "e-29"
    assert pinned["total"] == 40
    assert shifted["data"][0]["eventId"] != "e-29"


FILTERS: list[tuple[str, int]] = [
    ("level=error", 12),
    ("level=ERROR", 12),
    ("level=!error", 108),
    ("user_id=1&user_id=2", 80),
    ("user_id=!1", 80),
    ("ip=10.0.0.0/30", 96),
    ("ip=10.0.0.4", 24),
    ("status_code=203", 30),
    ("min_risk=71&max_risk=100", 30),
    ("risk=high", 30),
    ("risk=low&risk=high", 80),
    ("tag=t1", 60),
    ("path=/p/7", 1),
    ("start_date=2026-06-01T01:00:00Z", 60),
    ("start_date=2026-06-01T00:10:00Z&end_date=2026-06-01T00:19:00Z", 10),
    ("start_date=2026-06-01&end_date=2026-06-01", 120),
    ("start_date=-11h", 60),
    ("search_query=AN EVENT", 120),
    ("search_query=user2", 40),
    ("category=api&action=read&level=info", 108),
    ("source=app-2026-06-01.log", 120),
    ("source=!app-2026-06-01.log", 0),
]


async def test_every_filter_narrows_the_list(station: Station, client: TestClient) -> None:
    """Repeatable values are alternatives, `!` excludes, both ends of times are inclusive."""
    seed(station)
    found = [(query, (await get(client, f"/events?{query}"))["total"]) for query, _ in FILTERS]
    assert found == FILTERS


async def test_a_poll_that_finds_nothing_new_is_answered_without_a_query(
    station: Station, client: TestClient
) -> None:
    """304 until an application's event comes in; sealing and the daemon's own events change nothing."""
    seed(station, 10)
    async with client.get("/api/v1/events?start_date=-2d") as response:
        tag = response.headers["ETag"]
        assert response.headers["Cache-Control"] == "private, no-cache"

    async def poll() -> int:
        async with client.get("/api/v1/events?start_date=-2d", headers={"If-None-Match": tag}) as response:
            if response.status == 304:
                assert await response.read() == b""
                assert response.headers["ETag"] == tag
            return response.status

    assert await poll() == 304
    station.now_us += 20_000_000
    assert await poll() == 304
    station.write("self.jsonl", [event(eventId="own")], internal=True)
    station.archive.commit()
    assert await poll() == 304
    station.write("app-2026-06-01.log", [event(eventId="new")])
    assert await poll() == 200


async def test_the_window_of_a_relative_time_moves_on(station: Station, client: TestClient) -> None:
    """A minute later the same question is another one, even if nothing new came in."""
    seed(station, 10)
    async with client.get("/events?start_date=-15m") as response:
        tag = response.headers["ETag"]
    station.now_us += 61_000_000
    async with client.get("/events?start_date=-15m", headers={"If-None-Match": tag}) as response:
        assert response.status == 200


async def test_one_event_is_found_by_id_with_its_duplicates(station: Station, client: TestClient) -> None:
    """Applications retry, so an id may repeat: the first is given, and how many more there are."""
    seed(station, 3)
    station.write("other.log", [event(eventId="e-1", description="again")])
    found = await get(client, "/api/v1/events/e-1")
    assert found["success"] is True
    assert found["data"]["eventId"] == "e-1"
    assert found["data"]["description"] == "An event"
    assert found["duplicates"] == 1
    assert found["timestamp"] == "2026-06-01T12:00:00Z"


async def test_an_unknown_id_is_404(station: Station, client: TestClient) -> None:
    """Whatever the id holds."""
    seed(station, 3)
    for event_id in ("nothing", "export2", "..%2F..%2Fetc%2Fpasswd", "%00", "' OR 1=1 --", "ü"):
        body = await get(client, f"/api/v1/events/{event_id}", status=404)
        assert body["type"] == "urn:watchkeep:problem:not-found"


async def test_an_id_with_a_slash_can_be_asked_for(station: Station, client: TestClient) -> None:
    """Percent-encoded, as every URL library does it."""
    station.write("a.log", [event(eventId="a/b?c#d%e")])
    async with client.get("/events/a%2Fb%3Fc%23d%25e") as response:
        assert (await response.json())["data"]["eventId"] == "a/b?c#d%e"


async def test_internal_events_are_left_out_unless_asked_for(station: Station, client: TestClient) -> None:
    """A team's counts are its applications' counts."""
    seed(station, 5)
    station.write("self.jsonl", [event(eventId="own")], internal=True)
    assert (await get(client, "/events"))["total"] == 5
    only = await get(client, "/events?internal=only")
    assert {row["internal"] for row in only["data"]} == {True}
    both = await get(client, "/events?internal=true&limit=500")
    assert {row["internal"] for row in both["data"]} == {True, False}
    assert both["total"] == len(both["data"]) >= 6
    assert (await get(client, "/events?internal=false"))["total"] == 5


async def test_words_are_the_known_ones_then_those_observed(station: Station, client: TestClient) -> None:
    """Unknown categories and actions are kept and shown; levels are always the five."""
    station.write("a.log", [event(category="billing", action="zap", level="error")])
    assert (await get(client, "/events/levels"))["data"] == ["debug", "info", "warning", "error", "critical"]
    categories = (await get(client, "/api/v1/events/categories"))["data"]
    assert categories[0] == "authentication"
    assert categories[-1] == "billing"
    assert len(categories) == 11
    assert (await get(client, "/events/actions"))["data"][-1] == "zap"


async def test_my_events_are_those_of_the_user_named(station: Station, client: TestClient) -> None:
    """Without keys nobody is known, so `user_id` says whose; the shape is the original's second one."""
    seed(station, 30)
    mine = await get(client, "/events/me?user_id=1&limit=5")
    assert (mine["total"], mine["page"], mine["per_page"], mine["pages"]) == (10, 1, 5, 2)
    assert {row["user"]["id"] for row in mine["items"]} == {1}
    assert (await get(client, "/events/me"))["total"] == 0
    assert (await get(client, "/events/me?user_id=1&days=1"))["total"] == 10
    station.now_us = NOW_US + 3 * DAY_US
    assert (await get(client, "/events/me?user_id=1&days=1"))["total"] == 0


async def test_the_later_originals_names_answer_too(station: Station, client: TestClient) -> None:
    """`/activity-logs`, its page_size, and its addresses for a thing and a user."""
    seed(station, 30)
    station.write("b.log", [event(eventId="x", entity={"type": "project", "id": "!7"}, user={"id": "ann"})])
    page = await get(client, "/api/v1/activity-logs?page_size=10&page=2&level=info")
    assert (page["total"], page["page"], page["page_size"], len(page["items"])) == (28, 2, 10, 10)
    thing = await get(client, "/activity-logs/entity/project/!7")
    assert [row["eventId"] for row in thing["items"]] == ["x"]
    assert (await get(client, "/activity-logs/user/ann"))["total"] == 1
    assert (await get(client, "/activity-logs/x"))["entity"]["id"] == "!7"


async def test_the_greatest_limit_is_the_installations(station: Station) -> None:
    """`EVENT_PAGINATION_LIMIT` of the original, 500 by default."""
    seed(station, 10)
    async with served(station, WebOptions(page_limit=5)) as client:
        assert len((await get(client, "/events?limit=5"))["data"]) == 5
        body = await get(client, "/events?limit=6", status=422)
        assert body["errors"][0]["loc"] == ["query", "limit"]
        spec = await get(client, "/openapi.json")
        limits = [p for p in spec["paths"]["/api/v1/events"]["get"]["parameters"] if p["name"] == "limit"]
        assert limits[0]["schema"]["maximum"] == 5


async def test_committing_and_sealing_change_no_answer(station: Station, client: TestClient) -> None:
    """Hot, live and sealed rows give the same page."""
    seed(station, 60)
    query = "/events?level=info&limit=20&page=2"
    hot = await get(client, query)
    station.archive.commit()
    live = await get(client, query)
    station.archive.seal()
    sealed = await get(client, query)
    assert hot["data"] == live["data"] == sealed["data"]
    assert hot["total"] == live["total"] == sealed["total"] == 54
