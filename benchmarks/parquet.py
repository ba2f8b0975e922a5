"""How event files are laid out, and what the alternatives cost: CPU to write, bytes an event, a lookup by id."""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.generate import lines
from benchmarks.measure import DEFAULT_DATA, table
from parsers.batch import Chunk, Mark, Place, Source
from parsers.columns import EVENT_SCHEMA
from storage.fs import Disk
from storage.hot import with_order
from storage.parquet import STANDARD, Encoding, write_parquet
from storage.transform import ParseOptions, Transformer

EVENTS = 150_000
BATCH = 25_000
ROUNDS = 3

ALTERNATIVES: dict[str, Encoding] = {
    "as written": STANDARD,
    "row groups of 30,720": replace(STANDARD, row_group_rows=30_720),
    "row groups of 122,880": replace(STANDARD, row_group_rows=122_880),
    "zstd level 3": replace(STANDARD, zstd_level=3),
    "zstd level 6": replace(STANDARD, zstd_level=6),
    "no bloom filters": replace(STANDARD, bloom=()),
    "bloom filters at 1 %": replace(STANDARD, bloom_false_positives=0.01),
    "pages of 256 KiB": replace(STANDARD, page_bytes=1 << 18),
    "dictionaries for ids and paths": replace(STANDARD, distinct=()),
    "no differences": replace(STANDARD, rising=()),
}


def rows() -> pa.Table:
    """Return EVENTS generated events as the archive would store them."""
    source = Source("0" * 32, "app.jsonl", 0, None, "native", internal=False)
    stock = lines(EVENTS)
    parts: list[pa.Table] = []
    transformer = Transformer(ParseOptions())
    start = 0
    for begin in range(0, EVENTS, BATCH):
        data = b"".join(stock[begin : begin + BATCH])
        mark = Mark("", 0, "", 0, hashlib.sha256(data).hexdigest(), 0)
        chunk = Chunk(source, start, start + len(data), data, mark, Place("", 0, 0, None, 0))
        parts.append(transformer.parse([chunk]).events)
        start = chunk.end
    return with_order(pa.concat_tables(parts), EVENT_SCHEMA, 1, time.time_ns() // 1000)


def measure(folder: Path) -> None:
    """Print the table."""
    folder.mkdir(parents=True, exist_ok=True)
    events = rows()
    wanted = [events["event_id"][at].as_py() for at in range(0, events.num_rows, events.num_rows // 7)]
    base = 0.0
    path = folder / "events.parquet"
    shown: list[list[str]] = []
    for name, encoding in ALTERNATIVES.items():
        costs: list[float] = []
        size = 0
        for _ in range(ROUNDS):
            began = time.process_time()
            size = write_parquet(Disk(), str(path), events, node="main", encoding=encoding).bytes
            costs.append(time.process_time() - began)
        cost = min(costs) / events.num_rows * 1e6
        base = base or cost
        shown.append(
            [
                name,
                f"{cost:.2f}",
                f"{cost / base:.2f}",
                f"{size / events.num_rows:.1f}",
                f"{_lookup(path, wanted):.1f}",
            ]
        )
    path.unlink()
    table(
        f"{events.num_rows:,} events as Parquet",
        ["", "µs CPU/event", "ratio", "bytes/event", "by id, ms"],
        shown,
    )


def _lookup(path: Path, wanted: list[str]) -> float:
    """Return the median milliseconds of fetching one whole row by its id, one thread."""
    with duckdb.connect(config={"threads": 1}) as connection:
        times: list[float] = []
        for event_id in wanted:
            began = time.perf_counter()
            connection.execute(
                "SELECT count(description) FROM read_parquet($1) WHERE event_id = $2", [str(path), event_id]
            ).fetchall()
            times.append((time.perf_counter() - began) * 1000)
        return statistics.median(times)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="benchmarks.parquet", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder for what is written")
    measure(parser.parse_args().data / "parquet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
