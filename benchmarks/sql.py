"""A statement in SQL: over HTTP to a process that is ready, beside a process started for it, and beside bare DuckDB.

The daemon's other answers are timed twice, with nothing else to do and while statements keep every process for SQL busy.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import threading
import time
from pathlib import Path

import duckdb

from benchmarks.daemon import Daemon
from benchmarks.measure import DEFAULT_DATA, WATCHKEEP, BenchmarkError, median, run, table

STATEMENT = "SELECT count(*) AS n FROM events WHERE NOT internal"
BUSY = "SELECT sum(a.range * b.range) FROM range(20000) a, range(20000) b"
LINES = 100_000
TIMES = 15
PAUSE_SECONDS = 1.5  # between two statements, so that a process is ready again
CHILDREN = 2
PATIENCE_SECONDS = 120.0
MILLISECONDS = 1000


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--times", type=int, default=TIMES)
    given = parser.parse_args()
    archive, logs = _made(given.data / "sql", given.lines)
    cold = median(lambda: run([*WATCHKEEP, "sql", STATEMENT, "--archive", str(archive)]), min(5, given.times))
    with Daemon.over(
        archive, logs, given.data / "sql" / "daemon", f"[sql]\nenabled = true\nchildren = {CHILDREN}\n"
    ) as daemon:
        warm = [_ask(daemon.port, STATEMENT, given.lines) for _ in range(given.times)]
        page = [_page(daemon.port) for _ in range(given.times)]
        disturbed = _while_busy(daemon.port, given.times)
    bare = _bare(archive, given.times)
    rows = [
        ("POST /sql, a process was ready", _ms(statistics.median(warm)), _ms(max(warm))),
        ("watchkeep sql, a process of its own", _ms(cold), ""),
        ("the view in DuckDB, already open", _ms(bare), ""),
        ("GET /events?limit=50, nothing else runs", _ms(statistics.median(page)), _ms(max(page))),
        (
            f"the same, {CHILDREN} statements run all the time",
            _ms(statistics.median(disturbed)),
            _ms(max(disturbed)),
        ),
    ]
    table(f"SQL over {given.lines:,} events", ("", "median ms", "worst ms"), rows)
    print(
        f"a process that is ready answers {cold / statistics.median(warm):.0f} times sooner than one that is started"
    )
    return 0


def _made(folder: Path, lines: int) -> tuple[Path, Path]:
    """Return an archive of so many events and an empty folder of logs."""
    archive, logs, source = folder / "archive", folder / "logs", folder / "app-2026-06-01.log"
    logs.mkdir(parents=True, exist_ok=True)
    if not archive.exists():
        with source.open("w") as out:
            for number in range(lines):
                moment = f"2026-06-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
                out.write(json.dumps({"eventId": f"e{number}", "timestamp": moment, "level": "info"}) + "\n")
        run([*WATCHKEEP, "ingest", str(source), "--archive", str(archive)])
    return archive, logs


def _ask(port: int, statement: str, expected: int | None = None) -> float:
    """Return the seconds until a statement is answered; wait before it for a process to be ready."""
    time.sleep(PAUSE_SECONDS)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    began = time.perf_counter()
    connection.request(
        "POST", "/api/v1/sql", json.dumps({"sql": statement}), {"Content-Type": "application/json"}
    )
    response = connection.getresponse()
    answer = json.loads(response.read())
    seconds = time.perf_counter() - began
    connection.close()
    if response.status != http.client.OK or (expected is not None and answer["rows"] != [[expected]]):
        raise BenchmarkError(f"{statement} was answered with {response.status}: {str(answer)[:300]}")
    return seconds


def _page(port: int) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    began = time.perf_counter()
    connection.request("GET", "/api/v1/events?limit=50")
    if connection.getresponse().read()[:1] != b"{":
        raise BenchmarkError("a page of events was no JSON")
    connection.close()
    return time.perf_counter() - began


def _while_busy(port: int, times: int) -> list[float]:
    """Return the seconds of pages while statements take every process."""
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            _ask(port, BUSY)

    threads = [threading.Thread(target=keep_busy) for _ in range(CHILDREN)]
    for thread in threads:
        thread.start()
    time.sleep(2 * PAUSE_SECONDS)
    found = []
    for _ in range(times):
        time.sleep(0.1)
        found.append(_page(port))
    stop.set()
    for thread in threads:
        thread.join()
    return found


def _bare(archive: Path, times: int) -> float:
    with duckdb.connect() as connection:
        glob = str(archive / "events" / "*" / "*.parquet")
        text = f"SELECT count(*) FROM read_parquet('{glob}') WHERE NOT internal"
        return median(lambda: connection.execute(text).fetchall(), times)


def _ms(seconds: float) -> str:
    return f"{seconds * MILLISECONDS:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
