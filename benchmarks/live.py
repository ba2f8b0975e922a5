"""Live: append → delivered to many clients of `/events/live`, and what an event and a client cost the daemon."""

from __future__ import annotations

import argparse
import selectors
import shutil
import socket
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.daemon import Daemon
from benchmarks.latency import WARM_SECONDS, Stream
from benchmarks.measure import DEFAULT_DATA, BenchmarkError, milliseconds, ratio, table

CLIENTS = 200
RATE = 1_000  # events per second
SECONDS = 10.0
SETTLE_SECONDS = 30.0
MARK_SECONDS = 0.1  # between two measured events
READ_BYTES = 1 << 18
DATA = b"\ndata: {"  # begins an event
MARK = b'"eventId":"mark-'
QUERY = "/api/v1/events/live"


class Run(NamedTuple):
    """What one run with some clients measured: seconds of delay, seconds of CPU until all was delivered, events."""

    clients: int
    delays: list[float]
    cpu: float
    written: int

    @property
    def each(self) -> float:
        """Seconds of CPU for one event, on its whole way."""
        return self.cpu / self.written


class Readers(threading.Thread):
    """Clients that read as fast as they can; the first one looks for marked events, all count them."""

    def __init__(self, port: int, clients: int, query: str) -> None:
        super().__init__(daemon=True)
        self.seen: dict[bytes, float] = {}  # mark → when the first client had it
        self.events = [0] * clients
        self._ended = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._tails = [bytes(len(DATA) - 1)] * clients
        self._rest = b""
        self._sockets = [self._open(port, place, query) for place in range(clients)]

    def _open(self, port: int, place: int, query: str) -> socket.socket:
        near = socket.create_connection(("127.0.0.1", port))
        near.sendall(f"GET {query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        near.setblocking(False)
        self._selector.register(near, selectors.EVENT_READ, place)
        return near

    def run(self) -> None:
        """Read until told to stop."""
        buffer = bytearray(len(DATA) - 1 + READ_BYTES)  # what a read may have cut stands before the next one
        into = memoryview(buffer)[len(DATA) - 1 :]
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.1):
                place: int = key.data
                assert isinstance(key.fileobj, socket.socket)
                buffer[: len(DATA) - 1] = self._tails[place]
                got = key.fileobj.recv_into(into)
                if not got:
                    self._selector.unregister(key.fileobj)
                    continue
                self.events[place] += buffer.count(DATA, 0, len(DATA) - 1 + got)
                self._tails[place] = bytes(buffer[got : got + len(DATA) - 1])
                if place == 0:
                    self._look(bytes(into[:got]))

    def _look(self, data: bytes) -> None:
        now = time.perf_counter()
        *blocks, self._rest = (self._rest + data).split(DATA)
        for block in [*blocks, self._rest]:
            if block.startswith(MARK) and (end := block.find(b'"', len(MARK))) > 0:
                self.seen.setdefault(block[len(MARK) - len(b"mark-") : end], now)

    def stop(self) -> None:
        """Stop, wait, and close the connections."""
        self._ended.set()
        self.join()
        for near in self._sockets:
            near.close()


class Load(NamedTuple):
    """What is written: events per second, for so many seconds, after the daemon had so many to settle."""

    rate: int
    seconds: float
    warm_seconds: float


def measure(data: Path, clients: int, load: Load, query: str = QUERY) -> Run:
    """Follow a stream with so many clients."""
    folder = data / "live"
    shutil.rmtree(folder, ignore_errors=True)
    logs = folder / "logs"
    with Daemon.over(folder / "archive", logs, folder) as daemon, daemon.connect() as connection:
        readers = Readers(daemon.port, clients, query)
        readers.start()
        time.sleep(load.warm_seconds)
        cpu = daemon.cpu_seconds()
        stream = Stream(logs / f"app-{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl", load.rate)
        stream.start()
        began = time.perf_counter()
        marks: dict[bytes, float] = {}
        while time.perf_counter() - began < load.seconds:
            time.sleep(MARK_SECONDS)
            name = f"mark-{len(marks)}"
            marks[name.encode()] = stream.mark(name)
        stream.stop()
        written = stream.written + len(marks)
        ends = time.monotonic() + SETTLE_SECONDS
        while any(events < written for events in readers.events) and time.monotonic() < ends:
            time.sleep(0.05)
        while int(connection.json("/api/v1/events?limit=1")["total"]) < written and time.monotonic() < ends:
            time.sleep(0.05)
        used = daemon.cpu_seconds() - cpu
        readers.stop()
    if (set(marks) - set(readers.seen) and clients) or any(events != written for events in readers.events):
        raise BenchmarkError(f"{written} events were written, clients got {sorted(set(readers.events))}")
    delays = [readers.seen[name] - at for name, at in marks.items()] if clients else []
    return Run(clients, delays, used, written)


def compare(data: Path, clients: int, load: Load) -> None:
    """Print delays and costs with no client, one, all without a filter, and all with one."""
    nobody = measure(data, 0, load)
    one = measure(data, 1, load)
    runs = [
        ("nobody", nobody),
        ("1 client", one),
        (f"{clients} clients", measure(data, clients, load)),
        (f"{clients} clients, filter", measure(data, clients, load, f"{QUERY}?environment=!none")),
    ]
    rows = []
    for name, run in runs:
        row = [
            name,
            "-",
            "-",
            f"{run.each * 1e6:,.0f}",
            ratio(run.each, nobody.each),
            "-",
            f"{run.written:,}",
        ]
        if run.delays:
            cuts = statistics.quantiles(run.delays, n=100, method="inclusive")
            row[1:3] = [milliseconds(cuts[49]), milliseconds(cuts[98])]
            row[5] = f"{(run.each - nobody.each) / run.clients * 1e6:,.2f}"
        rows.append(row)
    heads = (
        f"{load.rate:,} events/s",
        "p50 ms",
        "p99 ms",
        "CPU µs an event",
        "of nobody's",
        "µs an event and client",
        "events",
    )
    table(
        "Append → delivered over /events/live (all of the daemon's CPU until the last client had all)",
        heads,
        rows,
    )
    print(f"  every client had every event: {clients * nobody.written:,} and more deliveries")


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(prog="benchmarks.live", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rate", type=int, default=RATE, help="events per second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--warm", type=float, default=WARM_SECONDS, help="seconds before the first event")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    compare(given.data, given.clients, Load(given.rate, given.seconds, given.warm))
    return 0


if __name__ == "__main__":
    sys.exit(main())
