"""`/users/{user_id}` and `/entities/{type}/{id}`: one subject, with the figures that lists and statistics have for it."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from aiohttp.test_utils import TestClient
from yarl import URL

from tests.web.station import Station, event


def lines(station: Station) -> None:
    """Write events of three users about five things over some days: sealed, live and hot."""
    rows = [
        event(
            eventId=f"e-{n}",
            timestamp=f"2026-05-{20 + n % 12:02d}T{n % 24:02d}:30:00Z",
            level=("error" if n % 5 == 0 else "info"),
            user=[{"id": 1, "username": "ann"}, {"username": "bob"}, {"id": "x/y z", "username": "eve"}][
                n % 3
            ],
            entity={"type": "invoice", "id": str(n % 5)},
            request={"ip": f"10.0.0.{n % 4}", "userAgent": f"agent-{n % 2}"},
            location={"country": ["DE", "FR"][n % 2]},
            riskScore=n % 101,
        )
        for n in range(150)
    ]
    station.write("app.log", rows[:60])
    station.archive.commit()
    station.archive.seal()
    station.write("app.log", rows[60:100])
    station.archive.commit()
    station.write("app.log", rows[100:])


async def json_of(client: TestClient, address: str) -> Any:
    async with client.get(address) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def check(client: TestClient, address: str, query: str, rows: list[dict[str, Any]]) -> None:
    """Compare a profile with the list and the statistics of the same filter, and with a count by hand."""
    found = await json_of(client, f"{address}?hours=8760&tz=Europe/Berlin&limit=7")
    data = found["data"]
    figures = await json_of(client, f"/events/statistics?hours=8760&tz=Europe/Berlin&{query}")
    for name in (
        "byLevel",
        "byCategory",
        "byAction",
        "byOutcome",
        "byCountry",
        "topIps",
        "topEntities",
        "topUsers",
    ):
        assert data[name] == figures[name], name
    assert data["totals"] == figures["totals"]
    assert data["totals"]["events"] == len(rows)
    assert (data["firstSeen"], data["lastSeen"]) == (rows[-1]["timestamp"], rows[0]["timestamp"])
    scores = [row["riskScore"] for row in rows]
    assert data["risk"]["max"] == max(scores)
    assert data["risk"]["mean"] == round(sum(scores) / len(scores), 1)
    assert sum(data["risk"]["byBand"].values()) == len(rows)
    assert data["risk"]["high"] == [row for row in rows if row["riskScore"] > 70][:10]
    agents = {row["request"]["userAgent"] for row in rows}
    assert {item["userAgent"] for item in data["devices"]} == agents
    assert sum(item["eventCount"] for item in data["devices"]) == len(rows)
    assert sum(bucket["events"] for bucket in data["series"]) == len(rows)
    hours = [[0] * 24 for _ in range(7)]
    for row in rows:
        at = datetime.fromisoformat(row["timestamp"])
        hours[(at.weekday() + (at.hour + 2) // 24) % 7][(at.hour + 2) % 24] += 1  # Berlin's summer
    assert data["heatmap"]["events"] == hours
    seen = list(data["timeline"]["data"])
    link = data["timeline"]["link"]
    while link is not None:
        async with client.get(link) as response:
            page = await response.json()
            seen += page["data"]
            link = URL(str(response.links["next"]["url"])).raw_path_qs if page["next"] else None
    assert seen == rows
    assert datetime.fromisoformat(data["timeRange"]["end"]).tzinfo == UTC


async def test_a_profile_has_the_figures_of_its_list(station: Station, client: TestClient) -> None:
    """By id, by name where there is no id, and of things; the timeline goes on in the list."""
    lines(station)
    everything = (await json_of(client, "/events?limit=500"))["data"]
    own = {
        "1": [row for row in everything if row["user"].get("id") == 1],
        "name:bob": [row for row in everything if row["user"]["username"] == "bob"],
        "x/y z": [row for row in everything if row["user"].get("id") == "x/y z"],
    }
    for key, rows in own.items():
        name = "username=bob" if key.startswith("name:") else f"user_id={quote(key, safe='')}"
        await check(client, f"/api/v1/users/{quote(key, safe='')}", name, rows)
    rows = [row for row in everything if row["entity"]["id"] == "3"]
    await check(client, "/entities/invoice/3", "entity_type=invoice&entity_id=3", rows)


async def test_a_range_and_filters_narrow_the_figures_and_not_since_when_it_is_known(
    station: Station, client: TestClient
) -> None:
    """First and last seen are of the whole archive; a range without an event is no 404."""
    lines(station)
    data = (await json_of(client, "/users/1?start_date=2026-05-25&end_date=2026-05-26&level=error"))["data"]
    listed = await json_of(client, "/events?user_id=1&start_date=2026-05-25&end_date=2026-05-26&level=error")
    assert data["totals"]["events"] == listed["total"]
    assert data["timeline"]["data"] == listed["data"]
    assert data["firstSeen"] < "2026-05-25"
    nothing = (await json_of(client, "/users/1?start_date=2020-01-01&end_date=2020-01-02"))["data"]
    assert nothing["totals"] == {"events": 0, "users": 0}
    assert nothing["risk"]["mean"] is None
    assert nothing["firstSeen"] == data["firstSeen"]


async def test_who_was_never_seen_is_404(station: Station, client: TestClient) -> None:
    """And not a page of zeros."""
    lines(station)
    for address in ("/users/9", "/users/name:nobody", "/entities/invoice/99", "/entities/order/3"):
        async with client.get(address) as response:
            assert response.status == 404, address


async def test_what_is_no_address_is_refused_with_a_hint(client: TestClient) -> None:
    """It is part of the path, and a mistake all the same."""
    async with client.get("/addresses/nowhere") as response:
        told = await response.json()
    assert response.status == 422
    assert told["errors"][0]["loc"] == ["path", "ip"]
    assert "neither an address nor a network" in told["detail"]


async def test_looking_at_somebody_is_recorded_with_whom(station: Station, client: TestClient) -> None:
    """Two people are two records, and the same one again is none; so that each can ask who looked."""
    lines(station)
    for address in ("/users/1", "/users/name:bob", "/api/v1/users/1", "/entities/invoice/3"):
        await json_of(client, address)
    looked = [entry["entity"] for entry in station.audited if entry["metadata"]["view"] in {"user", "entity"}]
    assert [(entity["type"], entity["id"]) for entity in looked] == [
        ("user", "1"),
        ("user", "bob"),
        ("http", "/entities/invoice/3"),
    ]
