"""What detection costs: events a second and core for all our rules over a stream, and ingest with and without it."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.daemon import Daemon
from benchmarks.generate import FIRST_DAY, LAST_DAY, lines
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
BATCHES = (5_000, 20_000, 50_000)
POLL_SECONDS = 0.2
SETTLE_SECONDS = 5.0
ROWS_LOOKED_AT = b"watchkeep_detection_rows_total"
MOST_SECONDS = 600.0
WITHOUT = "\n[rules]\nenabled = false\n"


def measure() -> None:
    """Print how many events a second the rules look at, by themselves."""
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


def _snapshot(stock: list[bytes], size: int) -> Snapshot:
    tables, _ = parsed(stock, size)
    scoring, seq = Scoring(Points()), 1
    hot: list[Hot] = []
    for each in tables:
        scored: pa.Table = scoring.score(each, np.full(each.num_rows, READ_US, np.int64))
        hot.append(hot_events(with_order(scored, EVENT_SCHEMA, seq, READ_US)))
        seq += each.num_rows
    return Snapshot("/", "main", seq - 1, 0, seq - 1, 0, 0, 0, 0, (), (), (), tuple(hot), ())


def _ingest(folder: Path, stock: list[bytes], day: date) -> None:
    """Read a backlog without the rules and with them: until all is visible, and until the rules have seen it."""
    rows, seconds, spent = [], {}, {}
    for name, more in (("without", WITHOUT), ("with", "")):
        shutil.rmtree(folder, ignore_errors=True)
        logs = folder / "logs"
        logs.mkdir(parents=True)
        with Daemon.over(folder / "archive", logs, folder, more) as daemon:
            time.sleep(SETTLE_SECONDS)  # the rules are read by then
            cpu = daemon.cpu_seconds()
            # One file, written at once: ingest reads as fast as it can.
            (logs / f"app-{day}.jsonl").write_bytes(b"".join(stock))
            began = time.monotonic()
            with daemon.connect() as http:
                _wait(began, lambda: http.json("/events?limit=1")["total"] >= len(stock))
                seconds[name] = time.monotonic() - began
                spent[name] = daemon.cpu_seconds() - cpu
                looked = "-"
                if not more:
                    _wait(began, lambda: _metric(http.bytes("/metrics"), ROWS_LOOKED_AT) >= len(stock))
                    looked = f"{time.monotonic() - began - seconds[name]:.1f}"
            time.sleep(SETTLE_SECONDS)  # what is left of committing
            rows.append([
                name,
                f"{seconds[name]:.2f}",
                f"{len(stock) / seconds[name]:,.0f}",
                f"{spent[name] * 1e6 / len(stock):.2f}",
                looked,
                f"{(daemon.cpu_seconds() - cpu) * 1e6 / len(stock):.2f}",
                f"{daemon.peak_bytes() / 2**20:,.0f}",
            ])  # fmt: skip
    heads = (
        "rules",
        "s until visible",
        "events/s",
        "µs CPU an event by then",
        "rules seen s later",
        "µs CPU in all",
        "peak MiB",
    )
    table(f"Ingest of a backlog of {len(stock):,} events", heads, rows)
    print(
        f"events a second of wall time with the rules / without: {ratio(seconds['without'], seconds['with'])}; "
        f"of CPU until visible: {ratio(spent['without'], spent['with'])}"
    )
    shutil.rmtree(folder, ignore_errors=True)


def _wait(began: float, done: Callable[[], bool]) -> None:
    while not done():
        if time.monotonic() - began > MOST_SECONDS:
            raise BenchmarkError(f"it was not done within {MOST_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


def _metric(text: bytes, name: bytes) -> float:
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(name + b" ")), 0.0)


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.detect", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder for what is generated")
    parser.add_argument("--events", type=int, default=EVENTS, help="events of the backlog (200000)")
    parser.add_argument(
        "--skip-rates", action="store_true", help="only the daemon, with and without the rules"
    )
    parser.add_argument(
        "--storm", action="store_true", help="a backlog of one instant: every window holds all of its events"
    )
    given = parser.parse_args()
    if not given.skip_rates:
        measure()
    # Times more than a day after the date in a file's name become the beginning of that day.
    day = FIRST_DAY - timedelta(days=30) if given.storm else LAST_DAY
    _ingest(given.data / "detect", lines(given.events), day)
    return 0


if __name__ == "__main__":
    sys.exit(main())
