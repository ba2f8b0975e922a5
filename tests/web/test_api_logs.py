"""Raw lines, sources, rejects, status and health."""

import json
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient

from tests.web.station import Station, event


async def get(client: TestClient, path: str, status: int = 200) -> Any:
    async with client.get(path) as response:
        body = await response.json(content_type=None)
        assert response.status == status, body
        return body


async def test_the_lines_of_a_day_come_newest_last(station: Station, client: TestClient) -> None:
    """Parsed objects in `data` as in the original, the raw lines and their places beside them."""
    lines = [event(eventId=f"e-{n}", timestamp=f"2026-06-01T10:00:{n:02}Z", level="WARN") for n in range(20)]
    station.write("app-2026-06-01.log", [*lines, b"not json at all"])
    body = await get(client, "/api/v1/logs?date=2026-06-01&lines=5")
    assert (body["success"], body["error"], body["lines_count"]) == (True, None, 5)
    assert body["file"] == "app-2026-06-01.log"
    assert [entry.get("eventId") for entry in body["data"][:4]] == ["e-16", "e-17", "e-18", "e-19"]
    assert body["data"][4] == {"raw": "not json at all"}
    assert json.loads(body["lines"][0]["raw"]) == lines[16]
    assert body["lines"][0]["level"] == "warning"
    assert body["lines"][0]["timestamp"].startswith("2026-06-01T10:00:16")


async def test_next_leads_through_the_whole_day(station: Station, client: TestClient) -> None:
    """Every line once, also over several files and while lines come in."""
    for name, minute in (("a", 0), ("b", 1)):
        station.write(
            f"{name}-2026-06-01.log",
            [
                event(eventId=f"{name}-{n}", timestamp=f"2026-06-01T10:{2 * n + minute:02}:00Z")
                for n in range(25)
            ],
        )
    pages: list[list[str]] = []
    cursor = ""
    while True:
        body = await get(client, f"/logs?date=2026-06-01&lines=7{cursor}")
        pages.insert(0, [entry["eventId"] for entry in body["data"]])
        station.write("a-2026-06-01.log", [event(eventId="late")])
        if body["next"] is None:
            break
        cursor = f"&cursor={body['next']}"
    expected = [f"{name}-{n}" for n in range(25) for name in ("a", "b")]
    assert [row for page in pages for row in page] == expected


async def test_a_day_without_a_file_is_a_success_that_says_so(station: Station, client: TestClient) -> None:
    """200 with `success: false` and `error`, as in the original."""
    station.write("app-2026-06-01.log", [event()])
    body = await get(client, "/logs?date=2020-01-01")
    assert (body["success"], body["data"]) == (False, [])
    assert body["error"] == "there is no log file for 2020-01-01"
    other = await get(client, "/logs?date=2026-06-01&source=elsewhere.log")
    assert other["error"] == "there is no log file of this source for 2026-06-01"
    assert (await get(client, "/logs"))["success"] is True


async def test_one_source_can_be_chosen_by_id_or_file_but_never_by_path(
    station: Station, client: TestClient
) -> None:
    """A path from a client is only ever compared with the listing."""
    station.write("a-2026-06-01.log", [event(eventId="a")])
    station.write("b-2026-06-01.log", [event(eventId="b")])
    by_file = await get(client, "/logs?source=b-2026-06-01.log")
    assert [entry["eventId"] for entry in by_file["data"]] == ["b"]
    sid = by_file["lines"][0]["source"]
    assert (await get(client, f"/logs?source={sid}"))["data"] == by_file["data"]
    for path in ("/etc/passwd", "../archive/nodes/main/lock", str(station.logs / "b-2026-06-01.log")):
        async with client.get("/logs", params={"source": path}) as response:
            assert (await response.json())["success"] is False


async def test_a_file_that_became_a_link_shows_nothing(
    station: Station, client: TestClient, tmp_path: Path
) -> None:
    """Somebody who may write into the directory cannot show what the daemon may read elsewhere."""
    station.write("a-2026-06-01.log", [event()])
    (tmp_path / "secret").write_text('{"eventId":"secret"}\n')
    (station.logs / "a-2026-06-01.log").unlink()
    (station.logs / "a-2026-06-01.log").symlink_to(tmp_path / "secret")
    assert (await get(client, "/logs?date=2026-06-01"))["success"] is False


