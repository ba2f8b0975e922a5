"""`watchkeep verify` beside `sha256sum` on the same files: MB per second and per CPU second, and peak memory."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from benchmarks.daemon import configure
from benchmarks.generate import DEFAULT_SEED, generate
from benchmarks.measure import (
    DEFAULT_DATA,
    MEGABYTE,
    WATCHKEEP,
    BenchmarkError,
    Cost,
    ratio,
    run,
    size_of,
    table,
)

_HASH_ONLY = (
    "import sys; from storage.hashing import digests; "
    "print(sum(digest is not None for _, digest in digests(sys.argv[2:], threads=int(sys.argv[1]))))"
)


def measure(data: Path, events: int, copies: int) -> None:
    """Ingest, hash the archive's files in each way, verify the whole, and print the table."""
    source, archive = data / f"events-{events}", data / f"verified-{events}"
    made = generate(source, events, DEFAULT_SEED)
    shutil.rmtree(archive, ignore_errors=True)
    config = configure(data / "settings", archive, data / "no-logs", 0)
    run([*WATCHKEEP, "ingest", "--config", config, "--json", *(str(source / name) for name in made.files)])
    tool = shutil.which("sha256sum")
    if tool is None:
        raise BenchmarkError("there is no sha256sum here to compare with")
    # Each file several times: starting an interpreter must not be what is measured.
    files = [str(path) for path in sorted(archive.rglob("*.parquet"))] * copies
    size = sum(Path(path).stat().st_size for path in files)
    run([tool, *files])  # into the page cache
    rows: list[tuple[str, Cost, int]] = [("sha256sum", run([tool, *files]), size)]
    for threads in (1, 2, 4):
        cost = run([sys.executable, "-c", _HASH_ONLY, str(threads), *files])
        if int(cost.said) != len(files):
            raise BenchmarkError("a file was not hashed")
        rows.append((f"our hashing, {threads} thread{'s' * (threads > 1)}", cost, size))
    whole = run([*WATCHKEEP, "verify", "--config", config, "--json"])
    if not json.loads(whole.said)["ok"]:
        raise BenchmarkError(f"the archive is not as its ledger says: {whole.said}")
    rows.append(("watchkeep verify, with rows and log files", whole, size_of(archive) + made.bytes))
    base = rows[0][1]
    table(
        f"Verify ({len(files)} files, {size / MEGABYTE:,.0f} MB to hash; log files {made.bytes / MEGABYTE:,.0f} MB)",
        ("what", "MB/s", "MB/CPU-s", "CPU beside sha256sum", "peak MiB"),
        [
            (
                name,
                f"{count / MEGABYTE / cost.wall:,.0f}",
                f"{count / MEGABYTE / cost.cpu:,.0f}",
                ratio(count / cost.cpu, size / base.cpu),
                f"{cost.rss / 2**20:,.0f}",
            )
            for name, cost, count in rows
        ],
    )


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.verify", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--copies", type=int, default=10, help="how often each file is hashed (10)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data, given.events, given.copies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
