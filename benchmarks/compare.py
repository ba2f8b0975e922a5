"""One table: the same questions to Watchkeep over HTTP and to other engines, on this machine, in this run.

Each engine has a process of its own and is loaded with the events of the same archive before anything is measured.
Watchkeep's and VictoriaLogs' figures include HTTP and JSON, those of the engines in process do not. Where the numbers
of rows differ between engines, a warning says so below the table.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from benchmarks import grow, ingest
from benchmarks.daemon import Connection, Daemon
from benchmarks.measure import DEFAULT_DATA, KIBIBYTE, ROOT, BenchmarkError, milliseconds, table
from benchmarks.peers import IN_PROCESS, Wanted, emptied, victorialogs
from benchmarks.queries import DAYS, DEEP_PAGE, PAGE, Question, questions

TIMES = 7
LISTS = frozenset("abchkl")  # questions that are answered by events, which can be counted
OURS = "Watchkeep"
WEEK_EVENTS = 1_000_000  # a larger archive is grown from such a week
WARM = 1


@dataclass(slots=True)
class Measured:
    """Of each question the median seconds and the number of rows (None: not comparable), and the peak memory in bytes."""

    seconds: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int | None] = field(default_factory=dict)
    peak: int = 0


def timed(ask: Callable[[], int | None], times: int) -> tuple[float, int | None]:
    """Return the median seconds of asking, after one time that does not count, and the rows of the answer."""
    rows = [ask() for _ in range(WARM)][-1]
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        found.append(time.perf_counter() - began)
    return statistics.median(found), rows


def engine(name: str, glob: str, wanted: Wanted, folder: Path, binary: Path | None, times: int) -> Measured:
    """Load an engine with the events and ask it everything."""
    start = victorialogs(binary) if binary is not None else IN_PROCESS[name]
    measured = Measured()
    with start(glob, wanted, emptied(folder)) as asks:
        for letter, ask in asks.items():
            measured.seconds[letter], measured.rows[letter] = timed(ask, times)
    measured.peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBIBYTE
    emptied(folder)
    return measured


def ours(archive: Path, data: Path, asked: tuple[Question, ...], times: int) -> Measured:
    """Ask Watchkeep over HTTP."""
    measured = Measured()
    with Daemon.over(archive, data / "no-logs", data / "settings") as daemon:
        daemon.settle()
        with daemon.connect() as connection:
            for question in asked:
                if question.letter != "*":
                    seconds, rows = timed(lambda q=question: _counted(q, connection), times)  # type: ignore[misc]
                    measured.seconds[question.letter], measured.rows[question.letter] = seconds, rows
        measured.peak = daemon.peak_bytes()
    return measured


def _counted(question: Question, connection: Connection) -> int | None:
    answer = question.ask(connection)
    if question.letter not in LISTS or not isinstance(answer, bytes):
        return 0 if question.letter == "m" else None
    data = json.loads(answer)["data"]
    return len(data) if isinstance(data, list) else 1


def _child(
    name: str, glob: str, wanted: Wanted, data: Path, binary: Path | None, times: int
) -> Measured | None:
    """Measure an engine in a process of its own; None if it is not installed."""
    if name == "ClickHouse" and importlib.util.find_spec("chdb") is None:
        print(f"{name} is left out: chdb is not installed; `make bench-query` does that", file=sys.stderr)
        return None
    told = json.dumps(asdict(wanted))
    command = [
        *(sys.executable, "-m", "benchmarks.compare", "--engine", name, "--glob", glob, "--wanted", told),
        *("--data", str(data), "--times", str(times)),
        *(("--victorialogs", str(binary)) if binary is not None else ()),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{name} failed:\n{done.stderr[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def compare(data: Path, archive: Path, events: int, binary: Path | None, times: int, *, alone: bool) -> None:
    """Print the table for an archive."""
    glob = f"{archive.resolve()}/events/*/*.parquet"
    with duckdb.connect() as plain:
        plain.execute(
            f"CREATE VIEW events AS SELECT * FROM read_parquet('{glob}', union_by_name = true) WHERE NOT internal"
        )
        asked = questions(plain)
        event, correlation = (
            next(q for q in asked if q.letter == letter).sql[0].split("'")[1] for letter in "ch"
        )
    day = int(datetime.fromisoformat(DAYS[-1]).replace(tzinfo=UTC).timestamp()) * 1_000_000
    wanted = Wanted(event, correlation, day, (DEEP_PAGE - 1) * PAGE, PAGE)
    found = {OURS: ours(archive, data, asked, times)}
    names = () if alone else (*IN_PROCESS, *(("VictoriaLogs",) if binary is not None else ()))
    for name in names:
        path = binary if name == "VictoriaLogs" else None
        measured = _child(name, glob, wanted, data, path, times)
        if measured is not None:
            found[name] = measured
    rows = [
        [
            f"{question.letter}  {question.text}",
            *(
                milliseconds(m.seconds[question.letter]) if question.letter in m.seconds else "-"
                for m in found.values()
            ),
        ]
        for question in asked
        if question.letter != "*"
    ]
    rows.append(["peak memory, MiB", *(f"{m.peak / 2**20:,.0f}" for m in found.values())])
    table(f"Queries over {events:,} events, median ms of {times}", ("question", *found), rows)
    for warning in differences(found):
        print(f"  warning: {warning}")


def differences(found: dict[str, Measured]) -> list[str]:
    """Return a warning for each question to which engines gave different numbers of rows."""
    letters = sorted({letter for measured in found.values() for letter in measured.rows})
    warnings: list[str] = []
    for letter in letters:
        counts = {name: m.rows[letter] for name, m in found.items() if m.rows.get(letter) is not None}
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in counts.items())
            warnings.append(f"{letter} has different numbers of rows: {told}")
    return warnings


def main() -> int:
    """Measure, making the archive first if there is none yet."""
    parser = argparse.ArgumentParser(prog="benchmarks.compare", description=__doc__)
    parser.add_argument("--events", type=int, default=WEEK_EVENTS)
    parser.add_argument("--times", type=int, default=TIMES, help="runs of each query")
    parser.add_argument("--archive-only", action="store_true", help="Watchkeep alone, over a grown archive")
    parser.add_argument("--victorialogs", type=Path, help="its binary: measured too, on loopback")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    for name in ("--engine", "--glob", "--wanted"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.engine:
        wanted = Wanted(**json.loads(given.wanted))
        folder = given.data / "peer"
        measured = engine(given.engine, given.glob, wanted, folder, given.victorialogs, given.times)
        print(json.dumps(asdict(measured)))
        return 0
    archive = given.data / f"archive-{given.events}"
    if not archive.exists():
        if given.archive_only and given.events > WEEK_EVENTS:
            grow.make(given.data, WEEK_EVENTS, given.events)
        else:
            ingest.measure(given.data, given.events)
    compare(given.data, archive, given.events, given.victorialogs, given.times, alone=given.archive_only)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkError as error:
        sys.exit(str(error))
