"""Exports of a whole archive in every format, over HTTP, beside DuckDB's COPY of the same rows in the same run.

Events and not bytes are compared: the formats of both spell them differently. COPY writes a file in no order; an export
is in order, and goes through a socket.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.daemon import Daemon
from benchmarks.measure import DEFAULT_DATA, MEGABYTE, ratio, table

MEBIBYTE = 1 << 20
THREADS = 2  # of the plain DuckDB beside us, as the daemon has by default


@dataclass(frozen=True, slots=True)
class Form:
    """A format: its name in the table, how the daemon is asked for it, and the options of a COPY that is like it."""

    name: str
    query: str
    copy: str


FORMS = (
    Form("ndjson", "format=ndjson", "FORMAT json"),
    Form("json", "format=json", "FORMAT json, ARRAY true"),
    Form("csv", "format=csv", "FORMAT csv, HEADER"),
    Form("parquet", "format=parquet", "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"),
    Form("arrow", "format=arrow", ""),  # DuckDB alone writes none
    Form("ndjson.gz", "format=ndjson&compress=gzip", "FORMAT json, COMPRESSION gzip"),
    Form("ndjson.zst", "format=ndjson&compress=zstd", "FORMAT json, COMPRESSION zstd"),
)


def measure(daemon: Daemon, plain: duckdb.DuckDBPyConnection, data: Path, events: int) -> None:
    """Print the table of formats, and what memory the daemon had before, after each and with two at a time.

    ``plain`` has the view ``events``.
    """
    held = [f"idle {_mib(daemon.resident_bytes())} (since its start at most {_mib(daemon.peak_bytes())})"]
    rows = []
    for form in FORMS:  # once each: a gigabyte a run needs no warming up
        daemon.forget_peak()
        rows.append(_row(form, daemon, plain, data, events))
        held.append(f"{form.name} {_mib(daemon.peak_bytes())}")
    daemon.forget_peak()
    both = [threading.Thread(target=_drain, args=(daemon, FORMS[0])) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    held.append(f"two of {FORMS[0].name} at a time {_mib(daemon.peak_bytes())}")
    table(
        f"Export of all {events:,} events",
        ("j", "MB", "MB/s", "events/s", "CPU µs/event", "COPY events/s", "HTTP / COPY"),
        rows,
    )
    print(f"  peak memory of the daemon in MiB: {', '.join(held)}")


def _row(form: Form, daemon: Daemon, plain: duckdb.DuckDBPyConnection, data: Path, events: int) -> list[str]:
    before, began = daemon.cpu_seconds(), time.perf_counter()
    size = _drain(daemon, form)
    ours = time.perf_counter() - began
    cpu = daemon.cpu_seconds() - before
    shown = [
        f"{size / MEGABYTE:,.0f}",
        f"{size / MEGABYTE / ours:,.0f}",
        f"{events / ours:,.0f}",
        f"{cpu / events * 1e6:.1f}",
    ]
    if not form.copy:
        return [form.name, *shown, "-", "-"]
    target = data / f"export.{form.name}"
    began = time.perf_counter()
    plain.execute(f"COPY (SELECT * FROM events) TO '{target}' ({form.copy})")
    theirs = time.perf_counter() - began
    target.unlink()
    return [form.name, *shown, f"{events / theirs:,.0f}", ratio(theirs, ours)]


def _drain(daemon: Daemon, form: Form) -> int:
    with daemon.connect() as connection:
        return connection.drain(f"/api/v1/events/export?{form.query}")


def _mib(size: int) -> str:
    return f"{size / MEBIBYTE:,.0f}"


def main() -> int:
    """Measure over an archive that the benchmark of ingest has made."""
    parser = argparse.ArgumentParser(prog="benchmarks.exports", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    archive = given.data / f"archive-{given.events}"
    with (
        duckdb.connect() as plain,
        Daemon.over(archive, given.data / "no-logs", given.data / "settings") as daemon,
    ):
        plain.execute(f"SET threads = {THREADS}")
        glob = f"{archive}/events/*/*.parquet"
        plain.execute(
            f"CREATE VIEW events AS SELECT * FROM read_parquet('{glob}', union_by_name = true) WHERE NOT internal"
        )
        measure(daemon, plain, given.data, given.events)
    return 0


if __name__ == "__main__":
    sys.exit(main())
