"""What Watchkeep records about its own readers."""

from aiohttp.test_utils import TestClient

from tests.web.station import Station, event, served
from web.audit import COALESCE_US


async def test_a_page_that_polls_leaves_one_event(station: Station, client: TestClient) -> None:
    """Reads are coalesced by caller, view and query; the next one says how many went unrecorded."""
    station.write("a.log", [event()])
    for _ in range(5):
        async with client.get("/events?limit=10") as response:
            assert response.status == 200
    reads = [entry for entry in station.audited if entry["action"] == "read"]
    assert [(r["metadata"]["view"], r["metadata"]["query"]) for r in reads] == [("events", "limit=10")]
    assert reads[0]["user"] == {"id": "local", "username": "local"}
    assert reads[0]["request"]["ip"] == "127.0.0.1"
    async with client.get("/events?limit=11") as response:
        assert response.status == 200
    station.now_us += COALESCE_US
    async with client.get("/events?limit=10") as response:
        assert response.status == 200
    reads = [entry for entry in station.audited if entry["action"] == "read"]
    assert [r["metadata"]["repeats_before"] for r in reads] == [0, 0, 4]


async def test_the_record_is_an_event_of_the_archive(station: Station, client: TestClient) -> None:
    """Found by `internal=only`, and not among the applications' events."""
    station.write("a.log", [event()])
    async with client.get("/events") as response:
        assert (await response.json())["total"] == 1
    async with client.get("/events?internal=only&action=read") as response:
        row = (await response.json())["data"][0]
    assert row["internal"] is True
    assert row["metadata"]["view"] == "events"
    assert row["category"] == "data_management"


async def test_every_export_is_recorded_before_it_begins(station: Station, client: TestClient) -> None:
    """Each one, not coalesced."""
    station.write("a.log", [event(), event(eventId="e-2")])
    for _ in range(2):
        async with client.get("/events/export?format=csv&level=info") as response:
            await response.read()
    exports = [entry for entry in station.audited if entry["action"] == "export"]
    assert [entry["metadata"]["rows"] for entry in exports] == [2, 2]
    assert exports[0]["metadata"]["query"] == "format=csv&level=info"


async def test_an_export_that_cannot_be_recorded_does_not_happen(
    station: Station, client: TestClient
) -> None:
    """No trace, no export; plain reading goes on, because a full disk must not blind the people who look."""
    station.write("a.log", [event(description="the content")])

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    station.audit = refuse  # type: ignore[method-assign]
    async with client.get("/events/export") as response:
        assert response.status == 500
        assert "the content" not in await response.text()
    async with client.get("/events") as response:
        assert response.status == 200


async def test_a_flood_of_refusals_leaves_one_event(station: Station) -> None:
    """Somebody who hammers a closed door cannot fill the archive."""
    async with served(station) as client:
        for n in range(20):
            async with client.get(f"/events?limit={n}", headers={"Host": "evil.example"}) as response:
                assert response.status == 421
    assert len([entry for entry in station.audited if entry["outcome"] == "denied"]) == 1
