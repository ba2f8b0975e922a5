"""Bulk imports, one after another: each is a `Bulk` from its first row to the one record that commits it.

Its rows never are hot: they go into sealed files at once, and become visible with the record. A failure gives up what
the record would have committed, and those lines are read again.
"""

from __future__ import annotations

import threading
from collections import ChainMap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from parsers.batch import Chunk, Parsed, Source
from storage import rollups
from storage.books import Books
from storage.bulk import Bulk
from storage.commit import Cut, stage, unstage
from storage.fs import Fs
from storage.gaps import holes_in
from storage.hot import hot_rejects
from storage.layout import Layout
from storage.lineage import ground
from storage.meeting import first_state, source_of
from storage.origins import commit_origin
from storage.provenance import Origin
from storage.records import SourceSeen, SourceState
from storage.seal import SealedWriter
from storage.shown import Shown
from storage.snapshot import Snapshot
from storage.turns import Turns
from storage.visible import Visible

MET_SOURCES = 2048  # new sources in one record: about 1.5 MB of JSON


class Owner(Protocol):
    """What a bulk import needs of the archive. Everything is called with both locks held."""

    def commit(self) -> Snapshot:
        """Make every hot row durable."""
        ...

    def seal(self) -> int:
        """Turn every live file into sealed ones."""
        ...

    def recover_if_broken(self) -> None:
        """Bring books and disk together after a failure."""

    def record_commit(self, cut: Cut, *, sealed_seq: int = 0, met: Iterable[SourceState] = ()) -> None:
        """Append the record of a commit."""


class BulkImports:
    """Takes the rows of bulk imports into one node's archive. Any thread."""

    def __init__(
        self,
        fs: Fs,
        layout: Layout,
        books: Books,
        owner: Owner,
        *,
        visible: Visible,
        shown: Shown,
        memory: threading.RLock,
        merging: threading.RLock,
        writing: Turns,
    ) -> None:
        self._fs = fs
        self._layout = layout
        self._books = books
        self._owner = owner
        self._visible = visible
        self._shown = shown
        self._memory = memory
        self._merging = merging
        self._writing = writing
        self._bulk: Bulk | None = None

    @property
    def under_way(self) -> bool:
        """Whether rows or sources wait for `commit`."""
        return self._bulk is not None

    def meet(self, seen: SourceSeen) -> Source:
        """Return a new source of a bulk import. It becomes durable with the record that commits its first rows."""
        with self._merging, self._writing:
            state = first_state(seen)
            self._begun().met[state.sid] = replace(state, rungs=(ground(state, self._books.state.max_seq),))
            return source_of(state)

    def _begun(self) -> Bulk:
        """Return the bulk import under way; when it begins, nothing is hot or live any more."""
        if self._bulk is None:
            self._owner.commit()
            self._owner.seal()
            self._bulk = Bulk(SealedWriter(self._fs, self._layout, rollups.delta, self._origin))
        return self._bulk

    def _origin(self) -> Origin:
        with self._memory:
            met = self._bulk.met if self._bulk else {}
            ranges, max_seq = self._visible.pending, self._visible.next_seq - 1
            return commit_origin(self._books, "bulk", ranges, max_seq, met)

    def append(self, parsed: Parsed, chunks: Sequence[Chunk], *, now_us: int | None = None) -> None:
        """Take rows: they go straight into sealed files and are visible after `commit`.

        Do not mix with `Archive.append` before `commit` was called. Raises as that does, and OSError.
        """
        with self._merging, self._writing:
            bulk = self._begun()
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
                self.abandon()
                raise

    def due(self, most_bytes: int) -> bool:
        """Return whether enough waits for `commit`: so many Parquet bytes, or as many sources as one record takes."""
        return self._bulk is not None and (
            self._bulk.writer.bytes >= most_bytes or len(self._bulk.met) >= MET_SOURCES
        )

    def commit(self) -> Snapshot:
        """Commit what `append` took, as one record. On failure its lines must be read again."""
        with self._merging, self._writing:
            self._owner.recover_if_broken()  # which gives up the import: its files were in `staging`
            if self._bulk is None:
                return self._shown.snapshot
            try:
                self._bulk.flush()
            except BaseException:
                self.abandon()
                raise
            bulk, self._bulk = self._bulk, None
            with self._memory:
                cut = self._visible.cut_ranges(bulk.rejects)
            try:
                met = {sid: state for sid, state in bulk.met.items() if sid in cut.ranges}
                origin = commit_origin(self._books, "bulk", cut.ranges, cut.max_seq, met)
                stage(self._fs, self._layout, cut, rollups.delta, origin)  # rejects only: no events are hot
                cut.files.extend(bulk.writer.finish(origin))
                cut.max_seq_internal = self._visible.max_seq_internal
                cut.max_seq_external = self._visible.max_seq_external
                sealed_seq = 0 if cut.rejects or self._books.has_live() else cut.max_seq
                self._owner.record_commit(cut, sealed_seq=sealed_seq, met=met.values())
                self._books.place(cut.files)
            except BaseException:
                if not self._books.broken:  # else the record may have reached the disk, and recovery decides
                    bulk.writer.abandon()
                    unstage(self._fs, self._layout, cut.files)
                with self._memory:
                    self._visible.forget_ranges()
                raise
            with self._memory:
                snapshot = self._shown.swap(files_changed=True)
            self._books.snapshot_if_due()
            if cut.rejects:
                self._owner.seal()
            return snapshot

    def abandon(self) -> None:
        """Give up what nobody committed: its lines are read again. Called with ``writing`` held."""
        if self._bulk is not None:
            self._bulk.writer.abandon()
            self._bulk = None
            with self._memory:
                self._visible.forget_ranges()
