"""A writer and the readers that hammer it, each a process of its own: `python -m tests.storage.hammering ROLE …`.

Every number (seq) is one row, so that what a reader must find up to a watermark is arithmetic: of twenty rows two lie on
a day that retention keeps dropping, two on a day that is over, the others are of now. The first two are left out of the
counting, the rest must be there exactly.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from parsers.columns import TIMESTAMP
from storage.adhoc import Limits
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from tests.storage.asking import rows
from tests.storage.made import LINE, lines, seen
from tests.web.station import Station, served

GROUP = 20  # rows after which the pattern repeats
DOOMED = 2  # of them on the day that is dropped again and again
LATE = 2  # of them on a day that is over
DAY_US = 86_400_000_000
DOOMED_DAYS = 5  # before today
LATE_DAYS = 2
GRACE_SECONDS = 8.0
MARKS = "marks.json"
HELD_SECONDS = 2.0  # a view is held open: well below the grace time, even on a slow machine

COUNTS = (
    "count(*), count(DISTINCT (source, source_offset)), "
    "count(*) FILTER (level = 'info'), coalesce(max(seq) FILTER (level = 'info'), 0), "
    "count(*) FILTER (level = 'info' AND seq <= {mark})"
)


def kept(seq: int) -> int:
    """Return how many rows up to a number are on days that stay."""
    return seq // GROUP * (GROUP - DOOMED) + max(0, seq % GROUP - DOOMED)


class Hammered(Station):
    """An archive under load behind the HTTP API: one thread commits, another does everything that upkeep does."""

    def __init__(self, root: Path, pause: float, grace: float) -> None:
        self.logs = root / "logs"
        self.logs.mkdir(parents=True)
        self.reason = ""
        self.audited = []
        self.archive = Archive.open(
            ArchiveOptions(
                path=str(root / "archive"),
                fold_files=4,
                seal_bytes=2_000_000,
                seal_seconds=1.0,
                late_seconds=0.3,
                late_files=64,
                grace_seconds=grace,
            )
        )
        self.now_us = time.time_ns() // 1000
        self.today_us = self.now_us // DAY_US * DAY_US
        self.stop = threading.Event()
        self.failures: list[str] = []
        self.done: dict[str, int] = dict.fromkeys(("commits", "folds", "seals", "drops", "collected"), 0)
        self._pause = pause
        self._marks = root / MARKS
        self.tell()

    def tell(self) -> None:
        """Write the marks that `/status` shows to a file, for readers that ask too often for a server."""
        snapshot = self.archive.snapshot
        marks = {
            "sealed_seq": snapshot.sealed_seq,
            "view_seq": snapshot.view_seq,
            "committed": self.archive.state.max_seq,
        }
        new = self._marks.with_suffix(f".{threading.get_ident()}")
        new.write_text(json.dumps(marks))
        new.rename(self._marks)

    def sources(self) -> list[Any]:
        return []

    async def audit(self, event: Mapping[str, Any], *, durable: bool = False) -> None:
        """Do without: the daemon's own events would take numbers."""

    def ingest(self) -> None:
        """Append and commit small batches of whole groups."""
        source, end = self.archive.register(seen("a")), 0
        while not self.stop.wait(0.01):
            count = GROUP * (1 + self.done["commits"] % 7)
            parsed, chunk = lines(source, end, count)
            number = np.arange(count) % GROUP
            times = self.today_us + (end // LINE + np.arange(count)) * 1000
            times[number < DOOMED] -= DOOMED_DAYS * DAY_US
            times[(number >= DOOMED) & (number < DOOMED + LATE)] -= LATE_DAYS * DAY_US
            levels = np.where(number < DOOMED, "debug", "info")
            table = parsed.events
            for name, column in (
                ("timestamp", pa.array(times).cast(TIMESTAMP)),
                ("level", pa.array(levels.tolist(), pa.string())),
            ):
                place = table.schema.get_field_index(name)
                table = table.set_column(place, table.schema.field(place), column)
            self.archive.append(type(parsed)(table, parsed.rejects, parsed.counts, {}), [chunk])
            end = chunk.end
            if self.done["commits"] % 3 or self.archive.hot_bytes() > 1 << 20:
                self.archive.commit()
            self.done["commits"] += 1
            self.tell()

    def upkeep(self) -> None:
        """Fold, seal, drop, collect and publish, over and over."""
        before = str(np.datetime64(self.today_us - (DOOMED_DAYS - 1) * DAY_US, "us").astype("datetime64[D]"))
        for turn in range(1 << 62):
            if self.stop.wait(self._pause):
                return
            self.done["folds"] += self.archive.fold()
            self.archive.publish()
            self.done["seals"] += self.archive.seal_due() > 0
            self.archive.publish()
            self.tell()
            if turn % 5 == 4:
                self.archive.seal()
                self.done["drops"] += self.archive.drop(before, dry_run=False).files > 0
                self.archive.publish()
                self.done["collected"] += self.archive.collect()

    def guarded(self, work: Callable[[], None]) -> threading.Thread:
        """Start a thread whose failure ends the run and is reported."""

        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - told to whoever runs the test
                self.failures.append(f"{work.__name__}: {error!r}")

        thread = threading.Thread(target=run)
        thread.start()
        return thread


async def write(root: Path, pause: float, grace: float) -> None:
    """Serve and write until standard input ends; print the port first and what was done last."""
    station = Hammered(root, pause, grace)
    async with served(station) as client:
        threads = [station.guarded(station.ingest), station.guarded(station.upkeep)]
        print(json.dumps({"port": client.port}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        station.stop.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    station.archive.close()
    print(json.dumps({**station.done, "failures": station.failures, "rows": station.archive.state.max_seq}))


@dataclass
class Seen:
    """What a reader saw: reads, those that failed because a day went away under them, and what must not be."""

    kind: str
    reads: int = 0
    expiring: int = 0
    anomalies: list[str] = field(default_factory=list)
    last: int = 0


class Reader:
    """Reads in a loop; every read is checked against the watermark that was published before it."""

    def __init__(self, kind: str, root: Path, port: int) -> None:
        self.seen = Seen(kind)
        self._root = root / "archive"
        self._marks = root / MARKS
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def run(self, seconds: float) -> Seen:
        """Read for so long."""
        read = {
            "glob": self.glob,
            "view": self.view,
            "held": self.held,
            "sql-file": self.sql_file,
            "sql": self.sql,
            "api": self.api,
        }[self.seen.kind]
        until = time.monotonic() + seconds
        while time.monotonic() < until and len(self.seen.anomalies) < 5:
            try:
                read()
            except Exception as error:  # noqa: BLE001 - any failure of a reader is an anomaly
                self.seen.anomalies.append(f"{type(error).__name__}: {error}")
            self.seen.reads += 1
        return self.seen

    def get(self, path: str) -> dict[str, Any]:
        """Ask the API."""
        with urllib.request.urlopen(f"{self._url}{path}", timeout=60) as answer:
            body: dict[str, Any] = json.loads(answer.read())
        return body

    def mark(self, name: str) -> int:
        """Return a mark as it was published last."""
        marks: dict[str, int] = json.loads(self._marks.read_text())
        return marks[name]

    def glob(self) -> None:
        """A plain glob: every row up to `sealed_seq`, no row twice."""
        mark = self.mark("sealed_seq")
        pattern = self._root / "events" / "*" / "*.parquet"
        if not mark:
            return
        try:
            row = duckdb.execute(
                f"SELECT {COUNTS.format(mark=mark)} FROM read_parquet('{pattern}')"
            ).fetchone()
        except duckdb.Error as error:
            if self.doomed() not in str(error):
                raise
            self.seen.expiring += 1
            return
        assert row is not None
        self.check(row, mark, whole=False)

    def doomed(self) -> str:
        """Return the folder of the day that is dropped."""
        day = np.datetime64(time.time_ns() // 1000 - DOOMED_DAYS * DAY_US, "us").astype("datetime64[D]")
        return f"date={day}"

    def view(self) -> None:
        """The view: every row up to `view_seq`, and a prefix of the commits."""
        mark = self.mark("view_seq")
        with self.opened() as connection:
            self.check(connection.execute(f"SELECT {COUNTS.format(mark=mark)} FROM events").fetchone(), mark)

    def held(self) -> None:
        """A reader that holds an old view open answers the same until the grace time is over."""
        began = time.monotonic()
        mark = self.mark("view_seq")
        with self.opened() as connection:
            first = connection.execute(f"SELECT {COUNTS.format(mark=mark)} FROM events").fetchone()
            self.check(first, mark)
            while time.monotonic() - began < HELD_SECONDS:
                time.sleep(0.2)
                again = connection.execute(f"SELECT {COUNTS.format(mark=mark)} FROM events").fetchone()
                if again != first:
                    self.seen.anomalies.append(f"an open view changed from {first} to {again}")

    def sql_file(self) -> None:
        """`watchkeep.sql`: the same as the view."""
        mark = self.mark("view_seq")
        text = (self._root / "watchkeep.sql").read_text()
        with duckdb.connect() as connection:
            connection.execute(f"SET file_search_path = '{self._root}'")
            connection.execute(text)
            self.check(connection.execute(f"SELECT {COUNTS.format(mark=mark)} FROM events").fetchone(), mark)

    def sql(self) -> None:
        """The SQL command: every row up to the last commit."""
        mark = self.mark("committed")
        if not mark:
            return
        (row,) = rows(
            self._root, f"SELECT {COUNTS.format(mark=mark)} FROM events", deadline=60, limits=Limits()
        )
        self.check(row, mark)

    def api(self) -> None:
        """The API: every row up to the last line, in one snapshot."""
        mark = self.get("/status")["seq"]
        body = self.get("/events?limit=1&level=info&internal=true")
        if body["total_is_estimate"]:
            return
        if body["total"] != kept(body["snapshot"]) or body["snapshot"] < mark:
            self.seen.anomalies.append(f"{body['total']} up to {body['snapshot']}, {mark} was published")
        self.seen.last = body["total"]

    def opened(self) -> duckdb.DuckDBPyConnection:
        """Open the view database as any user would."""
        connection = duckdb.connect(str(self._root / "watchkeep.duckdb"), read_only=True)
        connection.execute(f"SET file_search_path = '{self._root}'")
        return connection

    def check(self, row: Any, mark: int, *, whole: bool = True) -> None:
        """Compare what was counted with what must be there. ``whole``: it must be a prefix of all rows."""
        count, distinct, stay, last, up_to = row
        if count != distinct:
            self.seen.anomalies.append(f"{count} rows at {distinct} positions")
        if up_to != kept(mark):
            self.seen.anomalies.append(f"{up_to} rows up to {mark}, {kept(mark)} were promised")
        if whole and stay != kept(last):
            self.seen.anomalies.append(f"{stay} rows up to {last}, {kept(last)} belong there")
        self.seen.last = stay


KINDS = ("glob", "view", "held", "sql-file", "sql", "api")


def read_all(port: int, root: Path, seconds: float, kinds: tuple[str, ...]) -> Iterator[Seen]:
    """Read one kind after the other, a little each, until the time is over."""
    readers = [Reader(kind, root, port) for kind in kinds]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for reader in readers:
            reader.run(min(1.0, seconds / len(readers)))
    yield from (reader.seen for reader in readers)


def main() -> None:
    """Play a role: ``write ROOT PAUSE GRACE``, or ``read ROOT PORT SECONDS KIND …``."""
    role, root, *rest = sys.argv[1:]
    if role == "write":
        asyncio.run(write(Path(root), float(rest[0]), float(rest[1])))
        return
    found = read_all(int(rest[0]), Path(root), float(rest[1]), tuple(rest[2:]))
    print(json.dumps([asdict(seen) for seen in found]))


if __name__ == "__main__":
    main()
