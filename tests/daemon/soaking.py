"""A real daemon that is killed at random while applications write and rotate; what it archived is then counted.

Used by the short test and by `benchmarks/soak.py`. Everything random comes from one seed.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from storage.errors import ArchiveError
from storage.reader import read_snapshot
from tests.support import ROOT

READY_SECONDS = 60.0
# Without a single new event: a long backlog takes its time, and what waits in it is not lost.
STALLED_SECONDS = 120.0


@dataclass
class Writer:
    """One application: a file under its present name, and every line it ever wrote, in order."""

    name: str
    folder: Path
    rng: random.Random
    burst: int = 40  # lines written at once, at most
    count: int = 0
    generation: int = 0
    half: bytes = b""
    written: dict[int, tuple[int, int]] = field(default_factory=dict)  # generation → first and last number
    asides: list[Path] = field(default_factory=list)  # rotated files under their last names

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def lines(self) -> int:
        """How many lines were written in all."""
        return self.count

    def write(self) -> None:
        """Append a few lines, sometimes torn in two writes."""
        first = self.count + 1
        self.count += self.rng.randrange(1, self.burst)
        pad = b"x" * self.rng.randrange(200)
        template = _LINE % (self.name.encode(), self.generation, pad)
        data = self.half + b"".join([template % number for number in range(first, self.count + 1)])
        self.half = b""
        self.written[self.generation] = (self.written.get(self.generation, (first, 0))[0], self.count)
        if self.rng.random() < 0.3:
            cut = self.rng.randrange(1, len(data))
            data, self.half = data[:cut], data[cut:]
        self._append(data)

    def rotate(self) -> None:
        """Finish the file and begin another one, in one of the ways that are in use."""
        if not self.path.exists():
            return
        self.end()
        self.rng.choice((self._rename, self._copy_and_truncate, self._shift))()
        self.generation += 1

    def compress(self) -> None:
        """Compress a rotated file, as gzip and its kin do: write beside, then remove the original."""
        if not self.asides:
            return
        aside = self.asides.pop(self.rng.randrange(len(self.asides)))
        suffix, opened = self.rng.choice(_COMPRESSORS)
        with aside.open("rb") as plain, opened(f"{aside}{suffix}", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        aside.unlink()

    def end(self) -> None:
        """Write what is left of a line."""
        if self.half:
            self._append(self.half)
            self.half = b""

    def _append(self, data: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(data)

    def _rename(self) -> None:
        self.asides.append(self.path.rename(self._aside()))

    def _copy_and_truncate(self) -> None:
        self.asides.append(Path(shutil.copyfile(self.path, self._aside())))
        os.truncate(self.path, 0)

    def _shift(self) -> None:
        """`.2` gets its last name, `.1` becomes `.2`, the file becomes `.1`: three renames at once."""
        one, two = (self.path.with_name(f"{self.path.name}.{number}") for number in (1, 2))
        if two.exists():
            self.asides.append(two.rename(self._aside()))
        if one.exists():
            one.rename(two)
        self.path.rename(one)

    def _aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{1000 + self.generation}")


_LINE = (
    b'{"eventId":"%s-%d-%%d","timestamp":"2026-03-01T10:00:00Z","level":"info","category":"api",'
    b'"action":"read","description":"%s"}\n'
)
_COMPRESSORS: tuple[tuple[str, Any], ...] = (
    (".gz", partial(gzip.open, compresslevel=1)),
    (".bz2", partial(bz2.open, compresslevel=1)),
    (".xz", partial(lzma.open, preset=0)),
)


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

    def __init__(self, folder: Path, *, seed: int, writers: int = 3, burst: int = 40) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        self.archive = folder / "archive"
        self.rng = random.Random(seed)
        self.writers = [
            Writer(f"app{number}", self.logs, random.Random(seed * 100 + number), burst)
            for number in range(writers)
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
        dice = self.rng.random()
        if dice < 0.06:
            writer.rotate()
        elif dice < 0.09:
            writer.compress()
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
            expected, before = self.expected(), -1
            ends = time.monotonic() + STALLED_SECONDS
            while (archived := self.archived()) < expected and time.monotonic() < ends:
                if archived > before:
                    before, ends = archived, time.monotonic() + STALLED_SECONDS
                time.sleep(0.3)
                if process.poll() is not None:
                    raise AssertionError(f"the daemon ended by itself: {self.log_tail()}")
            time.sleep(1.0)  # a duplicate would come now
            process.terminate()
            assert process.wait(timeout=30) == 0, self.log_tail()

    def expected(self) -> int:
        """Return how many lines were written."""
        return sum(writer.lines for writer in self.writers)

    def archived(self) -> int:
        """Return how many events of applications are committed."""
        try:
            snapshot = read_snapshot(str(self.archive))
        except (ArchiveError, OSError):
            return 0
        rows = sum(file.rows for file in snapshot.events)  # the daemon's own events included
        if rows < self.expected():
            return rows
        with contextlib.suppress(duckdb.IOException):  # folded or sealed since the ledger was read
            return int(self._ask("SELECT count(*) FROM events")[0][0])
        return 0

    def outcome(self, seconds: float) -> Outcome:
        """Count, from the committed Parquet files alone."""
        archived, distinct = self._ask("SELECT count(*), count(DISTINCT event_id) FROM events")[0]
        # The numbers of a generation are consecutive: those between first and last that are there are all there is.
        found = {
            (name, generation): (many, first, last)
            for name, generation, many, first, last in self._ask(
                "SELECT app, generation, count(DISTINCT number), min(number), max(number) FROM events GROUP BY ALL"
            )
        }
        kept = 0
        for writer in self.writers:
            for generation, (first, last) in writer.written.items():
                many, low, high = found.pop((writer.name, generation), (0, first, first))
                assert first <= low
                assert high <= last, "an event that nobody wrote"
                kept += many
        assert not found, "events that nobody wrote"
        reordered = self._ask(
            "SELECT count(*) FROM (SELECT number <= lag(number) OVER (PARTITION BY source ORDER BY source_offset) AS back "
            "FROM events) WHERE back"
        )[0][0]
        return Outcome(
            written=self.expected(),
            lost=self.expected() - kept,
            duplicated=archived - distinct,
            reordered=reordered,
            kills=self.kills,
            seconds=seconds,
        )

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        """Put a question to the applications' events in the committed files."""
        paths = [str(self.archive / file.path) for file in read_snapshot(str(self.archive)).events]
        if not paths:
            return [(0, 0)]
        with duckdb.connect(config={"threads": 1, "memory_limit": "1GB"}) as connection:
            connection.execute(
                "CREATE TEMP TABLE events AS SELECT source, source_offset, event_id, split_part(event_id, '-', 1) AS app, "
                "split_part(event_id, '-', 2)::INT AS generation, split_part(event_id, '-', 3)::BIGINT AS number "
                "FROM read_parquet($1) WHERE NOT internal",
                [paths],
            )
            return connection.execute(question).fetchall()


def soak(
    folder: Path, *, kills: int, seed: int, most_seconds: float = 3.0, burst: int = 40, tell: bool = False
) -> Outcome:
    """Kill a daemon `kills` times and return what became of the lines."""
    started = time.monotonic()
    it = Soak(folder, seed=seed, burst=burst)
    for number in range(kills):
        it.kill_once(most_seconds)
        if tell:
            print(f"\rkill {number + 1}/{kills}", end="", file=sys.stderr, flush=True)
    it.finish()
    return it.outcome(time.monotonic() - started)
