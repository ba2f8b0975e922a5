"""Fifty people at once: how long their questions take alone, together, and beside exports, back-tests and a stream.

Each asks, looks at the answer for a second on average, and asks the next thing: a page, figures, facets. The stream is of
events of now, with the rules that come with Watchkeep looking at them. What load does to the questions is told as ratios to
the same people without it: they travel better than milliseconds. In the end every line of the stream must be there.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import shutil
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from benchmarks import ingest
from benchmarks.daemon import Daemon
from benchmarks.latency import Stream, settled
from benchmarks.measure import DEFAULT_DATA, MEGABYTE, milliseconds, ratio, table

CLIENTS = 50
SECONDS = 20.0  # of each phase
THINK_SECONDS = 1.0  # between an answer and the next question, on average
RATE = 5_000  # events a second, of the stream
EXPORTS = 2  # at a time, the places there are
SETTLE_SECONDS = 60.0  # for the last lines to become visible
RULE = """
title: Errors of one user
id: 6d3f2c1e-8a52-4b7e-9a3e-2f6f0a4c7b11
status: test
logsource: {product: watchkeep}
detection:
  selection: {level: [error, critical]}
  condition: selection
"""
SEED = 11
DAY = "2026-11-22"
WEEK = "start_date=2026-11-16&end_date=2026-11-22"
QUESTIONS = (
    f"/events?level=error&start_date={DAY}&end_date={DAY}&limit=50",
    "/events?limit=50",
    "/events?q=level:warning%20-category:api&limit=50",
    "/events?search_query=suspicious&limit=50",
    f"/events/statistics?{WEEK}&parts=counts",
    f"/events/trends?{WEEK}&interval=1h&by=level",
    f"/events/facets?{WEEK}&fields=level,category,action&top=10",
)


@dataclass(frozen=True, slots=True)
class Load:
    """What goes on beside the questions: exports and back-tests at a time, events a second."""

    name: str
    exports: int = 0
    backtests: int = 0
    rate: int = 0


LOADS = (
    Load("nothing"),
    Load(f"{EXPORTS} exports", exports=EXPORTS),
    Load("back-tests", backtests=1),
    Load(f"{RATE:,} events/s", rate=RATE),
    Load(f"{EXPORTS} exports, {RATE:,} events/s", exports=EXPORTS, rate=RATE),
    Load("all of it", exports=EXPORTS, backtests=1, rate=RATE),
)


@dataclass(slots=True)
class Seen:
    """What the clients of one phase saw: seconds of each answer, answers of each status, what the load achieved."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    exported: int = 0  # bytes
    backtests: int = 0
    cpu: float = 0.0  # cores
    peak: int = 0  # bytes of memory, of this phase alone

    def cut(self, percent: int) -> float:
        """Return the seconds within which so many percent of the answers came."""
        return statistics.quantiles(self.seconds, n=100)[percent - 1]


def measure(data: Path, events: int, clients: int, seconds: float) -> None:
    """Print the table for an archive made by `ingest.measure`; raises BenchmarkError when a line is lost."""
    archive = data / "crowd-archive"
    shutil.rmtree(archive, ignore_errors=True)
    shutil.copytree(data / f"archive-{events}", archive)  # the stream is added to it
    logs = data / "crowd-logs"
    shutil.rmtree(logs, ignore_errors=True)
    written = 0
    with Daemon.over(archive, logs, data / "settings") as daemon:
        asyncio.run(_phase(daemon, Load("warming up"), clients, seconds / 4))
        seen: dict[str, Seen] = {}
        for load in LOADS:
            stream = _stream(logs, load.rate) if load.rate else None
            seen[load.name] = asyncio.run(_phase(daemon, load, clients, seconds))
            if stream is not None:
                stream.stop()
                written += stream.written
        with daemon.connect() as connection:
            settled(connection, events + written, SETTLE_SECONDS)
    print_table(events, clients, seconds, seen)
    print(f"  {written:,} lines were written meanwhile, and all of them are there")
    shutil.rmtree(archive, ignore_errors=True)
    shutil.rmtree(logs, ignore_errors=True)


