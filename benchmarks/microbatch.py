"""What small batches cost: the same lines in batches of 200 to 20,000, beside bare DuckDB writing a file a batch."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.bare import COLUMNS, FLAT
from benchmarks.feed import Feed
from benchmarks.generate import lines
from benchmarks.measure import DEFAULT_DATA, ratio, table

BATCHES = (200, 1_000, 5_000, 20_000)
EVENTS = 40_000  # of each size, at least WARM_BATCHES + 2 batches
WARM_BATCHES = 2


@dataclass(slots=True)
class Spent:
    """CPU seconds by stage, over all measured batches."""

    parse: float = 0.0
    append: float = 0.0
    commit: float = 0.0
    bare: float = 0.0
    events: int = 0


def measure(data: Path) -> None:
    """Print the table."""
    folder = data / "microbatch"
    rows: list[list[str]] = []
    for size in BATCHES:
        count = max(EVENTS, size * 2) + WARM_BATCHES * size
        stock = lines(count)
        batches = [stock[begin : begin + size] for begin in range(0, count - size + 1, size)]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        spent = Spent()
        _ours(folder / "archive", batches, spent)
        _bare(folder, batches, spent)
        each = 1e6 / spent.events
        ours = spent.parse + spent.append + spent.commit
        rows.append([
            f"{size:,} lines",
            *(f"{part * each:.2f}" for part in (spent.parse, spent.append, spent.commit, ours, spent.bare)),
            f"{ours / spent.events * size * 1000:.1f}",
            ratio(spent.bare, ours),
        ])  # fmt: skip
    heads = (
        "a commit every",
        "parse",
        "append",
        "commit",
        "together",
        "bare file",
        "ms a batch",
        "bare / ours",
    )
    table(
        "Micro-batches: µs of CPU an event (one thread; bare: read_json → one zstd Parquet file a batch)",
        heads,
        rows,
    )


def _ours(path: Path, batches: Sequence[list[bytes]], spent: Spent) -> None:
    with Feed(path) as feed:
        for number, batch in enumerate(batches):
            chunk = feed.chunk(batch)
            times = [time.process_time()]
            parsed = feed.parse(chunk)
            times.append(time.process_time())
            feed.append(parsed, chunk)
            times.append(time.process_time())
            feed.archive.commit()
            times.append(time.process_time())
            if number >= WARM_BATCHES:
                spent.parse += times[1] - times[0]
                spent.append += times[2] - times[1]
                spent.commit += times[3] - times[2]
                spent.events += len(batch)


def _bare(folder: Path, batches: Sequence[list[bytes]], spent: Spent) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        for number, batch in enumerate(batches):
            source = folder / "batch.jsonl"
            source.write_bytes(b"".join(batch))
            began = time.process_time()
            connection.execute(
                f"COPY (SELECT {FLAT} FROM read_json('{source}', format = 'newline_delimited', columns = {COLUMNS})) "
                f"TO '{folder}/bare-{number}.parquet' (FORMAT parquet, COMPRESSION zstd)"
            )
            if number >= WARM_BATCHES:
                spent.bare += time.process_time() - began


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.microbatch", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    measure(parser.parse_args().data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
