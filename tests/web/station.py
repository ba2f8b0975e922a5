"""A small daemon in one process, for tests of the web side: a real archive, a real parser, real files.

What `daemon` does over time (tailing, committing when due) happens here when a test says so.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from aiohttp.web import AppRunner

from parsers.batch import Chunk, Mark, Place, Source
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.committed import Committed
from storage.engine import Engine, EngineOptions
from storage.fs import Disk
from storage.hub import Hub, HubOptions
from storage.keyring import Keyring
from storage.meeting import source_of
from storage.observer import Observer
from storage.queries import Queries
from storage.records import SourceSeen
from storage.retention import DropReport
from storage.spares import SpareOptions, Spares
from storage.transform import ParseOptions, Transformer
from web.app import create_app, create_runner
from web.keys import WebOptions
from web.status import Detection, LogFile, SourceStatus, Telling

DAY_US = 86_400_000_000
NOW_US = 1_780_315_200_000_000  # 2026-06-01T12:00:00Z
HEAD_BYTES = 256


class Station:
    """The daemon's part of a test: write lines to files, take them in, answer what the web side asks."""

    _one_at_a_time = threading.Lock()
    _taking = threading.Lock()

    def __init__(self, root: Path) -> None:
        self.logs = root / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.archive = Archive.open(ArchiveOptions(path=str(root / "archive")))
        self.transformer = Transformer(ParseOptions(node="main"))
        self.now_us = NOW_US
        self.engine: Engine  # of the server that runs at the moment
        self.hub: Hub
        self.spares: Spares | None = None  # likewise, if it answers SQL
        self.reason = ""  # not empty: not ready
        self.audited: list[dict[str, Any]] = []
        self._sources: dict[str, Source] = {}
        self._read: dict[str, int] = {}

    def close(self) -> None:
        self.transformer.close()
        self.archive.close()

    def reopen(self, *, crash: bool = False) -> None:
        """Do what the next process does: open the archive and read on where it is committed.

        After a crash nothing was committed at the end; otherwise everything was.
        """
        if crash:
            self.archive.abandon()
        else:
            self.archive.close()
        self.archive = Archive.open(ArchiveOptions(path=str(self.archive.options.path)))
        for key, source in self._sources.items():
            self._sources[key] = source_of(self.archive.sources[source.sid])
            self._read[key] = self.archive.sources[source.sid].offset
            data = Path(key).read_bytes()[self._read[key] :]
            if data:
                self.take(Path(key), source.file, data, internal=source.internal)

    def resume(self) -> None:
        """Take up the sources of a station that another process had, each where it is committed; nothing is read yet."""
        for state in self.archive.sources.values():
            source = source_of(state)
            folder = Path(self.archive.layout.own_log) if source.internal else self.logs
            self._sources[str(folder / source.file)] = source
            self._read[str(folder / source.file)] = state.offset

    def take_lines(self, file: str, most: int | None = None, *, internal: bool = False) -> bool:
        """Take in the next whole lines of a log file, ``most`` of them; returns whether there were any."""
        folder = Path(self.archive.layout.own_log) if internal else self.logs
        path = folder / file
        lines = path.read_bytes()[self._read.get(str(path), 0) :].splitlines(keepends=True)
        data = b"".join(line for line in lines[:most] if line.endswith(b"\n"))
        if data:
            self.take(path, file, data, internal=internal)
        return bool(data)

    # Lines in

    def write(self, file: str, lines: Iterable[Mapping[str, Any] | bytes], *, internal: bool = False) -> None:
        """Append lines to a log file and take them into the archive, visible but not committed."""
        folder = Path(self.archive.layout.own_log) if internal else self.logs
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
        data = b"".join(line + b"\n" for line in encoded)
        with path.open("ab") as out:
            out.write(data)
        self.take(path, file, data, internal=internal)

    def take(self, path: Path, file: str, data: bytes, *, internal: bool) -> None:
        """Take bytes in that were appended to a file; one thread at a time."""
        with self._taking:
            self._take(path, file, data, internal=internal)

    def _take(self, path: Path, file: str, data: bytes, *, internal: bool) -> None:
        facts = path.stat()
        whole = path.read_bytes()
        head = hashlib.blake2b(whole[:HEAD_BYTES], digest_size=16).hexdigest()
        key = str(path)
        if key not in self._sources:
            seen = SourceSeen(
                path=key,
                file=file,
                device=facts.st_dev,
                inode=facts.st_ino,
                generation=None,
                head=head,
                head_length=min(HEAD_BYTES, len(whole)),
                internal=internal,
                profile="auto",
                file_date_us=None,
                first_seen_us=self.now_us,
            )
            self._sources[key] = self.archive.register(seen)
            self._read[key] = 0
        start = self._read[key]
        end = start + len(data)
        mark = Mark(
            head=head,
            head_length=min(HEAD_BYTES, len(whole)),
            seam=hashlib.blake2b(whole[:end][-HEAD_BYTES:], digest_size=16).hexdigest(),
            seam_length=min(HEAD_BYTES, end),
            digest=hashlib.sha256(data).hexdigest(),
            digest_from=start,
        )
        place = Place(key, facts.st_dev, facts.st_ino, None, facts.st_size)
        chunk = Chunk(self._sources[key], start, end, data, mark, place, read_at_us=self.now_us)
        self.archive.append(self.transformer.parse([chunk]), [chunk], now_us=self.now_us)
        self._read[key] = end

    # What the web side asks

    def sources(self) -> Sequence[SourceStatus]:
        found = []
        for path, source in self._sources.items():
            state = self.archive.sources[source.sid]
            found.append(
                SourceStatus(
                    sid=source.sid,
                    path=path,
                    file=source.file,
                    size=self._read[path],
                    read=self._read[path],
                    committed=state.offset,
                    lines=state.counts.lines,
                    events=state.counts.events,
                    rejects=state.counts.rejects,
                    last_event_us=None,
                    state="live",
                    internal=source.internal,
                )
            )
        return found

    def log_files(self) -> Sequence[LogFile]:
        return [
            LogFile(
                sid=source.sid,
                root=path.removesuffix(f"/{source.file}"),
                file=source.file,
                day=next((part for part in [source.file[-14:-4]] if part[:2] == "20"), None),
                internal=source.internal,
            )
            for path, source in self._sources.items()
        ]

    def ready(self) -> tuple[bool, str]:
        return not self.reason, self.reason

    def degraded(self) -> Sequence[Mapping[str, str]]:
        return []

    def status(self) -> Mapping[str, Any]:
        return {"gaps": self.archive.state.gaps, "hot_bytes": self.archive.hot_bytes()}

    def metrics(self) -> bytes:
        return b"# HELP station_sources Sources\n# TYPE station_sources gauge\nstation_sources 1.0\n"

    async def audit(self, event: Mapping[str, Any], *, durable: bool = False) -> None:
        self.audited.append(dict(event))
        await asyncio.to_thread(self._write_own, event)

    def _write_own(self, event: Mapping[str, Any]) -> None:
        with self._one_at_a_time:
            self.write("self.jsonl", [event], internal=True)

    async def cleanup(self, before_day: str, *, dry_run: bool) -> DropReport:
        return await asyncio.to_thread(self.archive.drop, before_day, dry_run=dry_run)