def _stream(logs: Path, rate: int) -> Stream:
    stream = Stream(logs / f"app-{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl", rate)
    stream.start()
    return stream


def print_table(events: int, clients: int, seconds: float, seen: dict[str, Seen]) -> None:
    """Print a line for each load; the first is what the others are compared with."""
    base = next(iter(seen.values()))
    heads = (
        *("beside", "answers/s", "p50 ms", "p95 ms", "p99 ms", "most ms", "p50 / alone", "p99 / alone"),
        *("429", "other errors", "exports MB/s", "back-tests", "cores", "peak MiB"),
    )
    rows = [
        [
            name,
            f"{len(found.seconds) / seconds:.0f}",
            *(milliseconds(found.cut(percent)) for percent in (50, 95, 99)),
            milliseconds(max(found.seconds)),
            *(ratio(found.cut(percent), base.cut(percent)) for percent in (50, 99)),
            str(found.statuses[429]),
            str(sum(amount for status, amount in found.statuses.items() if status not in {200, 429})),
            f"{found.exported / MEGABYTE / seconds:.0f}",
            str(found.backtests),
            f"{found.cpu:.2f}",
            f"{found.peak / 2**20:,.0f}",
        ]
        for name, found in seen.items()
    ]
    table(f"Questions of {clients} people over {events:,} events, {seconds:g} s a phase", heads, rows)


async def _phase(daemon: Daemon, load: Load, clients: int, seconds: float) -> Seen:
    """Let some clients ask for a while; exports and back-tests begin again as soon as they end."""
    seen = Seen()
    base = f"http://127.0.0.1:{daemon.port}/api/v1"
    daemon.forget_peak()
    cpu = daemon.cpu_seconds()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        until = time.monotonic() + seconds
        work = [_client(session, base, number, until, THINK_SECONDS, seen) for number in range(clients)]
        work += [_exporter(session, base, until, seen) for _ in range(load.exports)]
        work += [_backtester(session, base, until, seen) for _ in range(load.backtests)]
        await asyncio.gather(*work)
    seen.cpu = (daemon.cpu_seconds() - cpu) / seconds
    seen.peak = daemon.peak_bytes()
    return seen


async def _client(
    session: aiohttp.ClientSession, base: str, number: int, until: float, think: float, seen: Seen
) -> None:
    chance = random.Random(SEED + number)
    for place in itertools.count(number):
        await asyncio.sleep(chance.expovariate(1 / think))
        if time.monotonic() >= until:
            return
        began = time.perf_counter()
        async with session.get(base + QUESTIONS[place % len(QUESTIONS)]) as answer:
            await answer.read()
            seen.statuses[answer.status] += 1
        seen.seconds.append(time.perf_counter() - began)


async def _exporter(session: aiohttp.ClientSession, base: str, until: float, seen: Seen) -> None:
    while time.monotonic() < until:
        async with session.get(f"{base}/events/export?format=ndjson&{WEEK}") as answer:
            answer.raise_for_status()
            async for piece in answer.content.iter_chunked(1 << 18):
                seen.exported += len(piece)
                if time.monotonic() >= until:
                    return


async def _backtester(session: aiohttp.ClientSession, base: str, until: float, seen: Seen) -> None:
    while time.monotonic() < until:
        async with session.post(f"{base}/rules/test?{WEEK}", json={"rule": RULE}) as answer:
            answer.raise_for_status()
            await answer.read()
        seen.backtests += 1


def main() -> int:
    """Measure once, ingesting first if there is no archive yet."""
    parser = argparse.ArgumentParser(prog="benchmarks.crowd", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    if not (given.data / f"archive-{given.events}").exists():
        ingest.measure(given.data, given.events)
    measure(given.data, given.events, given.clients, given.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
