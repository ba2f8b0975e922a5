"""Exports: everything a filter finds, streamed, never whole unless whole."""

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient

from storage.engine import EngineOptions
from tests.web.station import Station, event, served


def seed(station: Station, count: int, *, text: str = "An event") -> None:
    station.write(
        "app-2026-06-01.log",
        [
            event(
                eventId=f"e-{n}",
                level=("error" if n % 4 == 0 else "info"),
                description=f"{text} {n}",
                metadata={"n": n},
            )
            for n in range(count)
        ],
    )


async def test_json_is_a_bare_array_with_the_originals_file_name(
    station: Station, client: TestClient
) -> None:
    """As an attachment, with the number of events in a header."""
    seed(station, 30)
    async with client.get("/api/v1/events/export") as response:
        rows = await response.json()
        assert response.headers["Content-Disposition"] == 'attachment; filename="events-20260601.json"'
        assert response.headers["X-Total-Count"] == "30"
        assert response.headers["Content-Type"] == "application/json"
    assert len({row["eventId"] for row in rows}) == 30
    async with client.get("/api/v1/events?limit=500") as response:
        assert (await response.json())["data"] == rows


async def test_an_empty_export_is_an_empty_array(client: TestClient) -> None:
    """And not an empty body."""
    async with client.get("/events/export") as response:
        assert await response.json() == []
        assert response.headers["X-Total-Count"] == "0"


async def test_ndjson_is_one_event_a_line(station: Station, client: TestClient) -> None:
    """With exactly the list's filters, and `limit` only where given."""
    seed(station, 1000)
    async with client.get("/events/export?format=ndjson&level=error") as response:
        lines = (await response.text()).splitlines()
        assert response.content_type == "application/x-ndjson"
    assert len(lines) == 250
    assert {json.loads(line)["level"] for line in lines} == {"error"}
    async with client.get("/events/export?format=ndjson&limit=7") as response:
        assert response.headers["X-Total-Count"] == "7"
        assert len((await response.text()).splitlines()) == 7


async def test_csv_neutralises_formulas(station: Station, client: TestClient) -> None:
    """A cell that a spreadsheet would run begins with an apostrophe; nested values are JSON."""
    station.write(
        "a.log",
        [
            event(
                eventId="f",
                description='=HYPERLINK("http://evil","x")',
                user={"id": 1, "username": "@SUM(A1)"},
            ),
            event(eventId="g", description='with "quotes", commas\nand lines', metadata={"a": 1}),
        ],
    )
    async with client.get("/events/export?format=csv") as response:
        text = await response.text()
        assert response.content_type == "text/csv"
    rows = {row["eventId"]: row for row in csv.DictReader(io.StringIO(text))}
    assert rows["f"]["description"].startswith("'=")
    assert rows["g"]["description"] == 'with "quotes", commas\nand lines'
    assert json.loads(rows["g"]["metadata"]) == {"a": 1}


async def test_head_tells_the_number_without_sending(station: Station, client: TestClient) -> None:
    """So that a client can ask how much it would be; nothing is exported, so nothing is recorded."""
    seed(station, 10)
    async with client.head("/events/export?format=csv") as response:
        assert response.headers["X-Total-Count"] == "10"
        assert await response.read() == b""
    assert not [entry for entry in station.audited if entry["action"] == "export"]


async def test_a_failed_export_never_looks_whole(
    station: Station, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of the archive has gone bad: the connection is cut in the middle, and every HTTP client reports that."""
    older = seal_two_days(station)
    whole = await asyncio.to_thread(older.read_bytes)
    for form in ("json", "ndjson", "csv"):
        async with client.get(f"/events/export?format={form}") as response:
            assert response.status == 200
            # Rows are read in blocks of 20,480, and the newer day fills the first: the older one comes later.
            await response.content.readany()
            await asyncio.to_thread(damage, older, len(whole))
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        await asyncio.to_thread(older.write_bytes, whole)
    assert caplog.text.count("was cut off") == 3
    async with client.get("/events/export?format=csv") as response:
        assert len((await response.read()).splitlines()) == 35_001


def seal_two_days(station: Station) -> Path:
    """Archive two days and return the file of the older one, made writable."""
    for day, rows in (("2026-05-30", 2_000), ("2026-05-31", 33_000)):
        lines = [
            event(eventId=f"{day}-{n}", timestamp=f"{day}T10:00:00Z", description="x" * 300)
            for n in range(rows)
        ]
        station.write("app.log", lines)
    station.archive.commit()
    station.archive.seal()
    older = Path(station.archive.snapshot.root, min(file.path for file in station.archive.snapshot.events))
    older.chmod(0o640)
    return older


def damage(path: Path, size: int) -> None:
    """Overwrite the first half of a Parquet file: its rows cannot be read, its footer can."""
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"\xff" * (size // 2))


async def test_a_reader_that_leaves_frees_its_place(station: Station) -> None:
    """The query stops with its client: with one place for exports, the next export runs at once."""
    from types import MappingProxyType

    from storage.engine import Places

    seed(station, 20_000, text="x" * 300)
    places: Any = MappingProxyType(
        {"interactive": Places(2, 8), "statistics": Places(1, 8), "export": Places(running=1, waiting=0)}
    )
    async with served(station, engine=EngineOptions(places=places)) as client:
        plain = {"Accept-Encoding": "identity"}  # compressed it would fit into the buffers between us
        response = await client.get("/events/export?format=ndjson", headers=plain)
        await response.content.readany()
        async with client.get("/events/export") as second:
            assert second.status == 429
            assert int(second.headers["Retry-After"]) >= 1
        response.close()
        for _ in range(100):
            async with client.get("/events/export?format=ndjson&limit=5") as third:
                if third.status == 200:
                    assert len((await third.text()).splitlines()) == 5
                    break
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the place was never freed")


async def test_a_slow_reader_holds_the_export_back(station: Station, client: TestClient) -> None:
    """While nobody reads, no more than some buffers are produced; then everything still arrives."""
    seed(station, 20_000, text="x" * 300)
    plain = {"Accept-Encoding": "identity"}
    async with client.get("/events/export?format=ndjson", headers=plain) as response:
        await asyncio.sleep(0.5)
        async with client.get("/health/live") as other:
            assert other.status == 200
        lines = 0
        async for data in response.content.iter_any():
            lines += data.count(b"\n")
    assert lines == 20_000
