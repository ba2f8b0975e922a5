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
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from parsers.batch import Chunk, Parsed, Source
from storage import rollups
from storage.archiveoptions import ArchiveOptions
from storage.atrisk import FileAtRisk, FileKey, source_record
from storage.books import SEQ_RESERVE, Books, now_us
from storage.bulk import Bulk
from storage.commit import Cut, body, stage, unstage
from storage.epochs import Run
from storage.errors import ArchiveError, CommitError
from storage.fs import Disk, Fs
from storage.gaps import Gap, Hole, holes_in
from storage.hot import hot_rejects
from storage.keeping import Keeping
from storage.layout import Layout, valid_node
from storage.lineage import ground
from storage.meeting import first_state, source_of
from storage.observer import Observer, Silent
from storage.provenance import Coverage, Maker, Origin, covered_by, newest_sources
from storage.publish import Publisher
from storage.rearrange import Rearranger, Sizes
from storage.records import Range, SourceSeen, SourceState
from storage.recovery import Problem
from storage.retention import DropReport
from storage.seal import SealedWriter
from storage.snapshot import File, Snapshot
from storage.state import State
from storage.turns import Turns
from storage.visible import Visible

MET_SOURCES = 2048  # new sources in one record: about 1.5 MB of JSON

Listener = Callable[[Snapshot], None]


