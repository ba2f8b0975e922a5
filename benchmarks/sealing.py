"""Sealing: what it costs, how much memory it takes, and whether appends and commits notice it."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.feed import plain_source
from benchmarks.generate import lines
from benchmarks.measure import DEFAULT_DATA, MEGABYTE, milliseconds, table
from parsers.batch import Chunk, Mark, Parsed, Place, Source
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.transform import ParseOptions, Transformer

EVENTS = 750_000  # 64 MB of live files
BATCH = 25_000  # events of a commit while the live files are made
STOCK = 200_000  # different events; then they come again
APPEND = 500  # events of an append while the times are taken: 5,000 a second
APPEND_SECONDS = 0.1
COMMIT_APPENDS = 10  # appends between two commits
ALONE_SECONDS = 10.0
PAGE_BYTES = 4096
SAMPLE_SECONDS = 0.02


class Writer:
    """An application's lines on their way into an archive, parsed beforehand."""

    def __init__(self, archive: Archive, name: str) -> None:
        self._archive = archive
        self._source = archive.register(
            plain_source(f"/var/log/{name}", first_seen_us=time.time_ns() // 1000)
        )
        self._transformer = Transformer(ParseOptions())
        self._start = 0
        self._stock = lines(STOCK)
        self._taken = 0

    def parsed(self, count: int) -> tuple[Parsed, Chunk]:
        """Return the next ``count`` events."""
        begin = self._taken % (STOCK - count + 1)
        data = b"".join(self._stock[begin : begin + count])
        self._taken += count
        mark = Mark("", 0, "", 0, hashlib.sha256(data).hexdigest(), 0)
        source = Source(self._source.sid, self._source.file, 0, None, "native", internal=False)
        chunk = Chunk(source, self._start, self._start + len(data), data, mark, Place("", 0, 0, None, 0))
        self._start = chunk.end
        return self._transformer.parse([chunk]), chunk

    def times(self, until: threading.Event, seconds: float) -> tuple[list[float], list[float]]:
        """Append and commit at a steady pace; return what each append and each commit took, in seconds."""
        appends: list[float] = []
        commits: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and not until.is_set():
            parsed, chunk = self.parsed(APPEND)
            began = time.perf_counter()
            self._archive.append(parsed, [chunk])
            appends.append(time.perf_counter() - began)
            if len(appends) % COMMIT_APPENDS == 0:
                began = time.perf_counter()
                self._archive.commit()
                commits.append(time.perf_counter() - began)
            time.sleep(APPEND_SECONDS)
        return appends, commits


class Memory(threading.Thread):
    """Samples how much memory the process holds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_bytes = self.peak_bytes = _resident()
        self._ended = threading.Event()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._ended.wait(SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, _resident())

    def stop(self) -> None:
        """Stop and wait."""
        self._ended.set()
        self.join()


def measure(data: Path, events: int = EVENTS) -> None:
    """Print the tables."""
    folder = data / "sealing"
    shutil.rmtree(folder, ignore_errors=True)
    archive = Archive.open(ArchiveOptions(path=str(folder), fold_files=256))
    writer = Writer(archive, "app.jsonl")
    for _ in range(-(-events // BATCH)):
        _commit(archive, *writer.parsed(BATCH))
    _seal(archive, writer)
    archive.close()
    shutil.rmtree(folder)


def _commit(archive: Archive, parsed: Parsed, chunk: Chunk) -> None:
    archive.append(parsed, [chunk])
    archive.commit()


def _seal(archive: Archive, writer: Writer) -> None:
    ended = threading.Event()
    alone = writer.times(ended, ALONE_SECONDS)
    live = sum(file.bytes for file in archive.snapshot.events)
    rows = sum(file.rows for file in archive.snapshot.events)
    memory = Memory()
    memory.start()
    began, cpu = time.perf_counter(), time.process_time()

    def seal() -> None:
        archive.seal()
        ended.set()

    sealing = threading.Thread(target=seal)
    sealing.start()
    beside = writer.times(ended, 3600.0)
    sealing.join()
    wall, used = time.perf_counter() - began, time.process_time() - cpu
    memory.stop()
    sealed = [file for file in archive.snapshot.events if file.day is not None]
    table(
        f"Sealing {rows:,} events ({live / MEGABYTE:,.0f} MB of live files)",
        [
            "",
            "files",
            "MB",
            "wall s",
            "µs CPU/event, appends included",
            "memory before, MB",
            "more at the peak, MB",
        ],
        [
            [
                "one seal",
                str(len(sealed)),
                f"{sum(file.bytes for file in sealed) / MEGABYTE:,.1f}",
                f"{wall:.1f}",
                f"{used / rows * 1e6:.2f}",
                f"{memory.start_bytes / MEGABYTE:,.0f}",
                f"{(memory.peak_bytes - memory.start_bytes) / MEGABYTE:,.0f}",
            ]
        ],
    )
    table(
        "Appends and commits beside it, ms",
        ["", "appends", "p50", "p99", "max", "commits", "p50", "max"],
        list(_rows({"alone": alone, "while it seals": beside})),
    )


def _rows(found: dict[str, tuple[list[float], list[float]]]) -> Iterator[list[str]]:
    for name, (appends, commits) in found.items():
        cuts = statistics.quantiles(appends, n=100, method="inclusive") if len(appends) > 1 else appends * 99
        middle = statistics.median(commits) if commits else 0.0
        yield [
            name,
            str(len(appends)),
            milliseconds(cuts[49]),
            milliseconds(cuts[98]),
            milliseconds(max(appends)),
            str(len(commits)),
            milliseconds(middle),
            milliseconds(max(commits, default=0.0)),
        ]


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * PAGE_BYTES


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="benchmarks.sealing", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="folder for what is written")
    parser.add_argument("--events", type=int, default=EVENTS, help="events in the live files")
    given = parser.parse_args()
    measure(given.data, given.events)
    return 0


if __name__ == "__main__":
    sys.exit(main())
