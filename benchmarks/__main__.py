"""``python -m benchmarks``: everything, one after the other, a few minutes with the defaults."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

import duckdb

from benchmarks.measure import DEFAULT_DATA, ROOT, BenchmarkError

PARTS = (
    "ingest",
    "queries",
    "latency",
    "live",
    "idle",
    "stages",
    "backlog",
    "microbatch",
    "parquet",
    "sealing",
    "startup",
    "sql",
    "verify",
    "history",
    "places",
    "risk",
    "detect",
    "alerts",
    "attacks",
)

# Asked for by name: these need more than the checkout (other engines), or make a large archive; they take options of their own.
MORE = ("compare", "grow")


def main() -> int:
    """Run the parts asked for, each in a process of its own; stop at the first that fails."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument(
        "parts",
        nargs="*",
        choices=[*PARTS, *MORE, []],
        help=f"any of {', '.join((*PARTS, *MORE))}; default: the first {len(PARTS)}",
    )
    parser.add_argument(
        "--events",
        type=int,
        default=1_000_000,
        help="for ingest, queries, compare, grow, and attacks where it is named (1000000)",
    )
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, help="folder for what is generated (bench-data)"
    )
    given, more = parser.parse_known_args()
    if more and (not given.parts or not set(given.parts) <= set(MORE)):
        parser.error(f"only {' and '.join(MORE)} take {' '.join(more)}")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
        f"DuckDB {duckdb.__version__}. CPU figures are steadier than wall figures on a busy machine.",
        flush=True,
    )
    for part in given.parts or PARTS:
        sized = part in {"ingest", "queries", *MORE} or (part == "attacks" and given.parts)
        events = ["--events", str(given.events)] if sized else []
        command = [sys.executable, "-m", f"benchmarks.{part}", "--data", str(given.data), *events, *more]
        print(f"\n== {part}", flush=True)
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if code:
            print(f"{part} failed", file=sys.stderr)
            return code
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchmarkError as error:
        sys.exit(str(error))
