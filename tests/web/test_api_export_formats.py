"""Exports as Parquet and Arrow, compressed, in parts, with some fields only: always the same events as the list."""

import asyncio
import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp.test_utils import TestClient

from parsers.columns import EVENT_SCHEMA
from storage import blocks, columnar, packing
from tests.web.station import Station, event, served
from web.keys import WebOptions
from web.status import HTTP_STALLED

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EXPORT = "/api/v1/events/export"


def seed(station: Station, count: int, *, start: int = 0, text: str = "An event") -> None:
    lines = [
        event(
            eventId=f"e-{n}",
            level="error" if n % 4 == 0 else "info",
            timestamp=f"2026-06-01T{n % 7:02}:{n % 60:02}:00Z",
            user={"id": n % 5, "username": f"user-{n % 5}"},
            description=f"{text} {n}",
            metadata={"n": n},
        )
        for n in range(start, start + count)
    ]
    station.write("app-2026-06-01.log", lines)


async def fetched(client: TestClient, query: str, **headers: str) -> bytes:
    plain = {"Accept-Encoding": "identity", **headers}
    async with client.get(f"{EXPORT}?{query}", headers=plain, auto_decompress=False) as response:
        assert response.status in {200, 206}, await response.text()
        return await response.read()


async def listed(client: TestClient, query: str = "") -> list[dict[str, Any]]:
    async with client.get(f"/api/v1/events?limit=500&{query}") as response:
        rows: list[dict[str, Any]] = (await response.json())["data"]
    return rows


async def test_parquet_and_arrow_hold_the_list_with_the_archives_columns(
    station: Station, client: TestClient, tmp_path: Path
) -> None:
    """In the list's order, committed rows and hot ones, for pyarrow and for DuckDB."""
    seed(station, 300)
    await asyncio.to_thread(station.archive.commit)
    seed(station, 100, start=300)
    expected = [row["eventId"] for row in await listed(client, "level=error")]
    assert len(expected) == 100
    whole = await fetched(client, "format=parquet&level=error")
    table = pq.read_table(io.BytesIO(whole))
    assert table.schema.remove_metadata() == EVENT_SCHEMA
    assert table["event_id"].to_pylist() == expected
    file = tmp_path / "events.parquet"
    await asyncio.to_thread(file.write_bytes, whole)
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT event_id, metadata, timestamp::VARCHAR FROM '{file}'").fetchall()
    assert [row[0] for row in rows] == expected
    stream = pa.ipc.open_stream(await fetched(client, "format=arrow&level=error")).read_all()
    assert stream.equals(table.replace_schema_metadata(None))


async def test_the_head_says_what_comes(station: Station, client: TestClient) -> None:
    """Media type, file name and number of events; a Parquet file has a tag and can be fetched in parts."""
    seed(station, 12)
    async with client.head(f"{EXPORT}?format=parquet") as response:
        assert response.content_type == "application/vnd.apache.parquet"
        assert response.headers["X-Total-Count"] == "12"
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["ETag"].startswith('"')
        assert 'filename="events-20260601.parquet"' in response.headers["Content-Disposition"]
    async with client.get(f"{EXPORT}?format=arrow") as response:
        assert response.content_type == "application/vnd.apache.arrow.stream"
        assert "ETag" not in response.headers


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "arrow"])
async def test_compressed_exports_hold_the_same(station: Station, client: TestClient, form: str) -> None:
    """As files with a name of their own, and on the connection where the client says that it can."""
    seed(station, 200)
    plain = await fetched(client, f"format={form}")
    for compress, unpack, suffix in (("gzip", gzip.decompress, ".gz"), ("zstd", zstd.decompress, ".zst")):
        query = f"{EXPORT}?format={form}&compress={compress}"
        async with client.get(query, auto_decompress=False) as response:
            assert "Content-Encoding" not in response.headers
            assert response.headers["Content-Disposition"].endswith(f'.{form}{suffix}"')
            packed = await response.read()
        assert unpack(packed) == plain
        assert len(packed) < len(plain)
        accepted = {"Accept-Encoding": f"br, {compress}"}
        async with client.get(f"{EXPORT}?format={form}", headers=accepted, auto_decompress=False) as response:
            assert response.headers["Content-Encoding"] == compress
            assert response.headers["Vary"] == "Accept-Encoding"
            assert unpack(await response.read()) == plain
    refused = await fetched(client, f"format={form}", **{"Accept-Encoding": "gzip;q=0, zstd;q=0.0"})
    assert refused == plain


