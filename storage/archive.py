"""The archive of one node: rows become visible, then durable, then sealed. One object, one writer.

Hot rows are only in memory, because their lines are still in the application's files. A commit writes them to Parquet
and appends one ledger record; that record is the only thing that moves an offset. Any failure leaves rows hot and
offsets where they were, so the same lines are committed later: exactly once.

Threads: every method may be called from any thread. ``_memory`` guards what readers see and is held for microseconds;
``_writing`` serialises records and what they move, first come first served. Merging goes on outside it: `storage.rearrange`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from parsers.batch import Chunk, Parsed, Source
from storage import rollups
from storage.archiveoptions import ArchiveOptions
from storage.atrisk import FileAtRisk, FileKey
from storage.books import SEQ_RESERVE, Books, now_us
from storage.bulkimports import BulkImports
from storage.commit import Cut, body, stage, unstage
from storage.epochs import Run
from storage.errors import ArchiveError, CommitError
from storage.fs import Disk, Fs
from storage.gaps import holes_in
from storage.keeping import Keeping
from storage.layout import Layout, valid_node
from storage.losses import Losses
from storage.meeting import first_state, source_of
from storage.observer import Observer, Silent
from storage.origins import commit_origin
from storage.publish import Publisher
from storage.rearrange import Rearranger, Sizes
from storage.records import SourceSeen, SourceState
from storage.recovery import Problem
from storage.retention import DropReport
from storage.shown import Listener, Shown
from storage.snapshot import File, Snapshot
from storage.state import State
from storage.turns import Turns
from storage.visible import Visible


class Archive:
    """One node's archive, open for writing. Use `Archive.open`."""

    def __init__(
        self, options: ArchiveOptions, fs: Fs, observer: Observer, clock: Callable[[], int] = now_us
    ) -> None:
        if not valid_node(options.node):
            raise ArchiveError(
                f"{options.node!r} cannot name a node",
                where="[archive] node",
                hint="use lower-case letters, digits, '-' and '_', at most 63",
            )
        self.options = options
        self.layout = Layout(options.path, options.node)
        self._fs = fs
        self._observer = observer
        self._memory = threading.RLock()
        self._writing = Turns()
        self._publishing = threading.Lock()
        self._publisher = Publisher(fs, self.layout)
        self._books = Books(fs, self.layout, clock)
        self._visible = Visible()
        self._shown = Shown(self.layout, self._books, self._visible, self._memory)
        self._begun = False  # whether our `open` record is durable: before that nothing may become visible
        self._rearranger = Rearranger(
            fs,
            self.layout,
            self._books,
            self,
            sizes=Sizes(options.seal_bytes, options.fold_files),
            rules=options.late_rules,
            writing=self._writing,
            observer=observer,
        )
        self.keeping = Keeping(
            self._books,
            options.policy,
            root=options.path,
            writing=self._writing,
            recover=self.recover_if_broken,
            changed=self.files_changed,
            seal_late=self._rearranger.seal_late,
        )
        self.losses = Losses(self._books, writing=self._writing, recover=self.recover_if_broken)
        self.bulk = BulkImports(
            fs,
            self.layout,
            self._books,
            self,
            visible=self._visible,
            shown=self._shown,
            memory=self._memory,
            merging=self._rearranger.merging,
            writing=self._writing,
        )
        self.run = (
            Run()
        )  # stays the same however often this process recovers: rows that are hot keep their seq

    # Opening, recovery, closing

    @classmethod
    def open(
        cls,
        options: ArchiveOptions,
        *,
        fs: Fs | None = None,
        observer: Observer | None = None,
        clock: Callable[[], int] = now_us,
    ) -> Archive:
        """Take the node's lock, recover, and return the archive ready to append. ``clock`` gives microseconds, UTC.

        Raises LockedError if another process has it, LedgerError if the ledger is damaged or newer, OSError if the
        disk refuses. If the ledger can be read but not written (a full disk), what is committed can be read, and
        `append` and `commit` raise CommitError until the disk lets them.
        """
        archive = cls(options, fs or Disk(), observer or Silent(), clock)
        try:
            archive._books.start()
            try:
                archive._recover()
                archive.keeping.lock_minimums()
            except CommitError as error:
                if not error.retry:
                    raise
                # The ledger can be read and not written: what is committed is served, and nothing is appended.
                archive._visible.settle(archive.state)
                archive.run = Run(base=archive.state.max_seq)
                archive.files_changed()
        except BaseException:
            archive.abandon()
            raise
        return archive

    def recover(self) -> None:
        """Read the ledger again after a failed commit and continue from what it says.

        Rows stay hot unless they turn out to be committed after all.
        """
        with self._writing:
            self._recover()

    def _recover(self) -> None:
        self.bulk.abandon()  # recovery clears `staging`
        state = self._books.recover(next_seq=self._visible.next_seq)
        with self._memory:
            self._visible.settle(state)
            if not self._begun:
                # Never a number that an earlier process may have shown: gaps, never reuse.
                self._visible.next_seq = state.before_open + 1
                self.run = Run(self._books.epoch, state.max_seq)
                self._begun = True
            self._shown.swap(files_changed=True)

    def recover_if_broken(self) -> None:
        """Recover if a write failed. Called with ``_writing`` held."""
        if self._books.broken:
            self._recover()

    def close(self) -> None:
        """Commit what is hot and release the lock. A commit that fails leaves its lines to the next start."""
        try:
            with self._rearranger.merging, self._writing:
                self.bulk.abandon()  # an import that nobody committed: its lines are read again
            self.commit()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Release everything without committing: the lines are still in their files."""
        self._books.release()

    # What is known

    @property
    def snapshot(self) -> Snapshot:
        """What readers see now."""
        return self._shown.snapshot

    @property
    def sources(self) -> Mapping[str, SourceState]:
        """Committed state of every source, by sid."""
        return MappingProxyType(self._books.state.sources)

    @property
    def state(self) -> State:
        """The committed state. Read it, never change it."""
        return self._books.state

    @property
    def lost(self) -> list[tuple[File, str]]:
        """Committed events and rejects that the start did not find whole, and why; retention may have dropped some since."""
        files = self._books.state.files
        known = [(files[problem.path], problem.what) for problem in self.problems if problem.path in files]
        return [(file, what) for file, what in known if file.kind != "rollup"]

    @property
    def problems(self) -> list[Problem]:
        """What the last recovery found and could not mend."""
        return self._books.problems

    @property
    def fs(self) -> Fs:
        """The file system that everything durable goes through."""
        return self._fs

    @property
    def next_seq(self) -> int:
        """The number that the next row will get."""
        return self._visible.next_seq

    def hot_bytes(self) -> int:
        """Return about how many bytes of memory the hot rows hold."""
        return self._visible.bytes

    def uncommitted(self) -> Mapping[str, int]:
        """Return, per source with visible but uncommitted bytes, the offset where they end."""
        with self._memory:
            return self._visible.ends

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every new snapshot, in the thread that made it; returns what ends that.

        Memory is locked meanwhile, so it must return at once.
        """
        return self._shown.add_listener(listener)

    # Rows

    def register(self, seen: SourceSeen) -> Source:
        """Make a new source durable and return it; nothing of it may be appended before."""
        return self.register_all([seen])[0]

    def register_all(self, seen: Sequence[SourceSeen]) -> list[Source]:
        """Make several new sources durable with one sync."""
        if not seen:
            return []
        states = [first_state(item) for item in seen]
        with self._writing:
            self.recover_if_broken()
            self._books.record([("source", state.to_json()) for state in states])
        return [source_of(state) for state in states]

    def append(self, parsed: Parsed, chunks: Sequence[Chunk], *, now_us: int | None = None) -> Snapshot:
        """Make the rows of ``chunks`` visible. They become durable with the next commit.

        Raises ValueError if a chunk does not continue its source, CommitError if the seq numbers reserved are used up.
        """
        if not self._begun:
            with self._writing:
                self.recover_if_broken()
        when = self._books.clock() if now_us is None else now_us
        with self._memory:
            touched = self._visible.continued(parsed, chunks, self._books.state.sources)
            self._visible.holes += holes_in(parsed, chunks)
            self._visible.show(*self._visible.number(parsed, when, self._books.state.reserved_to))
            self._visible.accept(touched)
            return self._shown.swap()

    # Commit

    def commit(self, *, sync_sources: Callable[[Sequence[str]], None] | None = None) -> Snapshot:
        """Make every hot row durable. ``sync_sources`` gets the sids concerned and must fdatasync their files.

        Raises CommitError or OSError if the disk refuses: rows stay hot, and the next call recovers first.
        """
        with self._writing:
            if self.bulk.under_way:
                raise ValueError("a bulk import is under way: call bulk.commit")
            self.recover_if_broken()
            with self._memory:
                cut = self._visible.cut()
            if not cut.ranges:
                return self.snapshot
            started = time.monotonic()
            try:
                stage(
                    self._fs,
                    self.layout,
                    cut,
                    rollups.delta,
                    commit_origin(self._books, "commit", cut.ranges, cut.max_seq, {}),
                )
                if sync_sources is not None:
                    sync_sources(sorted(cut.ranges))
                self.record_commit(cut)
                self._books.place(cut.files)
            except BaseException:
                self._give_back(cut)
                raise
            with self._memory:
                self._visible.committed(cut)
                snapshot = self._shown.swap(files_changed=True)
            self._observer.seconds("commit_seconds", time.monotonic() - started)
            self._observer.count("commits_total")
            self._books.snapshot_if_due()
            return snapshot

    def _give_back(self, cut: Cut) -> None:
        """After a failed commit: its rows stay hot. If its record may have reached the disk, recovery decides."""
        with self._memory:
            if self._books.broken:
                self._visible.doubtful(cut)
                return
            self._visible.failed(cut)
        unstage(self._fs, self.layout, cut.files)

    def record_commit(self, cut: Cut, *, sealed_seq: int = 0, met: Iterable[SourceState] = ()) -> None:
        """Append the record of a commit that makes the sources ``met`` known. Called with ``_writing`` held."""
        with self._memory:
            reserved = max(self._books.state.reserved_to, self._visible.next_seq + SEQ_RESERVE)
        entry = body(
            cut, seq_reserved_to=reserved, sealed_seq=sealed_seq, gaps_told=self.losses.told, sources=met
        )
        self._books.record([("commit", entry)])

    # Folding, sealing, dropping

    def fold(self) -> bool:
        """Merge some live files if there are more than ``fold_files`` of a kind; return whether it did."""
        return self._rearranger.fold()

    def seal(self) -> int:
        """Turn every live file into sealed ones; return how many were made. Rows that are hot stay hot."""
        return self._rearranger.seal()

    def seal_due(self, now_us: int | None = None) -> int:
        """Seal about ``seal_bytes`` of what is committed; late rows only if they have waited long enough."""
        return self._rearranger.seal_due(now_us)

    def drop(self, before_day: str, *, dry_run: bool) -> DropReport:
        """Remove sealed files of days before ``before_day`` (YYYY-MM-DD) that nothing keeps, as one ledger record."""
        return self.keeping.asked(before_day, dry_run=dry_run)

    # The tailer asks these two of whatever takes its lines.

    @property
    def files_at_risk(self) -> Mapping[FileKey, FileAtRisk]:
        """The files of which a crash would lose bytes that no source has."""
        return self.losses.files_at_risk

    def at_risk(self, sizes: Mapping[str, int], files: Sequence[FileAtRisk]) -> None:
        """Record, with one sync, what a crash would lose; see `Losses.at_risk`."""
        self.losses.at_risk(sizes, files)

    # What goes, and what outside readers see

    def collect(self) -> int:
        """Remove superseded and dropped files whose grace time is over; return how many."""
        with self._writing:
            self.recover_if_broken()  # a seal that was recorded but not placed: readers still use the old files
            return self._books.collect(self.options.grace_seconds, self._publisher.shown)

    def publish(self) -> bool:
        """Write the view files for outside readers if the set of files changed; return whether it did.

        Takes 50 ms at 365 files; commits go on meanwhile. Raises OSError or ArchiveError, and the old files stay.
        """
        with self._publishing:
            snapshot, placed_seq = self._shown.placed()
            written = self._publisher.publish(snapshot)
            self._shown.published(placed_seq)
            return written

    def files_changed(self) -> None:
        """Show readers the new set of files. Called with ``_writing`` held."""
        with self._memory:
            self._shown.swap(files_changed=True)
