"""The archive of one node: rows become visible, then durable, then sealed. One object, one writer.

Hot rows are only in memory, because their lines are still in the application's files. A commit writes them to Parquet
and appends one ledger record; that record is the only thing that moves an offset. Any failure leaves rows hot and
offsets where they were, so the same lines are committed later: exactly once.

Threads: every method may be called from any thread. ``_memory`` guards what readers see and is held for microseconds;
``_writing`` serialises what touches the disk.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from parsers.batch import Chunk, Counts, Parsed, Source
from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA
from storage import rollups
from storage.bulk import Bulk
from storage.commit import Cut, body, stage, unstage
from storage.errors import ArchiveError, CommitError
from storage.fs import Disk, Fs, Lock
from storage.hot import extended, hot_bytes, hot_events, hot_rejects, joined, max_seq_of, with_order
from storage.layout import Layout, valid_node
from storage.ledger import Ledger
from storage.observer import Observer, Silent
from storage.publish import Publisher
from storage.recovery import Problem, prepare, roll_forward, settle
from storage.records import Range, SourceSeen, SourceState, file_to_json
from storage.retention import DropReport, plan_drop
from storage.seal import SealedWriter, Stager
from storage.snapshot import File, Hot, Snapshot
from storage.state import State, fold

WRITER_VERSION = "0.1.0"
MEBIBYTE = 1 << 20

# How many seq numbers a process may use before the next record: far more than memory can hold uncommitted.
SEQ_RESERVE = 1 << 24
# Commits between two ledger snapshots: start-up reads at most this many records.
SNAPSHOT_EVERY = 1000

Listener = Callable[[Snapshot], None]


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """Where and how to archive. Sizes in bytes, times in seconds."""

    path: str
    node: str = "main"
    commit_bytes: int = 64 * MEBIBYTE  # of hot rows in memory
    commit_seconds: float = 5.0
    seal_bytes: int = 64_000_000  # of live Parquet
    seal_seconds: float = 3600.0
    fold_files: int = 32  # live files above which some are folded
    grace_seconds: float = 900.0  # superseded files stay longer than any query runs


def now_us() -> int:
    """Return the wall clock in microseconds since 1970, UTC."""
    return time.time_ns() // 1000


class Archive:
    """One node's archive, open for writing. Use `Archive.open`."""

    def __init__(self, options: ArchiveOptions, fs: Fs, observer: Observer) -> None:
        if not valid_node(options.node):
            raise ArchiveError(
                f"{options.node!r} cannot name a node",
                where="[archive] node",
                hint="use lower-case letters, digits, '-' and '_', at most 63",
            )
        self.options = options
        self.layout = Layout(options.path, options.node)
        self.problems: list[Problem] = []
        self._fs = fs
        self._observer = observer
        self._memory = threading.RLock()
        self._writing = threading.RLock()
        self._publishing = threading.Lock()
        self._publisher = Publisher(fs, self.layout)
        self._ledger = Ledger(fs, self.layout, writer_version=WRITER_VERSION)
        self._state = State()
        self._files: tuple[tuple[File, ...], tuple[File, ...], tuple[File, ...]] = ((), (), ())
        self._hot: tuple[Hot, ...] = ()
        self._hot_rejects: tuple[Hot, ...] = ()
        self._in_commit = (
            0,
            0,
        )  # how many leading hot batches a commit has taken: they are not joined with later ones
        self._doubt: Cut | None = None  # a commit whose record may or may not have reached the disk
        self._pending: dict[str, Range] = {}
        self._ends: dict[str, int] = {}  # sid → end of what was appended, committed or not
        self._next_seq = 1
        self._max_seq = {True: 0, False: 0}  # by internal
        self._view_seq = 0
        self._bulk: Bulk | None = None
        self._listeners: list[Listener] = []
        self._lock: Lock | None = None
        self.snapshot: Snapshot = self._frozen()

    # Opening, recovery, closing

    @classmethod
    def open(
        cls, options: ArchiveOptions, *, fs: Fs | None = None, observer: Observer | None = None
    ) -> Archive:
        """Take the node's lock, recover, and return the archive ready to append.

        Raises LockedError if another process has it, LedgerError if the ledger is damaged or newer, OSError if the
        disk refuses.
        """
        archive = cls(options, fs or Disk(), observer or Silent())
        try:
            archive._fs.makedirs(archive.layout.home)
            archive._lock = archive._fs.lock(archive.layout.lock, f"node {options.node}, pid {os.getpid()}\n")
            prepare(archive._fs, archive.layout)
            archive._recover()
        except BaseException:
            archive._release()
            raise
        return archive

    def recover(self) -> None:
        """Read the ledger again after a failed commit and continue from what it says.

        Rows stay hot unless they turn out to be committed after all.
        """
        with self._writing:
            self._recover()

    def _recover(self) -> None:
        self._abandon_bulk()  # recovery clears `staging`
        records = self._ledger.read(repair=True)
        state = fold(records)
        self._ledger.resume(records)
        self.problems = settle(self._fs, self.layout, state)
        self._ledger.epoch += 1
        reserved = max(state.reserved_to, self._next_seq) + SEQ_RESERVE
        opened = self._ledger.append(
            [("open", {"pid": os.getpid(), "seq_reserved_to": reserved})], now_us=now_us()
        )
        first_start = self._state.n == 0
        beyond_reserve = state.reserved_to + 1
        state.apply(opened[0])
        with self._memory:
            self._settle_doubt(state)
            self._state = state
            # Never below what an earlier process may have shown: gaps, never reuse.
            self._next_seq = max(self._next_seq, beyond_reserve if first_start else 1)
            self._max_seq[True] = max(self._max_seq[True], state.max_seq_internal)
            self._max_seq[False] = max(self._max_seq[False], state.max_seq_external)
            self._swap(files_changed=True)

    def _settle_doubt(self, state: State) -> None:
        """Decide a commit in doubt by the ledger: its rows are committed, or they are hot as before."""
        cut, self._doubt = self._doubt, None
        if cut is not None:
            if any(state.sources[sid].offset >= extent.end for sid, extent in cut.ranges.items()):
                self._hot = self._hot[len(cut.events) :]
                self._hot_rejects = self._hot_rejects[len(cut.rejects) :]
            else:
                self._restore(cut)
        self._in_commit = (0, 0)

    def close(self) -> None:
        """Commit what is hot and release the lock. A commit that fails leaves its lines to the next start."""
        try:
            self.commit()
        finally:
            self._release()

    def abandon(self) -> None:
        """Release everything without committing: for tests and for a process that must stop at once."""
        self._release()

    def _release(self) -> None:
        self._ledger.close()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # What is known

    @property
    def sources(self) -> Mapping[str, SourceState]:
        """Committed state of every source, by sid."""
        return MappingProxyType(self._state.sources)

    @property
    def state(self) -> State:
        """The committed state. Read it, never change it."""
        return self._state

    def hot_bytes(self) -> int:
        """Return about how many bytes of memory the hot rows hold."""
        return hot_bytes(self._hot) + hot_bytes(self._hot_rejects)

    def uncommitted(self) -> Mapping[str, int]:
        """Return, per source with visible but uncommitted bytes, the offset where they end."""
        with self._memory:
            return {sid: extent.end for sid, extent in self._pending.items()}

    def add_listener(self, listener: Listener) -> None:
        """Call ``listener`` with every new snapshot, in the thread that made it."""
        self._listeners.append(listener)

    # Rows

    def register(self, seen: SourceSeen) -> Source:
        """Make a new source durable and return it; nothing of it may be appended before."""
        return self.register_all([seen])[0]

    def register_all(self, seen: Sequence[SourceSeen]) -> list[Source]:
        """Make several new sources durable with one sync."""
        if not seen:
            return []
        states = [_first_state(item) for item in seen]
        with self._writing:
            self._append([("source", state.to_json()) for state in states])
        return [source_of(state) for state in states]

    def append(self, parsed: Parsed, chunks: Sequence[Chunk], *, now_us: int | None = None) -> Snapshot:
        """Make the rows of ``chunks`` visible. They become durable with the next commit.

        Raises ValueError if a chunk does not continue its source, CommitError if the seq numbers reserved are used up.
        """
        when = time.time_ns() // 1000 if now_us is None else now_us
        with self._memory:
            pending = self._continued(parsed, chunks)
            events, rejects = self._ordered(parsed, when)
            if events.num_rows:
                self._hot = joined((*self._hot, hot_events(events)), self._in_commit[0])
            if rejects.num_rows:
                self._hot_rejects = joined((*self._hot_rejects, hot_rejects(rejects)), self._in_commit[1])
            self._accept(pending)
            return self._swap()

    def _continued(self, parsed: Parsed, chunks: Sequence[Chunk]) -> dict[str, Range]:
        """Return the ranges as they are with ``chunks``; every chunk must begin where its source ended."""
        if len(parsed.counts) != len(chunks):
            raise ValueError(f"{len(chunks)} chunks with {len(parsed.counts)} counts")
        touched: dict[str, Range] = {}
        for chunk, counts in zip(chunks, parsed.counts, strict=True):
            sid = chunk.source.sid
            before = touched.get(sid) or self._pending.get(sid)
            end = before.end if before else self._ends.get(sid, self._state.sources[sid].offset)
            if chunk.start != end or not counts.balanced:
                raise ValueError(
                    f"source {sid} continues at {end}, chunk is [{chunk.start}, {chunk.end}), {counts}"
                )
            touched[sid] = extended(before, chunk, counts)
        return touched

    def _accept(self, touched: dict[str, Range]) -> None:
        for sid, extent in touched.items():
            self._pending[sid] = extent
            self._ends[sid] = extent.end

    def _ordered(self, parsed: Parsed, when: int) -> tuple[pa.Table, pa.Table]:
        """Give rows their seq. Events come first, then rejects: one number is one row, of either kind."""
        rows = parsed.events.num_rows + parsed.rejects.num_rows
        if self._next_seq + rows > self._state.reserved_to:
            raise CommitError("too many rows wait for a commit", where=self.options.path, retry=True)
        events = with_order(parsed.events, EVENT_SCHEMA, self._next_seq, when)
        rejects = with_order(parsed.rejects, REJECT_SCHEMA, self._next_seq + events.num_rows, when)
        self._next_seq += rows
        for internal in (True, False):
            highest = max_seq_of(events, internal=internal) if events.num_rows else 0
            self._max_seq[internal] = max(self._max_seq[internal], highest)
        return events, rejects

    # Commit

    def commit(self, *, sync_sources: Callable[[Sequence[str]], None] | None = None) -> Snapshot:
        """Make every hot row durable. ``sync_sources`` gets the sids concerned and must fdatasync their files.

        Raises CommitError or OSError if the disk refuses: rows stay hot, and the next call recovers first.
        """
        with self._writing:
            if self._ledger.broken:
                self._recover()
            with self._memory:
                cut = self._cut()
            if not cut.ranges:
                return self.snapshot
            started = time.monotonic()
            try:
                stage(self._fs, self.layout, cut, rollups.delta)
                if sync_sources is not None:
                    sync_sources(sorted(cut.ranges))
                self._record_commit(cut)
            except BaseException:
                self._give_back(cut)
                raise
            self._place(cut.files, cut)
            with self._memory:
                self._hot = self._hot[len(cut.events) :]
                self._hot_rejects = self._hot_rejects[len(cut.rejects) :]
                self._in_commit = (0, 0)
                snapshot = self._swap(files_changed=True)
            self._observer.seconds("commit_seconds", time.monotonic() - started)
            self._observer.count("commits_total")
            self._snapshot_ledger()
            return snapshot

    def _cut(self) -> Cut:
        cut = Cut(self._hot, self._hot_rejects, self._pending, self._next_seq - 1)
        self._pending = {}
        self._in_commit = (len(cut.events), len(cut.rejects))
        return cut

    def _give_back(self, cut: Cut) -> None:
        """After a failed commit: its rows stay hot. If its record may have reached the disk, recovery decides."""
        with self._memory:
            if self._ledger.broken:
                self._doubt = cut
                return
            self._in_commit = (0, 0)
            self._restore(cut)
        unstage(self._fs, self.layout, cut.files)

    def _restore(self, cut: Cut) -> None:
        """Put a failed commit's ranges back in front of what came since."""
        for sid, extent in cut.ranges.items():
            later = self._pending.get(sid)
            if later is None:
                self._pending[sid] = extent
            else:
                self._pending[sid] = replace(later, start=extent.start, counts=extent.counts + later.counts)

    def _record_commit(self, cut: Cut, *, sealed_seq: int = 0) -> None:
        reserved = max(self._state.reserved_to, self._next_seq + SEQ_RESERVE)
        self._append([("commit", body(cut, seq_reserved_to=reserved, sealed_seq=sealed_seq))])

    def _append(self, records: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Append to the ledger and fold into the state; the ledger recovers first if its last write failed."""
        if self._ledger.broken:
            self._recover()
        written = self._ledger.append(records, now_us=now_us())
        with self._memory:
            for record in written:
                self._state.apply(record)

    def _place(self, files: Sequence[File], cut: Cut | None = None) -> None:
        """Move files whose record is durable to their places. If the disk refuses, recovery will do it."""
        try:
            roll_forward(self._fs, self.layout, list(files))
        except OSError as error:
            self._ledger.broken = True
            self._doubt = cut
            raise CommitError(
                f"a committed file could not be moved into place: {error.strerror or error}",
                where=self.layout.live,
                hint="the commit is safe; the daemon moves the file as soon as the disk lets it",
                retry=True,
            ) from error

    def _snapshot_ledger(self) -> None:
        if self._state.commits_since_snapshot >= SNAPSHOT_EVERY:
            self.collect()
            self._ledger.begin_segment(self._state.to_json(), now_us=now_us())
            self._state.commits_since_snapshot = 0
            self._state.n, self._state.head = self._ledger.n, self._ledger.head

    # Bulk import

    def append_sealed(self, parsed: Parsed, chunks: Sequence[Chunk]) -> None:
        """Take rows of a bulk import: they go straight into sealed files and are visible after `commit_sealed`.

        Do not mix with `append` before `commit_sealed` was called. Raises as `append` does, and OSError.
        """
        with self._writing:
            if self._bulk is None:
                self.commit()
                self.seal()
                self._bulk = Bulk(SealedWriter(self._fs, self.layout, rollups.delta))
            bulk = self._bulk
            with self._memory:
                touched = self._continued(parsed, chunks)
                events, rejects = self._ordered(parsed, now_us())
                self._accept(touched)
            try:
                bulk.add(events)
            except BaseException:
                self._abandon_bulk()
                raise
            if rejects.num_rows:
                bulk.rejects.append(hot_rejects(rejects))

    def bulk_bytes(self) -> int:
        """Return how many Parquet bytes wait for `commit_sealed`."""
        return self._bulk.writer.bytes if self._bulk else 0

    def commit_sealed(self) -> Snapshot:
        """Commit what `append_sealed` took, as one record. On failure the rows must be read again."""
        with self._writing:
            if self._ledger.broken:
                self._recover()  # which gives up the import: its files were in `staging`
            bulk, self._bulk = self._bulk, None
            if bulk is None:
                return self.snapshot
            with self._memory:
                cut = Cut((), tuple(bulk.rejects), self._pending, self._next_seq - 1)
                self._pending = {}
            try:
                bulk.flush()
                stage(self._fs, self.layout, cut, rollups.delta)  # rejects only: there are no hot events
                cut.files.extend(bulk.writer.finish())
                cut.max_seq_internal, cut.max_seq_external = self._max_seq[True], self._max_seq[False]
                self._record_commit(cut, sealed_seq=0 if cut.rejects else cut.max_seq)
            except BaseException:
                bulk.writer.abandon()
                unstage(self._fs, self.layout, cut.files)
                with self._memory:
                    self._ends.clear()
                raise
            self._place(cut.files)
            with self._memory:
                snapshot = self._swap(files_changed=True)
            self._snapshot_ledger()
        if cut.rejects:
            self.seal()
        return snapshot

    def _abandon_bulk(self) -> None:
        if self._bulk is not None:
            self._bulk.writer.abandon()
            self._bulk = None
            with self._memory:
                self._pending.clear()
                self._ends.clear()

    # Folding, sealing, dropping

    def fold(self) -> bool:
        """Merge some live files if there are more than ``fold_files``; return whether it did."""
        with self._writing:
            live = sorted(self._own("events", sealed=False), key=lambda file: file.min_seq)
            if len(live) <= self.options.fold_files:
                return False
            chosen = _cheapest_run(live, self.options.fold_files // 2)
            stager = Stager(self._fs, self.layout, rollups.delta)
            added = self._staged(stager, lambda: stager.fold(chosen, self._state.n))
            self._exchange("fold", added, self._with_rollups(chosen))
            return True

    def seal(self) -> int:
        """Turn every live file into sealed ones; return how many were made. Rows that are hot stay hot."""
        with self._writing:
            events, rejects = self._own("events", sealed=False), self._own("rejects", sealed=False)
            if not events and not rejects:
                return 0
            started = time.monotonic()
            stager = Stager(self._fs, self.layout, rollups.delta)
            added = self._staged(stager, lambda: stager.seal(events, rejects))
            self._exchange(
                "seal", added, [*self._with_rollups(events), *rejects], sealed_seq=self._state.max_seq
            )
            self._observer.seconds("seal_seconds", time.monotonic() - started)
            return len(added)

    def drop(self, before_day: str, *, dry_run: bool) -> DropReport:
        """Remove sealed files of days before ``before_day`` (YYYY-MM-DD), as one ledger record."""
        with self._writing:
            report, files = plan_drop(self._own_files(), before_day, dry_run=dry_run)
            if files and not dry_run:
                paths = [file.path for file in files]
                self._append([("drop", {"removes": paths, "before": before_day, "reason": "retention"})])
                with self._memory:
                    self._swap(files_changed=True)
            return report

    def gap(self, sid: str, start: int, end: int, reason: str) -> None:
        """Record that bytes ``[start, end)`` of a source are known to have existed and can never be archived."""
        with self._writing:
            self._append([("gap", {"sid": sid, "start": start, "end": end, "reason": reason})])

    def collect(self) -> int:
        """Remove superseded and dropped files whose grace time is over; return how many."""
        with self._writing:
            limit = now_us() - int(self.options.grace_seconds * 1_000_000)
            due = [path for path, when in self._state.retired.items() if when <= limit]
            for path in due:
                self._fs.unlink(self.layout.absolute(path))
                del self._state.retired[path]
            return len(due)

    def publish(self) -> bool:
        """Write the view files for outside readers if the set of files changed; return whether it did.

        Takes 50 ms at 365 files; commits go on meanwhile. Raises OSError or duckdb.Error, and the old files stay.
        """
        with self._publishing:
            with self._memory:
                snapshot, committed = self.snapshot, self._state.max_seq
            written = self._publisher.publish(snapshot)
            with self._memory:
                self._view_seq = max(self._view_seq, committed)
                self._swap()
            return written

    def _staged(self, stager: Stager, work: Callable[[], list[File]]) -> list[File]:
        if self._ledger.broken:
            self._recover()
        try:
            return work()
        except BaseException:
            stager.abandon()
            raise

    def _exchange(self, kind: str, added: list[File], removed: list[File], *, sealed_seq: int = 0) -> None:
        entry = {
            "files": [file_to_json(file) for file in added],
            "removes": [file.path for file in removed],
            "sealed_seq": sealed_seq,
        }
        try:
            self._append([(kind, entry)])
        except BaseException:
            if not self._ledger.broken:
                unstage(self._fs, self.layout, added)
            raise
        self._place(added)
        with self._memory:
            self._swap(files_changed=True)

    def _own_files(self) -> list[File]:
        return [file for file in self._state.files.values() if file.node == self.options.node]

    def _own(self, kind: str, *, sealed: bool) -> list[File]:
        return [f for f in self._own_files() if f.kind == kind and (f.day is not None) == sealed]

    def _with_rollups(self, events: Sequence[File]) -> list[File]:
        paths = {file.path for file in events}
        return [*events, *(f for f in self._own_files() if f.kind == "rollup" and f.covers in paths)]

    # Snapshots

    def _swap(self, *, files_changed: bool = False) -> Snapshot:
        """Build the new snapshot and show it. Called with ``_memory`` held."""
        if files_changed:
            self._files = _by_kind(self._state, self.problems)
        self.snapshot = snapshot = self._frozen()
        for listener in self._listeners:
            listener(snapshot)
        return snapshot

    def _frozen(self) -> Snapshot:
        state = self._state
        events, rollup_files, rejects = self._files
        return Snapshot(
            root=self.options.path,
            node=self.options.node,
            seq=max(state.max_seq, self._next_seq - 1 if self._hot or self._hot_rejects else 0),
            seq_internal=self._max_seq[True],
            seq_external=self._max_seq[False],
            view_seq=self._view_seq,
            sealed_seq=state.sealed_seq,
            commit=state.n,
            drops=state.drops,
            events=events,
            rollups=rollup_files,
            rejects=rejects,
            hot=self._hot,
            hot_rejects=self._hot_rejects,
        )


def _first_state(seen: SourceSeen) -> SourceState:
    """Return the state of a source nothing of which is committed yet."""
    return SourceState(
        sid=uuid.uuid4().hex,
        file=seen.file,
        path=seen.path,
        device=seen.device,
        inode=seen.inode,
        generation=seen.generation,
        head=seen.head,
        head_length=seen.head_length,
        seam="",
        seam_length=0,
        offset=0,
        digest="",
        digest_from=0,
        first_seen_us=seen.first_seen_us,
        file_date_us=seen.file_date_us,
        profile=seen.profile,
        internal=seen.internal,
        size=0,
        counts=Counts(),
    )


def source_of(state: SourceState) -> Source:
    """Return what the parser needs to know of a source."""
    return Source(
        state.sid, state.file, state.first_seen_us, state.file_date_us, state.profile, state.internal
    )


def _cheapest_run(live: Sequence[File], length: int) -> list[File]:
    """Return ``length`` neighbouring files (by seq) with the fewest bytes: each byte is then folded rarely."""
    starts = range(len(live) - length + 1)
    best = min(starts, key=lambda start: sum(file.bytes for file in live[start : start + length]))
    return list(live[best : best + length])


def _by_kind(
    state: State, problems: Sequence[Problem]
) -> tuple[tuple[File, ...], tuple[File, ...], tuple[File, ...]]:
    """Return the readable events, roll-up and reject files, newest first."""
    unreadable = {problem.path for problem in problems}
    files = sorted(
        (file for path, file in state.files.items() if path not in unreadable),
        key=lambda file: (file.max_time_us, file.max_seq),
        reverse=True,
    )
    return (
        tuple(file for file in files if file.kind == "events"),
        tuple(file for file in files if file.kind == "rollup"),
        tuple(file for file in files if file.kind == "rejects"),
    )
