"""What detection costs: events a second and core for all our rules over a stream, and ingest with and without it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.daemon import Daemon
from benchmarks.generate import lines
from benchmarks.measure import DEFAULT_DATA, BenchmarkError, ratio, table
from benchmarks.risk import READ_US, parsed
from daemon.rulebook import PACK, read
from parsers.columns import EVENT_SCHEMA
from parsers.points import Points
from parsers.risk import Scoring
from storage.detecting import Detector, DetectorOptions
from storage.hot import hot_events, with_order
from storage.snapshot import Hot, Snapshot

EVENTS = 200_000
BATCHES = (5_000, 20_000, 100_000)
POLL_SECONDS = 0.05
MOST_SECONDS = 300.0
WITHOUT = "\n[rules]\nenabled = false\n"


def measure(data: Path) -> None:
    """Print both tables."""
    stock = lines(EVENTS)
    book = read([PACK], ())
    rows = []
    for size in BATCHES:
        snapshot = _snapshot(stock, size)
        detector = Detector(book.emitting, book.rules, book.routes, DetectorOptions(rows=size))
        after, fired, withdrawn = 0, 0, 0
        started, began = time.process_time(), time.monotonic()
        slowest = 0.0
        while after < snapshot.seq:
            step_began = time.monotonic()
            step = detector.step(snapshot, after)
            slowest = max(slowest, time.monotonic() - step_began)
            fired, withdrawn, after = fired + len(step.anchors), withdrawn + len(step.withdrawn), step.seq
        spent, wall = time.process_time() - started, time.monotonic() - began
        rows.append([
            f"{size:,}",
            f"{EVENTS / spent:,.0f}",
            f"{spent * 1e6 / EVENTS:.2f}",
            f"{wall * size / EVENTS * 1e3:.0f}",
            f"{slowest * 1e3:.0f}",
            f"{fired:,}",
            f"{withdrawn:,}",
            f"{detector.match_bytes / 1e6:.1f}",
        ])  # fmt: skip
        detector.close()
    heads = (
        "batch",
        "events/s a core",
        "µs an event",
        "ms a batch",
        "slowest",
        "fired",
        "withdrawn",
        "MB kept",
    )
    table(f"Detection: {len(book.emitting)} rules, {EVENTS:,} events", heads, rows)
    _ingest(data / "detect", stock)


def _snapshot(stock: list[bytes], size: int) -> Snapshot:
    tables, _ = parsed(stock, size)
    scoring, seq = Scoring(Points()), 1
    hot: list[Hot] = []
    for each in tables:
        scored: pa.Table = scoring.score(each, np.full(each.num_rows, READ_US, np.int64))
        hot.append(hot_events(with_order(scored, EVENT_SCHEMA, seq, READ_US)))
        seq += each.num_rows
    return Snapshot("/", "main", seq - 1, 0, seq - 1, 0, 0, 0, 0, (), (), (), tuple(hot), ())


def _ingest(folder: Path, stock: list[bytes]) -> None:
    rows, seconds = [], {}
    for name, more in (("without", WITHOUT), ("with", "")):
        shutil.rmtree(folder, ignore_errors=True)
        logs = folder / "logs"
        logs.mkdir(parents=True)
        with Daemon.over(folder / "archive", logs, folder, more) as daemon:
            time.sleep(5)  # the rules are read by then
            cpu = daemon.cpu_seconds()
            (logs / "app-2026-03-01.jsonl").write_bytes(b"".join(stock))
            began = time.monotonic()
            with daemon.connect() as http:
                while http.json("/events?limit=1")["total"] < len(stock):
                    if time.monotonic() - began > MOST_SECONDS:
                        raise BenchmarkError("the events never became visible")
                    time.sleep(POLL_SECONDS)
            seconds[name] = time.monotonic() - began
            visible_cpu = daemon.cpu_seconds() - cpu
            time.sleep(15)
            rows.append([
                name,
                f"{seconds[name]:.2f}",
                f"{len(stock) / seconds[name]:,.0f}",
                f"{visible_cpu:.2f}",
                f"{daemon.cpu_seconds() - cpu:.2f}",
                f"{daemon.peak_bytes() / 1e6:,.0f}",
            ])  # fmt: skip
    heads = ("detection", "s until visible", "events/s", "CPU s by then", "CPU s 15 s later", "peak MB")
    table(f"Ingest of a backlog of {len(stock):,} events", heads, rows)
    print(f"ingest with detection / without: {ratio(seconds['without'], seconds['with'])} of its speed")
    shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.detect", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder for what is generated")
    measure(parser.parse_args().data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
