"""Retention over HTTP: what would go, what went, and who may."""

from typing import Any

from aiohttp.test_utils import TestClient

from storage.query import Filter
from tests.web.station import DAY_US, Station, event


async def delete(client: TestClient, query: str) -> Any:
    async with client.delete(f"/api/v1/events/cleanup{query}") as response:
        body = await response.json(content_type=None)
        assert response.status == 200, body
        return body


def seed(station: Station) -> None:
    for day in ("2026-01-10", "2026-01-11", "2026-05-31"):
        station.write(
            "a.log", [event(eventId=f"{day}-{n}", timestamp=f"{day}T10:00:0{n}Z") for n in range(4)]
        )
    station.archive.commit()
    station.archive.seal()


async def test_a_dry_run_is_the_default_and_removes_nothing(station: Station, client: TestClient) -> None:
    """The original's message and members; days, files, rows and bytes beside them."""
    seed(station)
    body = await delete(client, "?days=90")
    assert body["message"] == "Would delete 8 events older than 90 days"
    data = body["data"]
    assert data["cutoff_date"] == "2026-03-03T00:00:00Z"
    assert (data["events_count"], data["deleted_count"], data["dry_run"]) == (8, 0, True)
    assert [day["day"] for day in data["days"]] == ["2026-01-10", "2026-01-11"]
    assert data["bytes"] > 0
    assert data["classes"]["default"]["rows"] == 8
    assert data["kept"] == []
    async with client.get("/events") as response:
        assert (await response.json())["total"] == 12
    assert not [entry for entry in station.audited if entry["action"] == "delete"]


async def test_booleans_are_read_in_any_case(station: Station, client: TestClient) -> None:
    """A program in Python sends `False`, as it did to the original."""
    seed(station)
    assert (await delete(client, "?dry_run=True"))["data"]["dry_run"] is True
    assert (await delete(client, "?dry_run=False"))["data"]["deleted_count"] == 8


async def test_a_real_run_removes_whole_days_and_is_recorded(station: Station, client: TestClient) -> None:
    """The record stands before the removal, in the archive itself, and polls see the change."""
    seed(station)
    async with client.get("/events") as response:
        tag = response.headers["ETag"]
    body = await delete(client, "?days=90&dry_run=false")
    assert body["message"] == "Deleted 8 events older than 90 days"
    assert body["data"]["deleted_count"] == 8
    async with client.get("/events", headers={"If-None-Match": tag}) as response:
        assert response.status == 200
        assert (await response.json())["total"] == 4
    record = next(entry for entry in station.audited if entry["action"] == "delete")
    assert record["metadata"]["events_count"] == 8
    assert record["level"] == "warning"
    again = (await delete(client, "?days=90&dry_run=false"))["data"]
    assert (again["deleted_count"], again["dry_run"]) == (0, False)
    station.now_us += DAY_US
    assert (await delete(client, ""))["data"]["events_count"] == 0


async def test_this_week_cannot_be_removed(station: Station, client: TestClient) -> None:
    """`days` is 7 to 365."""
    for days in ("6", "0", "-1", "366", "x"):
        async with client.delete("/events/cleanup", params={"days": days, "dry_run": "false"}) as response:
            assert response.status == 422


async def test_what_a_hold_keeps_is_told_and_stays(station: Station, client: TestClient) -> None:
    """Also when the removal is real: the answer says what stayed and why."""
    seed(station)
    station.archive.keeping.add_hold(
        "case", Filter.of({"event_id": ["2026-01-10-0"]}), reason="a case", author="ann"
    )
    data = (await delete(client, "?days=90&dry_run=false"))["data"]
    assert [day["day"] for day in data["days"]] == ["2026-01-11"]
    assert [(kept["day"], kept["rows"], kept["reason"]) for kept in data["kept"]] == [
        ("2026-01-10", 4, "hold case")
    ]
    async with client.get("/events") as response:
        assert (await response.json())["total"] == 8


async def test_one_person_s_events_can_be_asked_for(station: Station, client: TestClient) -> None:
    """`subject` is a filter like the others: by them, or about them."""
    station.write(
        "a.log",
        [
            event(eventId="by", user={"id": 42, "username": "ann"}),
            event(eventId="about", metadata={"target_user_id": 42}),
            event(eventId="other", user={"id": 7, "username": "bob"}),
        ],
    )
    async with client.get("/events", params={"subject": "42"}) as response:
        assert {row["eventId"] for row in (await response.json())["data"]} == {"by", "about"}
    async with client.get("/events/statistics", params={"subject": "42", "hours": "8760"}) as response:
        assert (await response.json())["totals"]["events"] == 2
