"""Append → visible: how long after its line was written an event is answered over HTTP, under a steady stream."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.daemon import Connection, Daemon
from benchmarks.generate import lines
from benchmarks.measure import DEFAULT_DATA, SPREAD, TAKEN, BenchmarkError, spread, table, taken

RATE = 5_000  # events per second
SECONDS = 30.0
WARM_SECONDS = 3.0
TICK_SECONDS = 0.01  # lines due are appended so often, one write each
POLL_SECONDS = 0.004
MARK_SECONDS = 0.1  # mean time between two measured events
GIVE_UP_SECONDS = 30.0
STOCK = 50_000  # different lines, then again from the first
TIME_KEY = b'"timestamp":"'


class Stream(threading.Thread):
    """An application that appends ``rate`` events of now a second, one write each, and sometimes a marked one."""

    def __init__(self, path: Path, rate: int) -> None:
        super().__init__(daemon=True)
        self.written = 0
        self.behind = 0.0  # greatest delay of the stream itself, seconds
        self._stock = [_around_time(line) for line in lines(STOCK)]
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self._rate = rate
        self._ended = threading.Event()

    def run(self) -> None:
        """Append until told to stop."""
        began = time.perf_counter()
        while not self._ended.is_set():
            due = int((time.perf_counter() - began) * self._rate)
            self.behind = max(self.behind, (due - self.written) / self._rate)
            now = _now()
            while self.written < due:
                before, after = self._stock[self.written % STOCK]
                os.write(self._fd, before + now + after)
                self.written += 1
            time.sleep(TICK_SECONDS)

    def mark(self, event_id: str) -> float:
        """Append an event with this id and return when its write began."""
        before, after = self._stock[0]
        began = time.perf_counter()
        line = before[before.index(b',"correlationId"') :] + _now() + after
        os.write(self._fd, b'{"eventId":"%s"' % event_id.encode() + line)
        return began

    def stop(self) -> None:
        """Stop and wait."""
        self._ended.set()
        self.join()
        os.close(self._fd)


def _around_time(line: bytes) -> tuple[bytes, bytes]:
    """Return what of a line comes before its time, and what after."""
    begin = line.index(TIME_KEY) + len(TIME_KEY)
    return line[:begin], line[line.index(b'"', begin) :]


def _now() -> bytes:
    return datetime.now(UTC).isoformat(timespec="milliseconds").encode().replace(b"+00:00", b"Z")


def measure(
    data: Path, rate: int = RATE, seconds: float = SECONDS, warm_seconds: float = WARM_SECONDS
) -> None:
    """Print percentiles of append → visible at ``rate`` events per second, ``warm_seconds`` after they begin."""
    folder = data / "latency"
    shutil.rmtree(folder, ignore_errors=True)
    logs = folder / "logs"
    with Daemon.over(folder / "archive", logs, folder) as daemon, daemon.connect() as connection:
        stream = Stream(logs / f"app-{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl", rate)
        stream.start()
        time.sleep(warm_seconds)
        cpu, began = daemon.cpu_seconds(), time.perf_counter()
        found = _delays(stream, connection, seconds)
        used = (daemon.cpu_seconds() - cpu) / (time.perf_counter() - began)
        stream.stop()
        total = settled(connection, stream.written + len(found))
        peak = daemon.peak_bytes()
    row = [f"{rate:,} events/s", *spread(found), *taken(used, peak, stream.behind)]
    heads = ("append → visible over HTTP", "samples", *SPREAD, *TAKEN)
    table("Freshness (polling included: every 4 ms and the time of an answer)", heads, [row])
    print(f"  all {total:,} lines were answered for")


def _delays(stream: Stream, connection: Connection, seconds: float) -> list[float]:
    chance = random.Random(7)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        time.sleep(chance.expovariate(1 / MARK_SECONDS))
        name = f"mark-{len(found)}"
        began = stream.mark(name)
        while connection.status(f"/api/v1/events/{name}") != 200:
            if time.perf_counter() - began > GIVE_UP_SECONDS:
                raise BenchmarkError(f"{name} was not visible after {GIVE_UP_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        found.append(time.perf_counter() - began)
    return found


def settled(connection: Connection, expected: int, seconds: float = GIVE_UP_SECONDS) -> int:
    """Return how many events are visible, once they are as many as expected; BenchmarkError when they are not in time."""
    deadline = time.perf_counter() + seconds
    while (total := int(connection.json("/api/v1/events?limit=1")["total"])) != expected:
        if time.perf_counter() > deadline:
            raise BenchmarkError(f"{expected} lines were written, {total} events are there")
        time.sleep(0.1)
    return total


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.latency", description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE, help="events per second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--warm", type=float, default=WARM_SECONDS, help="seconds of the stream before")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data, given.rate, given.seconds, given.warm)
    return 0


if __name__ == "__main__":
    sys.exit(main())
