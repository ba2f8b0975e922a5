"""The books of a node: its lock, ledger, committed state and the places of its files, kept in agreement.

Everything that changes what is committed passes through `record`; after a failed write `recover` reads the ledger
again. Nothing here knows of hot rows. Not thread-safe: `storage.archive` holds one lock around its callers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from storage.commit import unstage
from storage.errors import CommitError, FencedError
from storage.fs import Fs, Lock, makedirs
from storage.layout import Layout
from storage.ledger import Ledger
from storage.provenance import Covered, Maker, Origin
from storage.records import SourceState, file_to_json
from storage.recovery import (
    Problem,
    prepare,
    refuse_if_behind,
    roll_forward,
    settle,
    sweep_old_segments,
)
from storage.snapshot import File
from storage.state import State, fold

WRITER_VERSION = "0.1.0"

# How many seq numbers a process may use before the next record: far more than memory can hold uncommitted.
SEQ_RESERVE = 1 << 24
# Commits between two ledger snapshots: start-up reads at most this many records.
SNAPSHOT_EVERY = 1000


def now_us() -> int:
    """Return the wall clock in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class Books:
    """One node's ledger and files. `start` before anything else; `release` at the end."""

    def __init__(self, fs: Fs, layout: Layout, clock: Callable[[], int] = now_us) -> None:
        self.fs = fs
        self.layout = layout
        self.clock = clock
        self.state = State()
        self.problems: list[Problem] = []
        self.recoveries = 0  # how often `staging` was cleared: a merge that began before is void
        self._ledger = Ledger(fs, layout, writer_version=WRITER_VERSION)
        self._lock: Lock | None = None
        self._superseded: dict[str, float] = {}  # retired path → when this process first saw it so
        self._elapsed: Callable[[], float] = time.monotonic

    @property
    def broken(self) -> bool:
        """Whether a write failed, so that `recover` must run before the next."""
        return self._ledger.broken

    @property
    def epoch(self) -> int:
        """The number that the last `recover` began; every later record carries it."""
        return self._ledger.epoch

    def start(self) -> None:
        """Take the lock and make the folders. LockedError if another process has it."""
        makedirs(self.fs, self.layout.home)
        self._lock = self.fs.lock(self.layout.lock, f"node {self.layout.node}, pid {os.getpid()}\n")
        prepare(self.fs, self.layout)

    def recover(self, *, next_seq: int) -> State:
        """Make folders and ledger agree and begin a new epoch; return the state, which is also kept.

        ``next_seq`` is the next number this process would give; the reservation goes beyond it.
        """
        self.recoveries += 1
        records = self._ledger.read(repair=True)
        if records and "rebuilt" in records[0].body:
            sweep_old_segments(self.fs, self.layout)
        state = fold(records)
        refuse_if_behind(self.fs, self.layout, state)
        self._ledger.resume(records)
        self.problems = settle(self.fs, self.layout, state)
        if not self.state.n:
            self.state = (
                state  # at the first start, so that what is committed can be read on a full disk, too
            )
        self._ledger.epoch += 1
        reserved = max(state.reserved_to, next_seq) + SEQ_RESERVE
        body = {"pid": os.getpid(), "seq_reserved_to": reserved}
        for record in self._ledger.append([("open", body)], now_us=self.clock()):
            state.apply(record)
        self.state = state
        return state

    def origin(
        self,
        made_by: Maker,
        covered: Mapping[str, Covered],
        *,
        replaces: Sequence[File] = (),
        known: Sequence[SourceState] = (),
    ) -> Origin:
        """Return what the footers of the next record's files say."""
        return Origin(
            made_by=made_by,
            record=self.state.n + 1,
            epoch=self._ledger.epoch,
            writer=WRITER_VERSION,
            seq_reserved_to=self.state.reserved_to,
            covered=covered,
            replaces=tuple(file.path for file in replaces),
            known=known,
        )

    def record(self, records: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Append (kind, body) records durably and fold them into the state.

        CommitError if the disk refuses, FencedError if somebody else has the archive now.
        """
        if self._lock is not None and not self._lock.held():
            raise FencedError(
                "the lock of this archive was taken away",
                where=self.layout.lock,
                hint="this process ends; never remove the lock file of a running daemon",
            )
        for record in self._ledger.append(records, now_us=self.clock()):
            self.state.apply(record)

    def place(self, files: Sequence[File]) -> None:
        """Move files whose record is durable to their places. If the disk refuses, `recover` will do it."""
        try:
            roll_forward(self.fs, self.layout, list(files))
        except OSError as error:
            self._ledger.broken = True
            raise CommitError(
                f"a committed file could not be moved into place: {error.strerror or error}",
                where=self.layout.home,
                hint="the commit is safe; the daemon moves the file as soon as the disk lets it",
                retry=True,
            ) from error

    def exchange(
        self,
        kind: str,
        added: list[File],
        removed: list[File],
        *,
        sealed_seq: int = 0,
        unsealed_since_us: int = 0,
    ) -> None:
        """Record that ``added`` (staged) take the place of ``removed``, and place them."""
        entry = {
            "files": [file_to_json(file) for file in added],
            "removes": [file.path for file in removed],
            "sealed_seq": sealed_seq,
        }
        if kind == "seal":
            entry["unsealed_since_us"] = unsealed_since_us
        try:
            self.record([(kind, entry)])
        except BaseException:
            if not self.broken:
                unstage(self.fs, self.layout, added)
            raise
        self.place(added)

    def snapshot_if_due(self) -> None:
        """Begin a new ledger segment with the whole state after SNAPSHOT_EVERY commits."""
        if self.state.commits_since_snapshot >= SNAPSHOT_EVERY:
            self._ledger.begin_segment(self.state.to_json(), now_us=self.clock())
            self.state.commits_since_snapshot = 0
            self.state.n, self.state.head = self._ledger.n, self._ledger.head

    def collect(self, grace_seconds: float, needed: frozenset[str] = frozenset()) -> int:
        """Remove superseded and dropped files whose grace time is over, those in ``needed`` apart; return how many.

        Graces are counted from when this process first saw the file superseded: the wall clock may jump.
        """
        now = self._elapsed()
        seen = {path: self._superseded.get(path, now) for path in self.state.retired}
        due = [path for path, since in seen.items() if now - since >= grace_seconds and path not in needed]
        for path in due:
            self.fs.unlink(self.layout.absolute(path))
        # Forgotten only once the names are gone for good: otherwise a file could come back that nobody knows.
        for folder in sorted({os.path.dirname(path) for path in due}):
            self.fs.sync_dir(self.layout.absolute(folder))
        for path in due:
            del self.state.retired[path], seen[path]
        self._superseded = seen
        return len(due)

    def own_files(self) -> list[File]:
        """Return this node's committed files."""
        return [file for file in self.state.files.values() if file.node == self.layout.node]

    def live(self, *kinds: str) -> list[File]:
        """Return this node's committed, unsealed files of some kinds, as far as they can be merged.

        One that is missing or damaged stays where it is in the ledger, and keeps no other from being folded or sealed.
        """
        lost = {problem.path for problem in self.problems}
        return [
            file
            for file in self.own_files()
            if file.kind in kinds and file.day is None and file.path not in lost
        ]

    def has_live(self) -> bool:
        """Say whether any committed row of this node is not in a sealed file."""
        return any(file.day is None and file.kind != "rollup" for file in self.own_files())

    def with_rollups(self, events: Sequence[File]) -> list[File]:
        """Return some events files together with the roll-ups that cover them."""
        paths = {file.path for file in events}
        return [*events, *(f for f in self.own_files() if f.kind == "rollup" and f.covers in paths)]

    def readable(self) -> tuple[tuple[File, ...], tuple[File, ...], tuple[File, ...]]:
        """Return the events, roll-up and reject files that are whole, newest first."""
        bad = {problem.path for problem in self.problems}
        files = sorted(
            (file for path, file in self.state.files.items() if path not in bad),
            key=lambda file: (file.max_time_us, file.max_seq),
            reverse=True,
        )
        return (
            tuple(file for file in files if file.kind == "events"),
            tuple(file for file in files if file.kind == "rollup"),
            tuple(file for file in files if file.kind == "rejects"),
        )

    def release(self) -> None:
        """Close the ledger and give the lock back."""
        self._ledger.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None
