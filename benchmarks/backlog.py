"""A daemon that catches up with a backlog: peak memory and CPU, from the files' appearance to the last answer."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.generate import generate
from benchmarks.latency import settled
from benchmarks.measure import DEFAULT_DATA, table

EVENTS = 300_000  # a few commits' worth
PATIENCE_SECONDS = 900.0  # a million events on a machine where every process gets an eighth of a core


def measure(data: Path, events: int) -> None:
    """Generate, let a daemon read it live, print the table."""
    source = data / f"events-{events}"
    made = generate(source, events)
    folder = data / "backlog"
    shutil.rmtree(folder, ignore_errors=True)
    with Daemon.over(folder / "archive", folder / "logs", folder / "settings") as daemon:
        daemon.settle()
        before, used = daemon.resident_bytes(), daemon.cpu_seconds()
        daemon.forget_peak()
        began = time.perf_counter()
        for name in made.files:
            os.link(source / name, folder / "logs" / name)
        with daemon.connect() as connection:
            settled(connection, events, PATIENCE_SECONDS)
        wall, cpu = time.perf_counter() - began, daemon.cpu_seconds() - used
        row = [
            f"{events:,}",
            f"{events / wall:,.0f}",
            f"{cpu / events * 1e6:.2f}",
            f"{before / 2**20:,.0f}",
            f"{daemon.peak_bytes() / 2**20:,.0f}",
        ]
    heads = ("events", "events/s", "µs CPU/event", "MiB before", "peak MiB")
    table("Backlog: a daemon reads files live, with detection", heads, [row])


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.backlog", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data, given.events)
    return 0


if __name__ == "__main__":
    sys.exit(main())
