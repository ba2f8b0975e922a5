"""Small parts of the daemon: its own events, its own log, its measurements, notices, upkeep."""

import asyncio
import io
import json
import logging
import os
import re
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon.discovery import Watchable
from daemon.keeping import _seconds_until
from daemon.metrics import METRICS, PREFIX, Metrics
from daemon.notify import Notifier
from daemon.ownlog import JsonFormatter, OwnLog
from daemon.queue import ReadingQueue, cost
from daemon.reading import Reading
from daemon.selflog import SelfLog, root_of
from daemon.upkeep import Upkeep
from daemon.watcher import Watcher
from parsers.batch import Chunk, Mark, Place, Source
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from tests.support import ROOT

PATIENCE_SECONDS = 20.0


async def test_an_own_event_is_one_line_in_the_file_of_its_day(tmp_path):
    """With what every event needs; the folder makes it internal, nothing in the line does."""
    moment = datetime(2026, 3, 1, 23, 59, 59, 5, tzinfo=UTC)
    log = SelfLog(str(tmp_path / "self"), node="main", version="1", clock=lambda: moment)
    await log.append({"description": "one"})
    await log.append({"description": "two", "level": "error"}, durable=True)
    await asyncio.to_thread(log.close)

    lines = await asyncio.to_thread((tmp_path / "self" / "2026-03-01.jsonl").read_text)
    first, second = map(json.loads, lines.splitlines())

    assert (first["level"], first["timestamp"]) == ("info", "2026-03-01T23:59:59.000005Z")
    assert (second["description"], second["level"]) == ("two", "error")
    assert "internal" not in first
    assert root_of(log.folder).internal


def test_own_log_lines_are_json_with_the_error_and_its_fields():
    """One object a line, for machines."""
    error = ValueError("broken")
    record = logging.LogRecord(
        "daemon.x", logging.ERROR, "", 0, "it %s", ("failed",), (ValueError, error, None)
    )
    record.stage = "commit"

    line = json.loads(JsonFormatter().format(record))

    assert (line["level"], line["message"], line["stage"]) == ("error", "it failed", "commit")
    assert line["error"] == "ValueError: broken"
    assert "ValueError: broken" in line["trace"]


def test_the_own_log_says_less_when_told(monkeypatch):
    """The level can change while it runs."""
    monkeypatch.setattr(sys, "stderr", written := io.StringIO())
    own = OwnLog(level="info", file=None)
    logging.getLogger("daemon.test").info("heard")
    own.set_level("error")
    logging.getLogger("daemon.test").info("unheard")
    own.close()

    assert [json.loads(line)["message"] for line in written.getvalue().splitlines()] == ["heard"]


def test_measurements_appear_by_their_names():
    """Counters, gauges, histograms, with labels."""
    metrics = Metrics()
    metrics.count("lines", 3, result="events")
    metrics.gauge("queue_bytes", 7)
    metrics.seconds("commit_seconds", 0.2)

    text = metrics.exposition().decode()

    assert f'{PREFIX}lines_total{{result="events"}} 3.0' in text
    assert f"{PREFIX}queue_bytes 7.0" in text
    assert f"{PREFIX}commit_seconds_count 1.0" in text