async def test_parquet_is_compressed_already(client: TestClient) -> None:
    """So there is nothing to choose."""
    async with client.get(f"{EXPORT}?format=parquet&compress=gzip") as response:
        assert response.status == 422
        assert (await response.json())["errors"][0]["loc"] == ["query", "compress"]


async def test_a_cut_download_goes_on_where_it_broke_off(station: Station, client: TestClient) -> None:
    """Though events came in and everything was committed and sealed meanwhile: the pieces make the first file."""
    seed(station, 200)
    await asyncio.to_thread(station.archive.commit)
    seed(station, 200, start=200)
    async with client.get(f"{EXPORT}?format=parquet") as response:
        tag = response.headers["ETag"]
        whole = await response.read()
    seed(station, 50, start=400)
    await asyncio.to_thread(station.archive.commit)
    await asyncio.to_thread(station.archive.seal)
    pieces = [whole[:1000]]
    for first, last in ((1000, 4999), (5000, None)):
        wanted = f"bytes={first}-{'' if last is None else last}"
        headers = {"Range": wanted, "If-Range": tag}
        async with client.get(f"{EXPORT}?format=parquet", headers=headers) as response:
            assert response.status == 206
            assert response.headers["ETag"] == tag
            end = len(whole) - 1 if last is None else last
            assert response.headers["Content-Range"] == f"bytes {first}-{end}/{len(whole)}"
            pieces.append(await response.read())
    assert b"".join(pieces) == whole


async def test_a_part_is_never_of_another_file(station: Station, client: TestClient) -> None:
    """A tag of another question, or none at all, gives the whole file; a snapshot in the address pins it as well."""
    seed(station, 60)
    async with client.get(f"{EXPORT}?format=parquet") as response:
        tag = response.headers["ETag"]
        whole = await response.read()
    for query, headers in (
        ("format=parquet&level=error", {"Range": "bytes=10-", "If-Range": tag}),
        ("format=parquet", {"Range": "bytes=10-"}),
        ("format=parquet", {"Range": "lines=10-", "If-Range": tag}),
        ("format=parquet", {"Range": "bytes=10-20,30-40", "If-Range": tag}),
        ("format=parquet", {"Range": "bytes=10-", "If-Range": '"5"'}),
        ("format=ndjson", {"Range": "bytes=10-", "If-Range": tag}),
    ):
        async with client.get(f"{EXPORT}?{query}", headers=headers) as response:
            assert response.status == 200, query
    snapshot = int(tag.strip('"').split(".")[0])
    seed(station, 60, start=60)
    async with client.get(
        f"{EXPORT}?format=parquet&snapshot={snapshot}", headers={"Range": "bytes=-100"}
    ) as response:
        assert response.status == 206
        assert await response.read() == whole[-100:]
    async with client.get(
        f"{EXPORT}?format=parquet", headers={"Range": "bytes=999999-", "If-Range": tag}
    ) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == f"bytes */{len(whole)}"


