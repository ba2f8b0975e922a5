"""Many files that nobody writes to: what watching them costs, and how soon a line in one of them is answered."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.daemon import Connection, Daemon
from benchmarks.measure import DEFAULT_DATA, BenchmarkError, milliseconds, table
from daemon.control import call
from storage.layout import Layout

FILES = (1_000, 10_000, 50_000)
FOLDER_FILES = 100
SECONDS = 30.0
SETTLE_SECONDS = 15.0  # files that were written just now are looked at more often for a while
IDLE_AGE_SECONDS = 86_400  # how long ago the files were last written
MARKS = 15
NEW_FILES = 5
POLL_SECONDS = 0.004
GIVE_UP_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Idle:
    """How long the idle daemon is measured and may come to rest before, in seconds; how many lines are appended."""

    seconds: float = SECONDS
    settle: float = SETTLE_SECONDS
    marks: int = MARKS
    a_folder: int = FOLDER_FILES  # files in one folder
    seal: bool = False  # whether to seal at the end


def measure(data: Path, amounts: Sequence[int], idle: Idle) -> None:
    """Print the CPU of a daemon over so many idle files, and the delay of a line and of a new file among them."""
    rows = [_measured(data / "idle", amount, idle) for amount in amounts]
    heads = (
        "files",
        "first read s",
        "idle CPU of one core",
        "line p50 ms",
        "line max ms",
        "new file p50 ms",
        "peak MiB",
        *(("seal: CPU s", "wall s", "peak MiB") if idle.seal else ()),
    )
    table("Idle files (polling included: every 4 ms and the time of an answer)", heads, rows)


def _measured(folder: Path, amount: int, idle: Idle) -> list[str]:
    shutil.rmtree(folder, ignore_errors=True)
    logs = folder / "logs"
    paths = _written(logs, amount, idle.a_folder)
    began = time.perf_counter()
    with Daemon.over(folder / "archive", logs, folder) as daemon, daemon.connect() as connection:
        _await_events(connection, amount)
        first = time.perf_counter() - began
        time.sleep(idle.settle)
        cpu, began = daemon.cpu_seconds(), time.perf_counter()
        time.sleep(idle.seconds)
        used = (daemon.cpu_seconds() - cpu) / (time.perf_counter() - began)
        chance = random.Random(7)
        delays = [_delay(connection, chance.choice(paths), f"mark-{n}") for n in range(idle.marks)]
        fresh = [_delay(connection, logs / f"new-{n}.jsonl", f"new-{n}") for n in range(NEW_FILES)]
        peak = daemon.peak_bytes()
        sealed = _sealed(daemon, folder / "archive") if idle.seal else ()
    return [
        f"{amount:,}",
        f"{first:.1f}",
        f"{used:.1%}",
        milliseconds(statistics.median(delays)),
        milliseconds(max(delays)),
        milliseconds(statistics.median(fresh)),
        f"{peak / 2**20:,.0f}",
        *sealed,
    ]


def _sealed(daemon: Daemon, archive: Path) -> tuple[str, str, str]:
    """Seal everything; return its CPU seconds, wall seconds, and the daemon's peak memory meanwhile."""
    daemon.forget_peak()
    cpu, began = daemon.cpu_seconds(), time.perf_counter()
    call(Layout(str(archive.resolve()), "main").control_socket, "POST", "/seal", {})
    wall, used = time.perf_counter() - began, daemon.cpu_seconds() - cpu
    return f"{used:.1f}", f"{wall:.1f}", f"{daemon.peak_bytes() / 2**20:,.0f}"


def _written(logs: Path, amount: int, a_folder: int) -> list[Path]:
    """Write files of one line each, last written a day ago."""
    paths = []
    then = time.time() - IDLE_AGE_SECONDS
    for number in range(amount):
        path = logs / str(number // a_folder) / f"app-{number}.jsonl"
        if number % a_folder == 0:
            path.parent.mkdir(parents=True)
        path.write_bytes(_line(f"first-{number}"))
        os.utime(path, (then, then))
        paths.append(path)
    return paths


def _line(event_id: str) -> bytes:
    # As loggers write and as files begin that are rotated in the same second: what tells them apart comes last.
    return (
        b'{"timestamp":"2026-03-01T10:00:00Z","level":"info","description":"idle","eventId":"%s"}\n'
        % event_id.encode()
    )


def _delay(connection: Connection, path: Path, event_id: str) -> float:
    time.sleep(0.2)
    began = time.perf_counter()
    with path.open("ab", buffering=0) as file:
        file.write(_line(event_id))
    while connection.status(f"/api/v1/events/{event_id}") != 200:
        if time.perf_counter() - began > GIVE_UP_SECONDS:
            raise BenchmarkError(f"{event_id} was not visible after {GIVE_UP_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return time.perf_counter() - began


def _await_events(connection: Connection, amount: int) -> None:
    deadline = time.perf_counter() + GIVE_UP_SECONDS
    while (total := int(connection.json("/api/v1/events?limit=1")["total"])) != amount:
        if time.perf_counter() > deadline:
            raise BenchmarkError(f"{amount} lines were written, {total} events are there")
        time.sleep(0.25)


def main() -> int:
    """Measure each amount once."""
    parser = argparse.ArgumentParser(prog="benchmarks.idle", description=__doc__)
    parser.add_argument(
        "--files", type=int, nargs="*", default=list(FILES), help="how many files, one run each"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the idle daemon is measured")
    parser.add_argument(
        "--settle", type=float, default=SETTLE_SECONDS, help="how long it may come to rest before"
    )
    parser.add_argument("--marks", type=int, default=MARKS, help="lines that are appended to some of them")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--a-folder", type=int, default=FOLDER_FILES, help="files in each folder")
    parser.add_argument("--seal", action="store_true", help="seal at the end, and say what that takes")
    given = parser.parse_args()
    idle = Idle(given.seconds, given.settle, given.marks, given.a_folder, given.seal)
    measure(given.data, given.files, idle)
    return 0


if __name__ == "__main__":
    sys.exit(main())