async def test_lines_are_redacted_like_events(station: Station, client: TestClient) -> None:
    """A secret in a line is shown neither raw nor parsed."""
    station.write("a-2026-06-01.log", [event(metadata={"password": "hunter2-hunter2"})])
    async with client.get("/logs?date=2026-06-01") as response:
        text = await response.text()
    assert "hunter2" not in text
    assert "[redacted]" in text


async def test_the_daemons_own_lines_are_shown_only_by_name(station: Station, client: TestClient) -> None:
    """Like its events in the lists."""
    station.write("a-2026-06-01.log", [event(eventId="a")])
    station.write("self.jsonl", [event(eventId="own")], internal=True)
    body = await get(client, "/logs?date=2026-06-01")
    assert body["files"] == ["a-2026-06-01.log"]


async def test_unchanged_files_are_304(station: Station, client: TestClient) -> None:
    """A poll reads nothing when nothing was written."""
    station.write("a-2026-06-01.log", [event()])
    async with client.get("/logs?date=2026-06-01") as response:
        tag = response.headers["ETag"]
    async with client.get("/logs?date=2026-06-01", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    station.write("a-2026-06-01.log", [event()])
    async with client.get("/logs?date=2026-06-01", headers={"If-None-Match": tag}) as response:
        assert response.status == 200


async def test_sources_say_how_far_they_are_read(station: Station, client: TestClient) -> None:
    """Size, offsets, lag and what became of the lines; after a commit the offset is durable."""
    station.write("a-2026-06-01.log", [event(), b"broken"])
    station.archive.commit()
    row = (await get(client, "/logs/files"))["data"][0]
    assert row["path"] == "a-2026-06-01.log"
    assert row["size"] == row["offset_read"] == row["offset_committed"] > 0
    assert (row["lag_bytes"], row["lines"], row["events"], row["rejects"]) == (0, 2, 1, 1)


async def test_rejects_say_where_and_why(station: Station, client: TestClient) -> None:
    """Newest first, a cursor to the next page, and the raw text."""
    station.write("a.log", [event(), b"broken 0", b"[1, 2]", b'{"cut":'])
    page = await get(client, "/api/v1/rejects?limit=2")
    assert (page["total"], len(page["data"])) == (3, 2)
    assert page["data"][0]["raw"] == '{"cut":'
    assert page["data"][0]["file"] == "a.log"
    assert page["data"][0]["reason"]
    rest = await get(client, f"/rejects?limit=2&cursor={page['next']}")
    assert [row["raw"] for row in rest["data"]] == ["broken 0"]
    assert rest["next"] is None
    assert (await get(client, "/rejects?source=none.log"))["total"] == 0


async def test_status_says_what_the_archive_holds(station: Station, client: TestClient) -> None:
    """Seqs of the API, the view and the glob; rows with the daemon's own, events without."""
    station.write("a.log", [event(), event(eventId="e-2", timestamp="2026-06-01T11:30:00Z")])
    station.write("self.jsonl", [event()], internal=True)
    body = await get(client, "/status")
    assert (body["events"], body["rows"], body["seq"]) == (2, 3, 3)
    assert body["oldest"] == "2026-06-01T11:00:00Z"
    assert body["newest"].startswith("2026-06-01T11:30:00")
    assert body["node"] == "main"
    assert {row["path"] for row in body["sources"]} == {"a.log", "self.jsonl"}
    assert str(station.logs) not in json.dumps(body)


async def test_readiness_says_why_not(station: Station, client: TestClient) -> None:
    """503 with the reason; liveness does not depend on it."""
    assert await get(client, "/health/ready") == {"status": "ready", "degraded": []}
    station.reason = "the disk is full"
    body = await get(client, "/health/ready", status=503)
    assert body["detail"] == "the disk is full"
    assert await get(client, "/health/live") == {"status": "live"}


async def test_metrics_are_prometheus_text(client: TestClient) -> None:
    """In the format's own content type."""
    async with client.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert "station_sources 1.0" in await response.text()
