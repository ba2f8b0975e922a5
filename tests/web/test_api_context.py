"""`/events/{event_id}/context`: the events around one, by time and by what they share."""

import random
from typing import Any

from aiohttp.test_utils import TestClient

from tests.web.station import Station, event

SHARED = {
    "correlation": lambda row: row["correlationId"],
    "session": lambda row: row["sessionId"],
    "user": lambda row: (row["user"] or {}).get("id"),
    "time": lambda _: 0,
}


def scattered(station: Station, count: int) -> list[dict[str, Any]]:
    """Write events of some users, sessions and requests at scattered times, in files, live and hot."""
    chance = random.Random(5)
    rows = [
        event(
            eventId=f"e-{n}",
            timestamp=f"2026-06-{chance.choice([1, 1, 1, 9]):02d}T{chance.randrange(24):02d}:{chance.randrange(60):02d}:00Z",
            correlationId=chance.choice(["c-1", "c-2", None]),
            sessionId=chance.choice(["s-1", "s-2"]),
            user=chance.choice([{"id": 1, "username": "ann"}, {"username": "bob"}]),
        )
        for n in range(count)
    ]
    station.write("app.log", rows[: count // 3])
    station.archive.commit()
    station.archive.seal()
    station.write("app.log", rows[count // 3 : count // 2])
    station.archive.commit()
    station.write("app.log", rows[count // 2 :])
    return rows


async def test_each_group_is_what_a_list_would_show_around_the_event(
    station: Station, client: TestClient
) -> None:
    """Newest first, the event at its place, so many on each side, whether in a sealed, live or hot row."""
    scattered(station, 120)
    async with client.get("/events?limit=500") as response:
        everything = (await response.json())["data"]
    for name in ("e-0", "e-39", "e-50", "e-61", "e-119", everything[0]["eventId"], everything[-1]["eventId"]):
        async with client.get(f"/events/{name}/context?before=4&after=3") as response:
            assert response.status == 200
            data = (await response.json())["data"]
        own = next(row for row in everything if row["eventId"] == name)
        assert data["event"] == own
        assert [group["by"] for group in data["groups"]] == ["time", "correlation", "session", "user"]
        for group in data["groups"]:
            of = SHARED[group["by"]]
            if group["by"] == "user" and of(own) is None:
                assert (group["field"], group["value"]) == ("username", "bob")
                same = [row for row in everything if (row["user"] or {}).get("username") == "bob"]
            elif of(own) is None:
                assert (group["data"], group["value"], group["at"]) == ([], None, None)
                continue
            else:
                same = [row for row in everything if of(row) == of(own)]
            at = same.index(own)
            assert group["data"] == same[max(0, at - 3) : at + 5]
            assert group["data"][group["at"]] == own
            assert (group["newer"], group["older"]) == (at > 3, len(same) - at - 1 > 4)


async def test_only_the_groups_that_are_wanted_are_looked_for(station: Station, client: TestClient) -> None:
    """In the order in which they are named; an unknown id is 404, an unknown group 422."""
    station.write("app.log", [event(eventId="only", sessionId="s")])
    async with client.get("/api/v1/events/only/context?by=session&by=time&before=0") as response:
        groups = (await response.json())["data"]["groups"]
    assert [(group["by"], len(group["data"]), group["at"]) for group in groups] == [
        ("session", 1, 0),
        ("time", 1, 0),
    ]
    async with client.get("/events/none/context") as response:
        assert response.status == 404
    async with client.get("/events/only/context?by=weather") as response:
        assert response.status == 422


async def test_the_daemons_own_events_stand_among_their_own(station: Station, client: TestClient) -> None:
    """They are neighbours of each other, and left out around an application's event."""
    station.write("app.log", [event(eventId="a"), event(eventId="b")])
    station.write("self.jsonl", [event(eventId="own", timestamp="2026-06-01T11:00:00Z")], internal=True)
    async with client.get("/events/a/context?by=time") as response:
        ids = [row["eventId"] for row in (await response.json())["data"]["groups"][0]["data"]]
    assert ids == ["b", "a"]
    async with client.get("/events/own/context?by=time") as response:
        ids = [row["eventId"] for row in (await response.json())["data"]["groups"][0]["data"]]
    assert {"own", "a", "b"} <= set(ids)