@asynccontextmanager
async def served(
    station: Station,
    options: WebOptions | None = None,
    engine: EngineOptions | None = None,
    keyring: Keyring | None = None,
    hub: HubOptions | None = None,
    sql: SpareOptions | None = None,
    observer: Observer | None = None,
    detection: Detection | None = None,
    telling: Telling | None = None,
):
    """Serve a station over real HTTP on a free port and give a client for it."""
    station.spares = _spares(station, sql) if sql is not None else None
    station.engine = Engine(engine or EngineOptions())
    queries = Queries(station.engine, lambda: station.archive.snapshot)
    station.hub = Hub(
        station.engine,
        lambda: station.archive.snapshot,
        station.archive.add_listener,
        lambda: station.archive.run,
        hub,
    )
    # Most tests need no dashboard, and reading and compressing it is most of the time that starting takes.
    app = create_app(
        options or WebOptions(static=station.logs / "no-dashboard"),
        queries,
        station,
        station.hub,
        observer=observer,
        clock=lambda: station.now_us,
        keyring=keyring,
        spares=station.spares,
        detection=detection,
        telling=telling,
    )
    server = RunnerServer(app)
    try:
        async with TestClient(server) as client:
            yield client
    finally:
        if station.spares is not None:
            await station.spares.close()
        station.engine.close()


def _spares(station: Station, options: SpareOptions) -> Spares:
    committed = Committed(station.archive.layout, Disk(), lambda: station.archive.snapshot)
    spares = Spares(station.archive.options.path, committed.views, options)
    spares.start()
    return spares


class RunnerServer(TestServer):
    """aiohttp's test server, started with the runner that the daemon uses."""

    async def _make_runner(self, **kwargs: Any) -> AppRunner:
        return create_runner(self.app)


def event(**given: Any) -> dict[str, Any]:
    """Return one line's object, with what every event has unless given."""
    base: dict[str, Any] = {
        "eventId": "e-1",
        "timestamp": "2026-06-01T11:00:00Z",
        "level": "info",
        "category": "api",
        "action": "read",
        "description": "An event",
    }
    return base | given
