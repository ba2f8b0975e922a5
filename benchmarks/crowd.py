"""Fifty people at once: how long their questions take alone, together, and while exports and a full stream go on.

Each asks, looks at the answer for a second on average, and asks the next thing: a page, an event, figures, facets.
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
from benchmarks.latency import Stream
from benchmarks.measure import DEFAULT_DATA, milliseconds, ratio, table

CLIENTS = 50
SECONDS = 20.0  # of each phase
THINK_SECONDS = 1.0  # between an answer and the next question, on average
RATE = 5_000  # events a second, of the stream
EXPORTS = 2  # at a time, the places there are
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


@dataclass(slots=True)
class Seen:
    """What the clients of one phase saw: seconds of each answer, and how many answers of each status."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


def measure(data: Path, events: int, clients: int, seconds: float) -> None:
    """Print the table for an archive made by `ingest.measure`."""
    archive = data / "crowd-archive"
    shutil.rmtree(archive, ignore_errors=True)
    shutil.copytree(data / f"archive-{events}", archive)  # the stream is added to it
    logs = data / "crowd-logs"
    shutil.rmtree(logs, ignore_errors=True)
    with Daemon.over(archive, logs, data / "settings") as daemon:
        alone = asyncio.run(_phase(daemon.port, 1, seconds, think=0.05))
        together = asyncio.run(_phase(daemon.port, clients, seconds))
        stream = Stream(logs / f"app-{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl", RATE)
        stream.start()
        cpu = daemon.cpu_seconds()
        busy = asyncio.run(_phase(daemon.port, clients, seconds, exports=EXPORTS))
        cpu = daemon.cpu_seconds() - cpu
        stream.stop()
        peak = daemon.peak_bytes()
    rows = [
        _row("one client", alone, alone, seconds),
        _row(f"{clients} clients", together, alone, seconds),
        _row(f"{clients} clients, {EXPORTS} exports, {RATE:,} events/s", busy, alone, seconds),
    ]
    heads = (
        "phase",
        "answers/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "most ms",
        "p99 / alone",
        "429",
        "other errors",
    )
    table(f"Interactive questions over {events:,} events, {seconds:g} s a phase", heads, rows)
    print(f"  of two cores the last phase took {cpu / seconds:.2f}; peak memory {peak / 2**20:,.0f} MiB")
    shutil.rmtree(archive, ignore_errors=True)
    shutil.rmtree(logs, ignore_errors=True)


def _row(name: str, seen: Seen, alone: Seen, seconds: float) -> list[str]:
    cuts = statistics.quantiles(seen.seconds, n=100)
    base = statistics.quantiles(alone.seconds, n=100)
    errors = sum(amount for status, amount in seen.statuses.items() if status not in {200, 429})
    return [
        name,
        f"{len(seen.seconds) / seconds:.0f}",
        *(milliseconds(cuts[place - 1]) for place in (50, 95, 99)),
        milliseconds(max(seen.seconds)),
        ratio(cuts[98], base[98]),
        str(seen.statuses[429]),
        str(errors),
    ]


async def _phase(
    port: int, clients: int, seconds: float, *, exports: int = 0, think: float = THINK_SECONDS
) -> Seen:
    """Let some clients ask for a while; exports begin again as soon as they end."""
    seen = Seen()
    base = f"http://127.0.0.1:{port}/api/v1"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        until = time.monotonic() + seconds
        work = [_client(session, base, number, until, think, seen) for number in range(clients)]
        work += [_exporter(session, base, until) for _ in range(exports)]
        await asyncio.gather(*work)
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


async def _exporter(session: aiohttp.ClientSession, base: str, until: float) -> None:
    while time.monotonic() < until:
        async with session.get(f"{base}/events/export?format=ndjson&{WEEK}") as answer:
            async for _ in answer.content.iter_chunked(1 << 18):
                if time.monotonic() >= until:
                    return


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
