"""How event files are laid out, and what the alternatives cost: CPU to write, bytes, and the questions that people ask."""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

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
REPEATS = 3  # times that each question is asked with each of its values
PLAIN = 5  # times a question without values of its own


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to write the events: an encoding, and the columns that the rows are sorted by."""

    encoding: Encoding = STANDARD
    order: tuple[str, ...] = ("timestamp", "seq")


ALTERNATIVES: dict[str, Layout] = {
    "as written": Layout(),
    "sorted by user, then time": Layout(order=("user_id", "timestamp", "seq")),
    "row groups of 15,360": Layout(replace(STANDARD, row_group_rows=15_360)),
    "row groups of 30,720": Layout(replace(STANDARD, row_group_rows=30_720)),
    "row groups of 122,880": Layout(replace(STANDARD, row_group_rows=122_880)),
    "zstd level 3": Layout(replace(STANDARD, zstd_level=3)),
    "zstd level 6": Layout(replace(STANDARD, zstd_level=6)),
    "zstd level 12": Layout(replace(STANDARD, zstd_level=12)),
    "no bloom filters": Layout(replace(STANDARD, bloom=())),
    "bloom filters at 5 %": Layout(replace(STANDARD, bloom_false_positives=0.05)),
    "bloom filters at 20 %": Layout(replace(STANDARD, bloom_false_positives=0.2)),
    "pages of 1 MiB": Layout(replace(STANDARD, page_bytes=1 << 20)),
    "pages of 128 KiB": Layout(replace(STANDARD, page_bytes=1 << 17)),
    "dictionaries for ids and paths": Layout(replace(STANDARD, distinct=())),
    "no differences": Layout(replace(STANDARD, rising=())),
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
    users = Counter(str(user) for user in events["user_id"].to_pylist() if user is not None)
    user = users.most_common(1)[0][0]
    path = folder / "events.parquet"
    found: dict[str, list[float]] = {}
    for name, layout in ALTERNATIVES.items():
        ordered = events.sort_by([(column, "ascending") for column in layout.order])
        costs: list[float] = []
        size = 0
        for _ in range(ROUNDS):
            began = time.process_time()
            size = write_parquet(Disk(), str(path), ordered, node="main", encoding=layout.encoding).bytes
            costs.append(time.process_time() - began)
        found[name] = [
            min(costs) / events.num_rows * 1e6,
            size / events.num_rows,
            *_questions(path, wanted, user, events),
        ]
    path.unlink()
    base = found["as written"]
    heads = [
        "",
        "µs CPU to write",
        "bytes",
        "by id",
        "absent id",
        "newest 50",
        "an hour",
        "a user",
        "whole scan",
    ]
    table(
        f"{events.num_rows:,} events as Parquet, one thread; per event, and questions in CPU ms",
        heads,
        [["as written", *(f"{value:.1f}" for value in base)]],
    )
    table(
        "The alternatives, as ratios of it (below 1: cheaper)",
        heads,
        [
            [name, *(f"{value / normal:.2f}" for value, normal in zip(values, base, strict=True))]
            for name, values in found.items()
        ],
    )


def _questions(path: Path, wanted: list[str], user: str, events: pa.Table) -> list[float]:
    """Return the median CPU milliseconds of each question."""
    last = events["timestamp"][-1].as_py()
    files = f"read_parquet('{path}')"
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def asked(text: str, values: list[list[Any]]) -> float:
            times: list[float] = []
            for given in values * REPEATS:
                began = time.process_time()
                connection.execute(text, given).fetchall()
                times.append((time.process_time() - began) * 1000)
            return statistics.median(times)

        return [
            asked(f"SELECT count(description) FROM {files} WHERE event_id = $1", [[item] for item in wanted]),
            asked(
                f"SELECT count(description) FROM {files} WHERE event_id = $1",
                [[f"{item[:-4]}zzzz"] for item in wanted],
            ),
            asked(
                f"SELECT seq FROM {files} WHERE level = 'error' ORDER BY timestamp DESC LIMIT 50",
                [[]] * PLAIN,
            ),
            asked(
                f"SELECT count(description) FROM {files} WHERE timestamp > $1",
                [[last - timedelta(hours=1)]] * PLAIN,
            ),
            asked(f"SELECT count(description) FROM {files} WHERE user_id = $1", [[user]] * PLAIN),
            asked(
                f"SELECT category, level, count(*), count(DISTINCT user_id) FROM {files} GROUP BY ALL",
                [[]] * PLAIN,
            ),
        ]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="benchmarks.parquet", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder for what is written")
    measure(parser.parse_args().data / "parquet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