async def test_only_the_fields_asked_for(station: Station, client: TestClient) -> None:
    """By the Event's names or the archive's, in their order; an unknown one is refused by name."""
    seed(station, 3)
    rows = json.loads(await fetched(client, "format=json&fields=level,user.username&fields=metadata"))
    assert [list(row) for row in rows] == [["level", "user", "metadata"]] * 3
    assert rows[0]["user"].keys() == {"username"}
    text = (await fetched(client, "format=csv&fields=description,eventId")).decode()
    assert text.splitlines()[0] == "description,eventId"
    assert '"An event 2","e-2"' in text.splitlines()
    table = pq.read_table(io.BytesIO(await fetched(client, "format=parquet&fields=node,user,timestamp")))
    assert table.schema.names[0] == "node"
    assert table.schema.names[-1] == "timestamp"
    assert {"user_id", "username"} < set(table.schema.names)
    for query, hint in (("fields=levl", "level"), ("fields=node", "parquet")):
        async with client.get(f"{EXPORT}?{query}") as response:
            assert response.status == 422
            fault = (await response.json())["errors"][0]
            assert fault["loc"] == ["query", "fields"]
            assert hint in fault["hint"]


async def test_a_failed_export_never_looks_whole(
    station: Station, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of the older day is damaged: the connection is cut, and what came before it is no file of its format."""
    for name in ("BLOCK_ROWS", "KEY_ROWS"):
        monkeypatch.setattr(blocks, name, 2_048)
    monkeypatch.setattr(columnar, "GROUP_ROWS", 2_048)
    for module in (columnar, packing):
        monkeypatch.setattr(
            module, "PIECE_BYTES", 4_096
        )  # so that something is sent before the older day is reached
    for day, rows in (("2026-05-30", 1_000), ("2026-05-31", 6_000)):
        time = f"{day}T10:00:00Z"
        station.write("app.log", [event(eventId=f"{day}-{n}", timestamp=time) for n in range(rows)])
    await asyncio.to_thread(station.archive.commit)
    await asyncio.to_thread(station.archive.seal)
    older = Path(station.archive.snapshot.root, min(file.path for file in station.archive.snapshot.events))
    await asyncio.to_thread(older.chmod, 0o640)
    await asyncio.to_thread(damage, older, (await asyncio.to_thread(older.stat)).st_size)
    for query in ("format=parquet", "format=arrow", "format=csv&compress=zstd"):
        got = await received(client, query)
        assert got
        if "parquet" in query:
            with pytest.raises(pa.ArrowInvalid):
                pq.read_table(io.BytesIO(got))
        elif "zstd" in query:
            with pytest.raises((EOFError, zstd.ZstdError)):
                zstd.decompress(got)
        else:
            assert not got.endswith(b"\xff\xff\xff\xff\x00\x00\x00\x00")  # the mark of the end


async def received(client: TestClient, query: str) -> bytes:
    """Return what comes of an export before its connection is cut; it must be."""
    got = bytearray()
    async with client.get(f"{EXPORT}?{query}", headers={"Accept-Encoding": "identity"}) as response:
        assert response.status == 200
        try:
            while data := await response.content.readany():
                got += data
        except aiohttp.ClientPayloadError:
            return bytes(got)
    raise AssertionError("the export looks whole")


def damage(path: Path, size: int) -> None:
    """Overwrite the first pages of a Parquet file: its rows cannot be read, its footer can."""
    with path.open("r+b") as file:
        file.seek(4)
        file.write(b"\xff" * (size // 10))


async def test_a_reader_that_stalls_is_cut_off_and_frees_its_place(station: Station) -> None:
    """After some time without reading a byte; it is counted."""
    seed(station, 20_000, text="x" * 2_000)
    counted: list[str] = []

    class Watching:
        def count(self, name: str, amount: float = 1, **_: str) -> None:
            counted.append(name)

        def gauge(self, name: str, value: float, **_: str) -> None: ...

        def seconds(self, name: str, value: float, **_: str) -> None: ...

    options = WebOptions(static=station.logs / "no-dashboard", export_stall_seconds=0.3)
    async with served(station, options, observer=Watching()) as client:
        stalled = await client.get(f"{EXPORT}?format=ndjson", headers={"Accept-Encoding": "identity"})
        for _ in range(200):
            if HTTP_STALLED in counted:
                break
            await asyncio.sleep(0.05)
        assert HTTP_STALLED in counted
        with pytest.raises(aiohttp.ClientError):
            await stalled.read()
