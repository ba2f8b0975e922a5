"""Import of years of small daily files: one process, and beside it the same files halved between two."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

from benchmarks.generate import lines
from benchmarks.measure import DEFAULT_DATA, WATCHKEEP, BenchmarkError, Cost, run, table

FIRST_DAY = date(2016, 1, 1)


def measure(data: Path, files: int, per_file: int) -> None:
    """Write the files, import them in both ways, and print the table."""
    logs = _written(data / f"history-{files}x{per_file}", files, per_file)
    everything = sorted(str(path) for path in logs.iterdir())
    one = [_import(data / "history-0", everything)]
    half = len(everything) // 2
    with ThreadPoolExecutor(2) as pool:
        parts = (("history-1", everything[:half]), ("history-2", everything[half:]))
        two = list(pool.map(lambda part: _import(data / part[0], part[1]), parts))
    again = _import(data / "history-0", everything, fresh=False)
    events = files * per_file

    def row(name: str, costs: list[Cost]) -> tuple[str, ...]:
        wall, cpu = max(cost.wall for cost in costs), sum(cost.cpu for cost in costs)
        return (
            name,
            f"{wall:,.1f}",
            f"{cpu:,.1f}",
            f"{cpu / files * 1e3:.1f}",
            f"{events / cpu:,.0f}",
            f"{sum(cost.rss for cost in costs) / 2**20:,.0f}",
        )

    table(
        f"History ({files:,} daily files of {per_file} events)",
        ("import", "wall s", "CPU s", "ms CPU/file", "events/CPU-s", "peak MiB, all"),
        [row("one process", one), row("two, half the files each", two), row("the same files again", [again])],
    )
    sealed = sum(1 for _ in (data / "history-0" / "events").rglob("*.parquet"))
    records = sum(
        len(path.read_bytes().splitlines())
        for path in (data / "history-0" / "nodes" / "main" / "ledger").iterdir()
    )
    print(f"  {sealed:,} sealed files of events, {records} ledger records")


def _written(folder: Path, files: int, per_file: int) -> Path:
    if folder.is_dir():
        return folder
    folder.mkdir(parents=True)
    some = [json.loads(line) for line in lines(per_file)]
    for number in range(files):
        day = FIRST_DAY + timedelta(days=number)
        with (folder / f"app-{day}.log").open("w") as file:
            for place, event in enumerate(some):
                event["eventId"] = f"{number:08x}-{place:08x}"
                event["timestamp"] = f"{day}T{event['timestamp'][11:]}"
                file.write(json.dumps(event) + "\n")
    return folder


def _import(archive: Path, files: list[str], *, fresh: bool = True) -> Cost:
    if fresh:
        shutil.rmtree(archive, ignore_errors=True)
    cost = run([*WATCHKEEP, "ingest", "--archive", str(archive), "--json", *files])
    counts = json.loads(cost.said)["counts"]
    if counts["events"] != counts["lines"] or (not fresh and counts["lines"]):
        raise BenchmarkError(f"not every line became an event once: {counts}")
    return cost


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.history", description=__doc__)
    parser.add_argument("--files", type=int, default=3650)
    parser.add_argument("--lines", type=int, default=100, help="events a file (100)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data, given.files, given.lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
