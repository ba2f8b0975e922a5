"""The whole path on real traffic: people use an application, it logs, a real daemon archives, HTTP answers."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import duckdb
import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.support import ROOT
from watchkeep_client import enhanced_logger
from watchkeep_demo.runner import settled
from watchkeep_demo.server import Folders, Server
from watchkeep_demo.traffic import application, visitors

TRAFFIC_SECONDS = 4.0
PACE = 25.0  # times as fast as people
Event = dict[str, Any]

# One daemon and one stretch of traffic serve all questions below.
on_the_same_loop = pytest.mark.asyncio(loop_scope="module")


class Ran:
    """A daemon after some traffic, what the application wrote, and ways to ask."""

    def __init__(self, server: Server, folders: Folders, http: ClientSession) -> None:
        self.server = server
        self.folders = folders
        self.http = http
        self.lines = [
            json.loads(line)
            for path in sorted(folders.logs.glob("*.jsonl"))
            for line in path.read_bytes().splitlines()
        ]

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a GET that must succeed."""
        address = f"{self.server.address}/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
        async with self.http.get(address) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def everything(self) -> list[Event]:
        """Walk all pages, newest first, by cursor."""
        found: list[Event] = []
        page = await self.get("/events", limit=200)
        while True:
            found += page["data"]
            if not page.get("next"):
                return found
            page = await self.get("/events", limit=200, cursor=page["next"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ran(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ran]:
    folders = Folders(tmp_path_factory.mktemp("end-to-end") / "demo")
    folders.prepare()
    server = await Server.start(folders, 0)
    try:
        async with application(folders.logs) as address, visitors(address, PACE):
            await asyncio.sleep(TRAFFIC_SECONDS)
        found, written = await settled(server, folders)
        assert found == written > 200
        assert enhanced_logger.stats.dropped == 0
        async with ClientSession() as http:
            ran = Ran(server, folders, http)
            yield ran
            server = ran.server  # a test may have started another one
    finally:
        await server.stop()


@on_the_same_loop
async def test_every_line_comes_back_as_the_event_it_was(ran: Ran) -> None:
    """Each line is one event, each event a line: same ids, same people, same words, newest first."""
    events = await ran.everything()
    assert Counter(event["eventId"] for event in events) == Counter(line["eventId"] for line in ran.lines)
    by_id = {line["eventId"]: line for line in ran.lines}
    for event in events:
        line = by_id[event["eventId"]]
        for key in (
            "correlationId",
            "level",
            "category",
            "action",
            "description",
            "sessionId",
            "traceId",
            "tags",
        ):
            assert (event.get(key) or None) == line.get(key), key
        assert (event.get("user") or {}).get("username") == (line.get("user") or {}).get("username")
        assert (event.get("user") or {}).get("id") == (line.get("user") or {}).get("id")
        given = line.get("request") or {}
        assert {key: event["request"].get(key) for key in given} == given if given else True
        assert (event.get("metadata") or {}) == (line.get("metadata") or {})
        assert event.get("changes") == line.get("changes")
        assert event["system"] == line["system"]
    keys = [(datetime.fromisoformat(event["timestamp"]), event["seq"]) for event in events]
    assert keys == sorted(keys, reverse=True)
    assert len({(event["source"]["id"], event["source"]["offset"]) for event in events}) == len(events)


@on_the_same_loop
async def test_filters_and_statistics_agree_with_the_lines(ran: Ran) -> None:
    """Counted from the files and asked over HTTP, every level, category, person and address has the same number."""
    for field, path in (
        ("level", ("level",)),
        ("category", ("category",)),
        ("action", ("action",)),
        ("ip", ("request", "ip")),
    ):
        for value, count in Counter(_at(line, path) for line in ran.lines).items():
            if value is not None:
                assert (await ran.get("/events", limit=1, **{field: value}))["total"] == count, (field, value)
    people = Counter(_at(line, ("user", "username")) for line in ran.lines)
    del people[None]
    statistics = await ran.get("/events/statistics", hours=24)
    assert statistics["totals"] == {"events": len(ran.lines), "users": len(people)}
    assert {level: count for level, count in statistics["byLevel"].items() if count} == Counter(
        line["level"] for line in ran.lines
    )
    assert {user["username"]: user["eventCount"] for user in statistics["topUsers"]} == dict(
        people.most_common(10)
    )
    assert statistics["byCategory"]["authentication"] == sum(
        line["category"] == "authentication" for line in ran.lines
    )


@on_the_same_loop
async def test_those_who_mean_no_good_can_be_found(ran: Ran) -> None:
    """Wrong passwords, a locked account, refused admin pages and scanned paths are in the archive as such."""
    guessed = await ran.get("/events", category="authentication", outcome="failure", ip="192.0.2.77")
    assert {event["user"]["username"] for event in guessed["data"]} == {"bob"}
    scanned = await ran.get("/events", ip="192.0.2.99", status_code=404, limit=100)
    assert {event["request"]["path"] for event in scanned["data"]} & {"/.env", "/wp-login.php", "/backup.sql"}
    refused = await ran.get("/events", username="mallory", outcome="denied")
    assert refused["total"] > 0
    locked = await ran.get("/events", search_query="locked after", min_risk=71)
    assert locked["data"][0]["riskScore"] == 75


@on_the_same_loop
async def test_no_secret_reached_a_line_or_an_answer(ran: Ran) -> None:
    """Neither passwords nor session cookies are in the files or the export."""
    async with ran.http.get(f"{ran.server.address}/api/v1/events/export?format=json") as answer:
        exported = await answer.text()
    assert len(json.loads(exported)) == len(ran.lines)
    written = "".join(path.read_text() for path in ran.folders.logs.glob("*.jsonl"))
    for secret in ("correct horse", "battery staple", "tape-17-reel", "session_id="):
        assert secret not in exported
        assert secret not in written


@on_the_same_loop
async def test_the_archive_says_the_same_after_a_restart_and_to_outside_readers(ran: Ran) -> None:
    """Stopped by SIGTERM within its time, started again: same events, same order; the files alone hold them too."""
    before = await ran.everything()
    assert await ran.server.stop() == 0
    with duckdb.connect(str(ran.folders.archive / "watchkeep.duckdb"), read_only=True) as connection:
        connection.execute(f"SET file_search_path = '{ran.folders.archive}'")
        rows = connection.execute(
            "SELECT event_id FROM events WHERE NOT internal ORDER BY timestamp DESC, seq DESC"
        )
        assert [row[0] for row in rows.fetchall()] == [event["eventId"] for event in before]
    ran.server = await Server.start(ran.folders, 0)
    assert await ran.everything() == before
    one = before[len(before) // 2]
    assert (await ran.get(f"/events/{quote(one['eventId'])}"))["data"] == one


def demo(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    folder = str(tmp_path / "demo")
    return subprocess.Popen(
        [sys.executable, str(ROOT / "watchkeep.py"), "demo", "--folder", folder, "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_demonstration_stops_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    """It prints the dashboard's address, which answers; after Ctrl-C nothing of it is left running."""
    process = demo(tmp_path)
    try:
        assert process.stdout is not None
        address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert address is not None, process.communicate(timeout=30)
        with urllib.request.urlopen(address.group(), timeout=10) as page:
            assert page.headers["Content-Type"].startswith("text/html")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=40)
        assert process.returncode == 0, err
        assert "daemon stopped with code 0" in out
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(address.group(), timeout=5)
    finally:
        process.kill()
        process.communicate()


def test_the_demonstration_never_empties_a_folder_it_did_not_make(tmp_path: Path) -> None:
    """A wrong --folder must not cost anybody's files."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("five years")
    process = demo(tmp_path, "--seconds", "1")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "somebody else" in err
    assert (tmp_path / "demo" / "thesis.txt").read_text() == "five years"


def _at(line: Event, path: tuple[str, ...]) -> Any:
    found: Any = line
    for key in path:
        found = (found or {}).get(key)
    return found