@dataclass(frozen=True, slots=True)
class _Shown:
    """The files that readers see, and what was true of the ledger when all of them were in their places.

    Between a record and the moves it asks for, the books are ahead of what a reader of the folders finds.
    """

    events: tuple[File, ...] = ()
    rollups: tuple[File, ...] = ()
    rejects: tuple[File, ...] = ()
    sealed_seq: int = 0
    max_seq: int = 0
    record: int = 0
    drops: int = 0


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
        self._shown = _Shown()
        self._view_seq = 0
        self._begun = False  # whether our `open` record is durable: before that nothing may become visible
        self._bulk: Bulk | None = None
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
        self._gaps_told = 0  # events were made of the gaps up to this number
        self._listeners: list[Listener] = []
        self.run = (
            Run()
        )  # stays the same however often this process recovers: rows that are hot keep their seq
        self.snapshot: Snapshot = self._frozen()

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
        self._abandon_bulk()  # recovery clears `staging`
        state = self._books.recover(next_seq=self._visible.next_seq)
        with self._memory:
            self._visible.settle(state)
            if not self._begun:
                # Never a number that an earlier process may have shown: gaps, never reuse.
                self._visible.next_seq = state.before_open + 1
                self.run = Run(self._books.epoch, state.max_seq)
                self._begun = True
            self._swap(files_changed=True)

    def recover_if_broken(self) -> None:
        """Recover if a write failed. Called with ``_writing`` held."""
        if self._books.broken:
            self._recover()

    def close(self) -> None:
        """Commit what is hot and release the lock. A commit that fails leaves its lines to the next start."""
        try:
            with self._rearranger.merging, self._writing:
                self._abandon_bulk()  # an import that nobody committed: its lines are read again
            self.commit()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Release everything without committing: the lines are still in their files."""
        self._books.release()

    # What is known

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
        with self._memory:
            self._listeners.append(listener)

        def end() -> None:
            with self._memory:
                self._listeners.remove(listener)

        return end

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
            return self._swap()

    # Commit

    def commit(self, *, sync_sources: Callable[[Sequence[str]], None] | None = None) -> Snapshot:
        """Make every hot row durable. ``sync_sources`` gets the sids concerned and must fdatasync their files.

        Raises CommitError or OSError if the disk refuses: rows stay hot, and the next call recovers first.
        """
        with self._writing:
            if self._bulk is not None:
                raise ValueError("a bulk import is under way: call commit_sealed")
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
                    self._commit_origin("commit", cut.ranges, cut.max_seq, {}),
                )
                if sync_sources is not None:
                    sync_sources(sorted(cut.ranges))
                self._record_commit(cut)
                self._books.place(cut.files)
            except BaseException:
                self._give_back(cut)
                raise
            with self._memory:
                self._visible.committed(cut)
                snapshot = self._swap(files_changed=True)
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

    def _commit_origin(
        self, made_by: Maker, ranges: Mapping[str, Range], max_seq: int, met: Mapping[str, SourceState]
    ) -> Origin:
        state = self._books.state
        covered = covered_by(ranges, state, max_seq, met)
        known = newest_sources(state, covered) if made_by == "bulk" else ()
        return self._books.origin(made_by, covered, known=known)

    def merge_origin(self, made_by: Maker, replaced: Sequence[File], coverage: Coverage) -> Origin:
        """Return what the footers of merged files say. Called with ``_writing`` held."""
        state = self._books.state
        covered = coverage.of(state)
        known = newest_sources(state, covered) if made_by == "seal" else ()
        return self._books.origin(made_by, covered, replaces=replaced, known=known)

    def _bulk_origin(self) -> Origin:
        with self._memory:
            met = self._bulk.met if self._bulk else {}
            return self._commit_origin("bulk", self._visible.pending, self._visible.next_seq - 1, met)

    def _record_commit(self, cut: Cut, *, sealed_seq: int = 0, met: Iterable[SourceState] = ()) -> None:
        with self._memory:
            reserved = max(self._books.state.reserved_to, self._visible.next_seq + SEQ_RESERVE)
        entry = body(
            cut, seq_reserved_to=reserved, sealed_seq=sealed_seq, gaps_told=self._gaps_told, sources=met
        )
        self._books.record([("commit", entry)])

    # Bulk import

    def meet(self, seen: SourceSeen) -> Source:
        """Return a new source of a bulk import. It becomes durable with the record that commits its first rows."""
        with self._rearranger.merging, self._writing:
            state = first_state(seen)
            self._bulk_begun().met[state.sid] = replace(
                state, rungs=(ground(state, self._books.state.max_seq),)
            )
            return source_of(state)

    def _bulk_begun(self) -> Bulk:
        """Return the bulk import under way; when it begins, nothing is hot or live any more."""
        if self._bulk is None:
            self.commit()
            self.seal()
            self._bulk = Bulk(SealedWriter(self._fs, self.layout, rollups.delta, self._bulk_origin))
        return self._bulk

    def append_sealed(self, parsed: Parsed, chunks: Sequence[Chunk], *, now_us: int | None = None) -> None:
        """Take rows of a bulk import: they go straight into sealed files and are visible after `commit_sealed`.

        Do not mix with `append` before `commit_sealed` was called. Raises as `append` does, and OSError.
        """
        with self._rearranger.merging, self._writing:
            bulk = self._bulk_begun()
            with self._memory:
                known = ChainMap(bulk.met, self._books.state.sources)
                touched = self._visible.continued(parsed, chunks, known)
                when = self._books.clock() if now_us is None else now_us
                events, rejects = self._visible.number(parsed, when, self._books.state.reserved_to)
            try:
                with self._memory:
                    self._visible.accept(touched)
                    self._visible.holes += holes_in(parsed, chunks)
                if rejects.num_rows:
                    bulk.rejects.append(hot_rejects(rejects))
                bulk.add(events)
            except BaseException:
                self._abandon_bulk()
                raise

    def bulk_due(self, most_bytes: int) -> bool:
        """Return whether enough waits for `commit_sealed`: so many Parquet bytes, or as many sources as one record takes."""
        return self._bulk is not None and (
            self._bulk.writer.bytes >= most_bytes or len(self._bulk.met) >= MET_SOURCES
        )

    def commit_sealed(self) -> Snapshot:
        """Commit what `append_sealed` took, as one record. On failure its lines must be read again."""
        with self._rearranger.merging, self._writing:
            self.recover_if_broken()  # which gives up the import: its files were in `staging`
            if self._bulk is None:
                return self.snapshot
            try:
                self._bulk.flush()
            except BaseException:
                self._abandon_bulk()
                raise
            bulk, self._bulk = self._bulk, None
            with self._memory:
                cut = self._visible.cut_ranges(bulk.rejects)
            try:
                met = {sid: state for sid, state in bulk.met.items() if sid in cut.ranges}
                origin = self._commit_origin("bulk", cut.ranges, cut.max_seq, met)
                stage(self._fs, self.layout, cut, rollups.delta, origin)  # rejects only: no events are hot
                cut.files.extend(bulk.writer.finish(origin))
                cut.max_seq_internal = self._visible.max_seq_internal
                cut.max_seq_external = self._visible.max_seq_external
                sealed_seq = 0 if cut.rejects or self._books.has_live() else cut.max_seq
                self._record_commit(cut, sealed_seq=sealed_seq, met=met.values())
                self._books.place(cut.files)
            except BaseException:
                if not self._books.broken:  # else the record may have reached the disk, and recovery decides
                    bulk.writer.abandon()
                    unstage(self._fs, self.layout, cut.files)
                with self._memory:
                    self._visible.forget_ranges()
                raise
            with self._memory:
                snapshot = self._swap(files_changed=True)
            self._books.snapshot_if_due()
            if cut.rejects:
                self.seal()
            return snapshot

    def _abandon_bulk(self) -> None:
        if self._bulk is not None:
            self._bulk.writer.abandon()
            self._bulk = None
            with self._memory:
                self._visible.forget_ranges()

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

    def gap(
        self, sid: str, start: int, end: int, code: str, path: str = "", *, file: FileAtRisk | None = None
    ) -> None:
        """Record that bytes ``[start, end)`` of a source are known to have existed and can never be archived.

        ``code`` is one of `storage.gaps.REASONS`; ``sid`` is empty for a file that never became a source. ``file``: the
        bytes are those of a file that was at risk, and is so no more.
        """
        entry = Hole(sid, path, start, end, end - start, code).entry()
        if file is not None:
            entry["file"] = file.to_json()
        with self._writing:
            self.recover_if_broken()
            self._books.record([("gap", entry)])

    @property
    def files_at_risk(self) -> Mapping[FileKey, FileAtRisk]:
        """The files of which a crash would lose bytes that no source has."""
        return MappingProxyType(self._books.state.files_at_risk)

    def at_risk(self, sizes: Mapping[str, int], files: Sequence[FileAtRisk]) -> None:
        """Record, with one sync, what a crash would lose, so that it cannot hide it.

        ``sizes``: how many bytes of a source are known, by sid; no more than are committed: those beyond are no loss.
        ``files``: those whose bytes no source has; an empty one takes back what was recorded of it.
        """
        with self._writing:
            self.recover_if_broken()
            sources = self._books.state.sources
            known = [(sources[sid], size) for sid, size in sizes.items() if sid in sources]
            bodies = [
                source_record(s.sid, s.offset, max(s.offset, size))
                for s, size in known
                if size > max(s.offset, s.size) or size <= s.offset < s.size
            ]
            bodies += [file.record() for file in files]
            if bodies:
                self._books.record([("gap", body) for body in bodies])

    def untold_gaps(self) -> list[Gap]:
        """Return the recorded gaps of which no event was made yet, oldest first."""
        return [gap for gap in self._books.state.gap_book.untold() if gap.number > self._gaps_told]

    def gaps_told(self, number: int) -> None:
        """Note that events were made of the gaps up to ``number``; the next commit says so durably."""
        self._gaps_told = max(self._gaps_told, number)

    def collect(self) -> int:
        """Remove superseded and dropped files whose grace time is over; return how many."""
        with self._writing:
            self.recover_if_broken()  # a seal that was recorded but not placed: readers still use the old files
            return self._books.collect(self.options.grace_seconds, self._publisher.shown)

    def publish(self) -> bool:
        """Write the view files for outside readers if the set of files changed; return whether it did.

        Takes 50 ms at 365 files; commits go on meanwhile. Raises OSError or duckdb.Error, and the old files stay.
        """
        with self._publishing:
            with self._memory:
                snapshot, committed = self.snapshot, self._shown.max_seq
            written = self._publisher.publish(snapshot)
            with self._memory:
                self._view_seq = max(self._view_seq, committed)
                self._swap()
            return written

    # Snapshots

    def files_changed(self) -> None:
        """Show readers the new set of files. Called with ``_writing`` held."""
        with self._memory:
            self._swap(files_changed=True)

    def _swap(self, *, files_changed: bool = False) -> Snapshot:
        """Build the new snapshot and show it. Called with ``_memory`` held."""
        if files_changed:
            state = self._books.state
            files = self._books.readable()
            self._shown = _Shown(*files, state.sealed_seq, state.max_seq, state.n, state.drops)
        self.snapshot = snapshot = self._frozen()
        for listener in self._listeners:
            listener(snapshot)
        return snapshot

    def _frozen(self) -> Snapshot:
        shown, visible = self._shown, self._visible
        hot = bool(visible.events or visible.rejects)
        return Snapshot(
            root=self.options.path,
            node=self.options.node,
            seq=visible.next_seq - 1 if hot else shown.max_seq,
            seq_internal=visible.max_seq_internal,
            seq_external=visible.max_seq_external,
            view_seq=self._view_seq,
            sealed_seq=shown.sealed_seq,
            commit=shown.record,
            drops=shown.drops,
            events=shown.events,
            rollups=shown.rollups,
            rejects=shown.rejects,
            hot=visible.events,
            hot_rejects=visible.rejects,
        )
