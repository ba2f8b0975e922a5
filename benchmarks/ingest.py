"""`watchkeep ingest` beside bare DuckDB on the same files: events and MB per CPU second, memory, bytes an event."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

import duckdb

from benchmarks.daemon import Daemon, configure
from benchmarks.generate import DEFAULT_SEED, DataSet, generate
from benchmarks.measure import (
    DEFAULT_DATA,
    MEGABYTE,
    WATCHKEEP,
    BenchmarkError,
    Cost,
    ratio,
    run,
    size_of,
    table,
)

BARE_THREADS = (1, 2)


def measure(data: Path, events: int, seed: int = DEFAULT_SEED) -> Path:
    """Generate, ingest both ways, print the table, check the counts; return the folder of the archive."""
    source = data / f"events-{events}"
    made = generate(source, events, seed)
    files = [str(source / name) for name in made.files]
    print(
        f"{events:,} events, {made.bytes / MEGABYTE:,.0f} MB, {made.bytes / events:.0f} bytes each, SHA-256 {made.sha256[:16]}…"
    )
    # In turns, ours in the middle, so that a machine that gets slower or faster favours nobody.
    first, second = BARE_THREADS
    bare = {first: _bare(data, files, first)}
    archive = data / f"archive-{events}"
    ours = _ours(data, archive, files)
    bare[second] = _bare(data, files, second)
    _print(made, ours, bare, archive, data)
    check_counts(data, archive, events)
    return archive


def _bare(data: Path, files: list[str], threads: int) -> Cost:
    target = data / f"bare-{threads}"
    shutil.rmtree(target, ignore_errors=True)
    return run([sys.executable, "-m", "benchmarks.bare", str(threads), str(target), *files])


def _ours(data: Path, archive: Path, files: list[str]) -> Cost:
    shutil.rmtree(archive, ignore_errors=True)
    config = configure(data / "settings", archive, data / "no-logs", 0)
    cost = run([*WATCHKEEP, "ingest", "--config", config, "--json", *files])
    counts = json.loads(cost.said)["counts"]
    if counts["events"] != counts["lines"]:
        raise BenchmarkError(f"not every line became an event: {counts}")
    return cost


def _print(made: DataSet, ours: Cost, bare: dict[int, Cost], archive: Path, data: Path) -> None:
    def row(name: str, cost: Cost, size: int) -> list[str]:
        return [
            name,
            f"{made.events / cost.wall:,.0f}",
            f"{made.events / cost.cpu:,.0f}",
            f"{made.bytes / MEGABYTE / cost.cpu:,.0f}",
            f"{cost.cpu / made.events * 1e6:.2f}",
            f"{cost.rss / 2**20:,.0f}",
            f"{size / made.events:.1f}",
        ]

    rows = [row("watchkeep ingest", ours, size_of(archive))]
    for threads, cost in bare.items():
        rows.append(
            row(f"bare COPY, {threads} thread{'s' * (threads > 1)}", cost, size_of(data / f"bare-{threads}"))
        )
    for threads, cost in bare.items():
        rows.append([
            f"ratio to {threads} thread{'s' * (threads > 1)}",
            ratio(cost.wall, ours.wall),
            ratio(cost.cpu, ours.cpu),
            ratio(cost.cpu, ours.cpu),
            "",
            ratio(ours.rss, cost.rss),
            ratio(size_of(archive), size_of(data / f"bare-{threads}")),
        ])  # fmt: skip
    heads = (
        "ingest into daily zstd Parquet",
        "events/s",
        "events/CPU-s",
        "MB/CPU-s",
        "µs CPU/event",
        "peak MiB",
        "bytes/event",
    )
    table(
        "Ingest (each in a process of its own; ratios above 1 in the first three mean that we are faster)",
        heads,
        rows,
    )
    parts = [(path.name, size_of(path)) for path in sorted(archive.iterdir()) if path.is_dir()]
    told = ", ".join(f"{name} {size / made.events:.1f}" for name, size in parts)
    print(f"  of our bytes per event: {told}")


def check_counts(data: Path, archive: Path, events: int) -> None:
    """Check that API, glob, view and distinct (source, source_offset) agree; raises `BenchmarkError` otherwise."""
    glob = f"{archive}/events/*/*.parquet"
    with duckdb.connect() as connection:
        rows, keys = one(
            connection,
            "SELECT count(*), count(DISTINCT (source, source_offset)) "
            f"FROM read_parquet('{glob}', union_by_name = true) WHERE NOT internal",
        )
    with duckdb.connect(str(archive / "watchkeep.duckdb"), read_only=True) as connection:
        connection.execute(
            f"SET file_search_path = '{archive}'"
        )  # the view's paths are relative to the archive
        (view,) = one(connection, "SELECT count(*) FROM events WHERE NOT internal")
    with (
        Daemon.over(archive, data / "no-logs", data / "settings") as daemon,
        daemon.connect() as connection_to,
    ):
        found = connection_to.json("/api/v1/events?limit=1")["total"]
    counts = {"API": found, "glob": rows, "view": view, "distinct (source, source_offset)": keys}
    if set(counts.values()) != {events}:
        raise BenchmarkError(f"the counts do not agree with {events}: {counts}")
    print("  counts agree: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))


def one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    """Return the only row."""
    row = connection.execute(sql).fetchone()
    assert row is not None
    return tuple(row)


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.ingest", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data, given.events)
    return 0


if __name__ == "__main__":
    sys.exit(main())
