"""Children and what they cost: wall and CPU seconds, peak memory; medians; tables for people."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WATCHKEEP = (sys.executable, str(ROOT / "watchkeep.py"))
DEFAULT_DATA = ROOT / "bench-data"
KIBIBYTE = 1024
MEGABYTE = 1_000_000
COMPLAINT_CHARACTERS = 2_000


class BenchmarkError(Exception):
    """A measurement that means nothing: a child failed, or counts do not agree."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a child process cost. Times in seconds, peak memory in bytes; ``said`` is its standard output."""

    wall: float
    cpu: float
    rss: int
    said: str


def run(command: Sequence[str]) -> Cost:
    """Run a child to its end and return what the kernel says it used; raises `BenchmarkError` if it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        began = time.perf_counter()
        actions = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, err.fileno(), 2)]
        child = os.posix_spawn(
            command[0], list(command), {**os.environ, "PYTHONPATH": str(ROOT)}, file_actions=actions
        )
        _, status, used = os.wait4(child, 0)
        wall = time.perf_counter() - began
        out.seek(0)
        err.seek(0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            name = " ".join(command[:4])
            raise BenchmarkError(f"{name} … ended with {code}:\n{err.read()[-COMPLAINT_CHARACTERS:]}")
        return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * KIBIBYTE, out.read())


def median(work: Callable[[], object], times: int) -> float:
    """Return the median seconds of ``times`` runs after one that does not count."""
    work()
    return statistics.median(_timed(work) for _ in range(times))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def size_of(*folders: Path) -> int:
    """Return the bytes of all files below the folders."""
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    print(f"\n{title}")
    for row in (heads, ["-" * width for width in widths], *rows):
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
    sys.stdout.flush()


def milliseconds(seconds: float) -> str:
    """``12.3`` for 0.0123 seconds."""
    return f"{seconds * 1000:,.1f}"


# What `spread` gives, and what a daemon took meanwhile.
SPREAD = ("p50 ms", "p95 ms", "p99 ms", "max ms")
TAKEN = ("CPU of one core", "peak MiB", "writer late ms")


def spread(delays: Sequence[float]) -> list[str]:
    """Return how many delays (seconds) there are, their percentiles and the greatest, as a table shows them."""
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    return [
        str(len(delays)),
        *(milliseconds(cuts[point - 1]) for point in (50, 95, 99)),
        milliseconds(max(delays)),
    ]


def taken(cpu_share: float, peak_bytes: int, late_seconds: float) -> list[str]:
    """Return what a run took, as a table shows it."""
    return [f"{cpu_share:.0%}", f"{peak_bytes / 2**20:,.0f}", milliseconds(late_seconds)]


def ratio(ours: float, theirs: float) -> str:
    """``0.93 x``."""
    return f"{ours / theirs:.2f} x" if theirs else "-"
