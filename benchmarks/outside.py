"""Outside readers: what the view and the glob cost as files grow in number, and what publishing the view takes."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.measure import DEFAULT_DATA, MEGABYTE, milliseconds, table
from benchmarks.parquet import rows
from storage.fs import Disk
from storage.layout import VIEW_DATABASE, Layout
from storage.parquet import write_parquet
from storage.publish import Publisher
from storage.snapshot import File, Snapshot

COUNTS = (30, 365, 8_760)  # files: a month of days, a year of days, a year of hours
ROWS = 1_000  # in each: what is measured is files, not rows
FIRST_DAY = date(2025, 1, 1)
ROUNDS = 3


def measure(folder: Path) -> None:
    """Print the table."""
    events = rows().slice(0, ROWS)
    shown: list[list[str]] = []
    for count in COUNTS:
        shutil.rmtree(folder, ignore_errors=True)
        layout = Layout(str(folder), "main")
        snapshot = _archive(layout, count, events)
        publisher = Publisher(Disk(), layout)
        day = f"timestamp >= TIMESTAMPTZ '{events['timestamp'][0].as_py().isoformat()}'"
        glob = f"read_parquet('{folder}/events/*/*.parquet', hive_partitioning = true)"
        publishing = [
            _seconds(publisher.publish, replace(snapshot, events=snapshot.events[n:])) for n in (0, 1)
        ]
        times = (
            *publishing,
            _median(_view, folder, "SELECT 1"),
            _median(_view, folder, "SELECT count(*) FROM events"),
            _median(_view, folder, f"SELECT max(seq) FROM events WHERE {day}"),
            _median(_plain, f"SELECT count(*) FROM {glob}"),
            _median(_plain, f"SELECT max(seq) FROM {glob} WHERE date = '{FIRST_DAY}'"),
        )
        size = f"{(folder / VIEW_DATABASE).stat().st_size / MEGABYTE:.1f}"
        shown.append([f"{count:,}", size, *map(milliseconds, times)])
    shutil.rmtree(folder)
    heads = [
        *("files", "view MB", "publish first", "publish again", "open view"),
        *("view count", "view by time", "glob count", "glob one day"),
    ]
    table(f"Outside readers, files of {ROWS:,} events, ms", heads, shown)


def _archive(layout: Layout, count: int, events: pa.Table) -> Snapshot:
    """Make an archive of ``count`` sealed files that hold the same rows, spread over a year."""
    disk = Disk()
    first = layout.absolute("first.parquet")
    os.makedirs(layout.root)
    written = write_parquet(disk, first, events, node="main")
    files: list[File] = []
    for number in range(count):
        day = str(FIRST_DAY + timedelta(days=number % 365))
        path = layout.sealed_file("events", day, number + 1, "default")
        os.makedirs(os.path.dirname(layout.absolute(path)), exist_ok=True)
        os.link(first, layout.absolute(path))
        entry = File(path, "events", "main", written.rows, written.bytes, written.sha256, 0, 0, 1, ROWS, day)
        files.append(replace(entry, retention_class="default", internal=False))
    os.unlink(first)
    return Snapshot("", "main", 0, 0, 0, 0, 0, 1, 0, tuple(files), (), (), (), ())


def _view(folder: Path, question: str) -> None:
    with duckdb.connect(str(folder / VIEW_DATABASE), read_only=True) as connection:
        connection.execute(f"SET file_search_path = '{folder}'")
        connection.execute(question).fetchall()


def _plain(question: str) -> None:
    duckdb.execute(question).fetchall()


def _median(work: Callable[..., object], *given: object) -> float:
    return statistics.median(_seconds(work, *given) for _ in range(ROUNDS))


def _seconds(work: Callable[..., object], *given: object) -> float:
    began = time.perf_counter()
    work(*given)
    return time.perf_counter() - began


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="benchmarks.outside", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder for what is written")
    measure(parser.parse_args().data / "outside")
    return 0


if __name__ == "__main__":
    sys.exit(main())
