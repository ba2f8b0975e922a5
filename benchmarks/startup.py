"""How long a daemon's archive takes to open after a kill, with the ledger of a year: a seal an hour, a commit every five seconds.

The ledger is written record by record as a daemon would (its snapshots every thousand commits included); the Parquet
files are empty names of the right size, because opening an archive looks at names and sizes only.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measure import DEFAULT_DATA
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.books import SNAPSHOT_EVERY
from storage.layout import Layout, segments
from storage.records import file_to_json
from storage.snapshot import File

HOURS = 8760
AIM_SECONDS = 2.0
FIRST_DAY = datetime(2025, 1, 1, tzinfo=UTC)
SECONDS_AN_HOUR = 3600
ROWS = 1000


def a_year(folder: Path, *, hours: int = HOURS, tail: int = SNAPSHOT_EVERY - 1) -> Path:
    """Write an archive of so many hours, with ``tail`` commits since the ledger's last snapshot."""
    archive = Archive.open(ArchiveOptions(path=str(folder)))
    books = archive._books  # noqa: SLF001 - the records of a year, without a year's rows
    layout = archive.layout
    for hour in range(hours):
        start = FIRST_DAY + timedelta(hours=hour)
        files = [_file(layout, kind, start, hour) for kind in ("events", "rollup")]
        for file in files:
            _place(folder / file["path"], file["bytes"])
        body = {"files": files, "removes": [], "sealed_seq": hour * ROWS, "unsealed_since_us": 0}
        books.record([("seal", body)])
    books.state.commits_since_snapshot = SNAPSHOT_EVERY
    books.snapshot_if_due()
    for _ in range(tail):
        body = {
            "files": [],
            "ranges": [],
            "seq_reserved_to": books.state.reserved_to,
            "max_seq": hours * ROWS,
            "max_seq_internal": 0,
            "max_seq_external": hours * ROWS,
        }
        books.record([("commit", body)])
    archive.abandon()
    return folder


def _file(layout: Layout, kind: Any, start: datetime, hour: int) -> dict[str, Any]:
    first = hour * ROWS + 1
    events = layout.sealed_file("events", f"{start:%Y-%m-%d}", first, "default")
    path = events if kind == "events" else layout.sealed_file(kind, f"{start:%Y-%m-%d}", first, "default")
    at = int(start.timestamp() * 1e6)
    return file_to_json(
        File(
            path=path,
            kind=kind,
            node=layout.node,
            rows=ROWS,
            bytes=64,
            sha256="0" * 64,
            min_time_us=at,
            max_time_us=at + SECONDS_AN_HOUR * 1_000_000 - 1,
            min_seq=first,
            max_seq=first + ROWS - 1,
            day=f"{start:%Y-%m-%d}",
            retention_class="default",
            internal=False,
            covers=None if kind == "events" else events,
        )
    )


def _place(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))


def opened(folder: Path) -> tuple[float, float]:
    """Open the archive as after a kill; returns wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    archive = Archive.open(ArchiveOptions(path=str(folder)))
    spent = time.perf_counter() - wall, time.process_time() - cpu
    assert archive.problems == []
    archive.abandon()
    return spent


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=HOURS, help=f"hours, one seal each ({HOURS})")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder for what is generated")
    given = parser.parse_args()
    hours = given.hours
    given.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.data) as folder:
        made = a_year(Path(folder), hours=hours)
        ledger = Layout(folder, "main").ledger
        numbers = segments(os.listdir(ledger))
        size = os.path.getsize(Layout(folder, "main").segment(numbers[-1]))
        wall, cpu = min(opened(made) for _ in range(3))
        print(f"{hours} seals, {2 * hours} files, {len(numbers)} segments, the last of {size / 1e6:.1f} MB")
        print(f"opened in {wall:.2f} s, {cpu:.2f} s of CPU; the aim is {AIM_SECONDS} s")


if __name__ == "__main__":
    main()
