"""A real daemon that is killed at random while applications write and rotate; what it archived is then counted.

Used by the short test and by `benchmarks/soak.py`. Everything random comes from one seed.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from storage.errors import ArchiveError
from storage.reader import read_snapshot
from tests.support import ROOT

READY_SECONDS = 60.0
DRAIN_SECONDS = 120.0


@dataclass
class Writer:
    """One application: a file under its present name, and every line it ever wrote, in order."""

    name: str
    folder: Path
    rng: random.Random
    count: int = 0
    generation: int = 0
    half: bytes = b""
    written: dict[int, list[int]] = field(default_factory=dict)  # generation → numbers, in order

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    def write(self) -> None:
        """Append a few lines, sometimes torn in two writes."""
        data = self.half
        self.half = b""
        for _ in range(self.rng.randrange(1, 40)):
            self.count += 1
            event = {
                "eventId": f"{self.name}-{self.generation}-{self.count}",
                "timestamp": "2026-03-01T10:00:00Z",
                "level": "info",
                "category": "api",
                "action": "read",
                "description": "x" * self.rng.randrange(200),
            }
            data += json.dumps(event).encode() + b"\n"
            self.written.setdefault(self.generation, []).append(self.count)
        if self.rng.random() < 0.3:
            cut = self.rng.randrange(1, len(data))
            data, self.half = data[:cut], data[cut:]
        with self.path.open("ab", buffering=0) as file:
            file.write(data)

    def rotate(self) -> None:
        """Finish the file and begin another one: by rename, or by copy and truncation."""
        if not self.path.exists():
            return
        if self.half:
            with self.path.open("ab", buffering=0) as file:
                file.write(self.half)
            self.half = b""
        aside = self.path.with_name(f"{self.path.name}.{self.generation}")
        if self.rng.random() < 0.5:
            self.path.rename(aside)
        else:
            shutil.copyfile(self.path, aside)
            os.truncate(self.path, 0)
        self.generation += 1

    def end(self) -> None:
        """Write what is left of a line."""
        if self.half:
            with self.path.open("ab", buffering=0) as file:
                file.write(self.half)
            self.half = b""


@dataclass(frozen=True)
class Outcome:
    """How many lines were lost, archived twice, or out of order, and what happened."""

    written: int
    lost: int
    duplicated: int
    reordered: int
    kills: int
    seconds: float

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered)


class Soak:
    """Kills a daemon again and again."""

    def __init__(self, folder: Path, *, seed: int, writers: int = 3) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.archive = folder / "archive"
        self.rng = random.Random(seed)
        self.writers = [
            Writer(f"app{number}", self.logs, random.Random(seed * 100 + number)) for number in range(writers)
        ]
        self.kills = 0
        (self.folder / "daemon.log").touch()

    def start(self) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.3",
            "WATCHKEEP__ARCHIVE__SEAL_SECONDS": "10",
            "WATCHKEEP__ARCHIVE__FOLD_FILES": "6",
            "WATCHKEEP__LOGS__SCAN_SECONDS": "0.5",
        }
        command = [sys.executable, str(ROOT / "watchkeep.py"), "serve", "--port", "0"]
        command += ["--logs", str(self.logs), "--archive", str(self.archive)]
        with (self.folder / "daemon.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)

    @contextlib.contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        process = self.start()
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def act(self) -> None:
        """Let one application do something."""
        writer = self.rng.choice(self.writers)
        if self.rng.random() < 0.08:
            writer.rotate()
        else:
            writer.write()

    def kill_once(self, most_seconds: float) -> None:
        """Start a daemon, write for a random time, kill it: mostly when it works, sometimes while it starts."""
        early = self.rng.random() < 0.15
        starts = self.starts()
        with self.daemon() as process:
            began = time.monotonic()
            ends = began + (self.rng.uniform(0.2, 2.0) if early else READY_SECONDS)
            while time.monotonic() < ends:
                if not early and self.starts() > starts:
                    early = True
                    ends = time.monotonic() + self.rng.uniform(0.0, most_seconds)
                self.act()
                time.sleep(self.rng.uniform(0.001, 0.03))
                if process.poll() is not None:
                    raise AssertionError(f"the daemon ended by itself: {self.log_tail()}")
            assert early, f"the daemon was not ready in {READY_SECONDS} s: {self.log_tail()}"
            process.send_signal(signal.SIGKILL)
        self.kills += 1

    def starts(self) -> int:
        """Return how often a daemon has become ready."""
        return (self.folder / "daemon.log").read_bytes().count(b'"message":"ready"')

    def log_tail(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")[-4000:]

    def finish(self) -> None:
        """Run a daemon until every byte is committed, and stop it in good order."""
        for writer in self.writers:
            writer.end()
        with self.daemon() as process:
            ends = time.monotonic() + DRAIN_SECONDS
            expected = sum(len(numbers) for writer in self.writers for numbers in writer.written.values())
            while self.archived() < expected and time.monotonic() < ends:
                time.sleep(0.3)
                if process.poll() is not None:
                    raise AssertionError(f"the daemon ended by itself: {self.log_tail()}")
            time.sleep(1.0)  # a duplicate would come now
            process.terminate()
            assert process.wait(timeout=30) == 0, self.log_tail()

    def archived(self) -> int:
        """Return how many events of applications are committed."""
        try:
            snapshot = read_snapshot(str(self.archive))
        except (ArchiveError, OSError):
            return 0
        rows = sum(file.rows for file in snapshot.events)  # the daemon's own events included
        if rows < sum(len(numbers) for writer in self.writers for numbers in writer.written.values()):
            return rows
        return sum(len(self.rows(file.path)) for file in snapshot.events)

    def rows(self, path: str) -> list[tuple[str, int, str]]:
        """Return source, offset and event id of the applications' events in one file."""
        columns = ["source", "source_offset", "event_id", "internal"]
        try:
            table = pq.read_table(self.archive / path, columns=columns, partitioning=None)
        except FileNotFoundError:
            return []  # folded or sealed since the ledger was read
        return [
            (row["source"], row["source_offset"], row["event_id"])
            for row in table.to_pylist()
            if not row["internal"]
        ]

    def outcome(self, seconds: float) -> Outcome:
        """Count, from the committed Parquet files alone."""
        found: list[tuple[str, int, str]] = []
        for file in read_snapshot(str(self.archive)).events:
            found += self.rows(file.path)
        expected = {
            f"{writer.name}-{generation}-{number}"
            for writer in self.writers
            for generation, numbers in writer.written.items()
            for number in numbers
        }
        ids = [event_id for _, _, event_id in found]
        by_source: dict[str, list[tuple[int, int]]] = {}
        for source, offset, event_id in found:
            by_source.setdefault(source, []).append((offset, int(event_id.rsplit("-", 1)[1])))
        reordered = sum(
            later[1] <= earlier[1]
            for pairs in by_source.values()
            for earlier, later in zip(sorted(pairs), sorted(pairs)[1:], strict=False)
        )
        return Outcome(
            written=len(expected),
            lost=len(expected - set(ids)),
            duplicated=len(ids) - len(set(ids)),
            reordered=reordered,
            kills=self.kills,
            seconds=seconds,
        )


def soak(folder: Path, *, kills: int, seed: int, most_seconds: float = 3.0, tell: bool = False) -> Outcome:
    """Kill a daemon `kills` times and return what became of the lines."""
    started = time.monotonic()
    it = Soak(folder, seed=seed)
    for number in range(kills):
        it.kill_once(most_seconds)
        if tell:
            print(f"\rkill {number + 1}/{kills}", end="", file=sys.stderr, flush=True)
    it.finish()
    return it.outcome(time.monotonic() - started)
