"""A large archive from a small one: its weeks copied into earlier weeks by our own storage, with times moved and new ids.

A hundred million events as JSON would be 83 GB to generate and to parse. Here sealed rows are read, moved, and taken as a
bulk import takes them, so that the ledger, the roll-ups and the files are those of a real archive. There are no log
files behind the copies: `watchkeep verify` will say so of nothing else.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import ingest
from benchmarks.feed import plain_source
from benchmarks.measure import DEFAULT_DATA, size_of
from parsers.batch import Chunk, Counts, Mark, Parsed, Place, Source
from parsers.columns import PARSED_REJECT_SCHEMA, PARSED_SCHEMA, TIMESTAMP
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions

WEEK_US = 7 * 86_400_000_000
LINE = 10  # bytes that a copied line pretends to have had
ID_DIGITS = 36  # of a UUID; the last eight are replaced, so that order and bounds stay random
NEW_DIGITS = 8


def grow(small: Path, large: Path, weeks: int, files_a_day: int = 1) -> int:
    """Write ``weeks`` copies of the archive ``small`` into a new one, the newest as it is; return how many events."""
    shutil.rmtree(large, ignore_errors=True)
    archive = Archive.open(ArchiveOptions(str(large)))
    events = 0
    try:
        for copy in reversed(range(weeks)):
            for number, path in enumerate(sorted(small.glob("events/*/*.parquet"))):
                with pq.ParquetFile(path) as file:
                    rows = file.read(columns=PARSED_SCHEMA.names).cast(PARSED_SCHEMA)
                size = -(-rows.num_rows // files_a_day)
                for part, begin in enumerate(range(0, rows.num_rows, size)):
                    events += _take(archive, rows.slice(begin, size), copy, f"week-{copy}-{number}-{part}")
        archive.publish()
    finally:
        archive.close()
    return events


def _take(archive: Archive, rows: pa.Table, copy: int, name: str) -> int:
    inode = int(hashlib.sha256(name.encode()).hexdigest()[:12], 16)
    seen = plain_source(f"/copied/{name}", first_seen_us=time.time_ns() // 1000, inode=inode)
    source = archive.bulk.meet(seen)
    count = rows.num_rows
    end = count * LINE
    mark = Mark("", 0, "", 0, hashlib.sha256(name.encode()).hexdigest(), 0)
    chunk = Chunk(source, 0, end, b"", mark, Place(seen.path, 1, seen.inode, None, end))
    parsed = Parsed(
        _moved(rows, source, copy), PARSED_REJECT_SCHEMA.empty_table(), (Counts(count, count),), {}
    )
    archive.bulk.append(parsed, [chunk])
    archive.bulk.commit()
    return count


def _moved(rows: pa.Table, source: Source, copy: int) -> pa.Table:
    """Return rows as those of another week: moved times, ids of their own, and their place in another file."""
    count = rows.num_rows
    times = rows["timestamp"].cast(pa.int64()).to_numpy() - copy * WEEK_US
    given: dict[str, Any] = {
        "timestamp": pa.array(times).cast(TIMESTAMP),
        "source": pa.array([source.sid] * count),
        "source_file": pa.array([source.file] * count),
        "source_offset": pa.array(np.arange(count, dtype=np.int64) * LINE),
    }
    for name in ("event_id", "correlation_id"):
        given[name] = pc.binary_replace_slice(
            rows[name], ID_DIGITS - NEW_DIGITS, ID_DIGITS, f"{copy:0{NEW_DIGITS}x}"
        )
    return pa.table([given.get(name, rows[name]) for name in PARSED_SCHEMA.names], schema=PARSED_SCHEMA)


def make(data: Path, small: int, events: int, files_a_day: int = 1) -> None:
    """Grow the archive of ``events`` from that of ``small``, which is ingested first if it is not there."""
    week = data / f"archive-{small}"
    if not week.exists():
        ingest.measure(data, small)
    large = data / f"archive-{events}"
    began = time.perf_counter()
    made = grow(week, large, -(-events // small), files_a_day)
    seconds = time.perf_counter() - began
    print(f"{made:,} events in {large.name}, {size_of(large) / made:.1f} bytes each, {seconds:,.0f} s")


def main() -> int:
    """Make an archive, ingesting the small one first if it is not there."""
    parser = argparse.ArgumentParser(prog="benchmarks.grow", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="about how many (10000000)")
    parser.add_argument(
        "--from", dest="small", type=int, default=1_000_000, help="of the week that is copied"
    )
    parser.add_argument("--files-a-day", type=int, default=1, help="24: as hourly sealing leaves them")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    make(given.data, given.small, given.events, given.files_a_day)
    return 0


if __name__ == "__main__":
    sys.exit(main())