def test_every_measurement_that_the_code_makes_is_in_the_table():
    """A name nobody listed would be dropped."""
    call = re.compile(r"observer\.(?:count|seconds|gauge)\(\s*\"([a-z_]+)\"")
    used = {
        name
        for package in ("daemon", "storage", "web")
        for path in (ROOT / package).rglob("*.py")
        for name in call.findall(path.read_text())
    }

    assert used <= {metric.name for metric in METRICS}
    assert len({metric.name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("abstract", [True, False])
def test_the_service_manager_is_told(tmp_path, abstract):
    """Over a path and over an abstract socket."""
    name = f"watchkeep-parts-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        environment = {"NOTIFY_SOCKET": f"@{name}" if abstract else name, "WATCHDOG_USEC": "2000000"}
        notifier = Notifier(environment)

        assert notifier.send(READY="1", STATUS="fine")
        assert manager.recv(100) == b"READY=1\nSTATUS=fine"
        assert notifier.watchdog_seconds == 1.0


def test_without_a_service_manager_nothing_is_said():
    """The daemon runs anywhere."""
    notifier = Notifier({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})

    assert not notifier.send(READY="1")
    assert notifier.watchdog_seconds is None


def reading(sid: str, start: int, *, live: bool, size: int = 10) -> Reading:
    source = Source(sid, "a.log", 0, None, "auto", internal=False)
    mark, place = Mark("", 0, "", 0, "", 0), Place("/a.log", 1, 1, None, size)
    return Reading(Chunk(source, start, start + size, b"x" * size, mark, place), 1, 0, live)


async def test_live_lines_overtake_a_backlog_but_never_lines_of_their_own_file():
    """Per source the order of reading is the order of archiving."""
    queue = ReadingQueue(1 << 20)
    queue.put([reading("old", 0, live=False), reading("old", 10, live=True), reading("new", 0, live=True)])

    batch = await queue.take()

    assert [(r.chunk.source.sid, r.chunk.start) for r in batch] == [("new", 0), ("old", 0), ("old", 10)]


async def test_a_full_queue_has_no_room_until_its_lines_are_visible():
    """Taking is not enough: the memory is still in use."""
    one = reading("a", 0, live=True)
    queue = ReadingQueue(cost(one))
    queue.put([one])
    batch = await queue.take()
    assert queue.room == 0
    queue.done(batch)
    await asyncio.wait_for(queue.wait_for_room(), PATIENCE_SECONDS)

    assert queue.room == cost(one)


async def test_the_kernels_notices_arrive_and_roots_may_appear_later(tmp_path):
    """A root that is not there yet is watched once a listing finds it."""
    changed: asyncio.Queue[set[bytes]] = asyncio.Queue()
    root = tmp_path / "logs"
    watcher = Watcher(changed.put_nowait)
    task = asyncio.create_task(watcher.run())
    try:
        await asyncio.sleep(0.05)
        info = await asyncio.to_thread(lambda: (root.mkdir(), root.stat())[1])
        watcher.seen([Watchable(os.fsencode(root), info.st_dev, info.st_ino, deep=True)])
        paths: set[bytes] = set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(path.endswith(b"a.log") for path in paths):
                await asyncio.to_thread((root / "a.log").write_text, "x\n")
                await asyncio.sleep(0.1)
                while not changed.empty():
                    paths |= changed.get_nowait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_step_of_upkeep_that_fails_does_not_stop_the_others(tmp_path):
    """It is counted and tried again; the disk is still measured."""
    metrics = Metrics()
    archive = await asyncio.to_thread(
        lambda: Archive.open(ArchiveOptions(str(tmp_path / "archive")), observer=metrics)
    )

    def refuse(_grace_seconds: float = 0.0) -> int:
        raise OSError("not now")

    archive.collect = refuse  # type: ignore[method-assign]
    now = [0.0]
    upkeep = Upkeep(archive, metrics, clock=lambda: now[0])
    now[0] = 1000.0
    task = asyncio.create_task(upkeep.run())
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while b'upkeep_failures_total{step="collect"} 1.0' not in metrics.exposition():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            while not upkeep.disk_free_bytes:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(upkeep.close)
        await asyncio.to_thread(archive.close)


@pytest.mark.parametrize(("hour", "expected"), [(3, 3600.0), (2, 86400.0), (1, 82800.0)])
def test_the_next_cleanup_is_at_its_hour(hour, expected):
    """Today if it is still to come, else tomorrow."""
    assert _seconds_until(hour, datetime(2026, 3, 1, 2, 0, tzinfo=UTC)) == expected


def test_a_self_log_without_events_leaves_no_folder(tmp_path: Path) -> None:
    """It appears with the first event."""
    SelfLog(str(tmp_path / "self"), node="main", version="1").close()

    assert not (tmp_path / "self").exists()
