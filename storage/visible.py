"""What is visible and not committed: hot rows, the ranges they came from, and the numbers they got.

The caller holds a lock around every method. A commit takes a `Cut` of everything; until it is settled, the batches it
took are not joined with later ones, so that they can leave, or stay, exactly as they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from parsers.batch import Chunk, Parsed
from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA
from storage.commit import Cut
from storage.errors import CommitError
from storage.gaps import Hole
from storage.hot import extended, hot_bytes, hot_events, hot_rejects, joined, max_seq_of, with_order
from storage.records import Range, SourceState
from storage.snapshot import Hot
from storage.state import State


class Visible:
    """Rows between a line in a file and a committed Parquet file."""

    def __init__(self) -> None:
        self.events: tuple[Hot, ...] = ()
        self.rejects: tuple[Hot, ...] = ()
        self.holes: list[Hole] = []  # bytes that no row holds, in what no commit has taken yet
        self.next_seq = 1
        self.max_seq_internal = 0
        self.max_seq_external = 0
        self._pending: dict[str, Range] = {}
        self._ends: dict[str, int] = {}  # sid → end of what was taken, committed or not
        self._taken = (0, 0)  # how many leading batches a commit has: events, rejects
        self._doubt: Cut | None = None  # a commit whose record may or may not have reached the disk

    @property
    def bytes(self) -> int:
        """About how much memory the rows hold, in bytes."""
        return hot_bytes(self.events) + hot_bytes(self.rejects)

    @property
    def ends(self) -> Mapping[str, int]:
        """Per source with uncommitted bytes, the offset where they end."""
        return {sid: extent.end for sid, extent in self._pending.items()}

    @property
    def pending(self) -> Mapping[str, Range]:
        """The ranges of what no commit has taken yet."""
        return self._pending

    def number(self, parsed: Parsed, when_us: int, reserved_to: int) -> tuple[pa.Table, pa.Table]:
        """Give rows their seq: events first, then rejects; one number is one row, of either kind.

        Raises CommitError when the reservation of the last record is used up.
        """
        rows = parsed.events.num_rows + parsed.rejects.num_rows
        if self.next_seq + rows > reserved_to:
            raise CommitError("too many rows wait for a commit", retry=True)
        events = with_order(parsed.events, EVENT_SCHEMA, self.next_seq, when_us)
        rejects = with_order(parsed.rejects, REJECT_SCHEMA, self.next_seq + events.num_rows, when_us)
        self.next_seq += rows
        if events.num_rows:
            self.max_seq_internal = max(self.max_seq_internal, max_seq_of(events, internal=True))
            self.max_seq_external = max(self.max_seq_external, max_seq_of(events, internal=False))
        return events, rejects

    def show(self, events: pa.Table, rejects: pa.Table) -> None:
        """Add numbered rows to the hot batches."""
        if events.num_rows:
            self.events = joined((*self.events, hot_events(events)), self._taken[0])
        if rejects.num_rows:
            self.rejects = joined((*self.rejects, hot_rejects(rejects)), self._taken[1])

    def continued(
        self, parsed: Parsed, chunks: Sequence[Chunk], sources: Mapping[str, SourceState]
    ) -> dict[str, Range]:
        """Return the pending ranges as they are with ``chunks``.

        Raises ValueError if a chunk does not begin where its source ended, or if its counts do not add up.
        """
        if len(parsed.counts) != len(chunks):
            raise ValueError(f"{len(chunks)} chunks with {len(parsed.counts)} counts")
        touched: dict[str, Range] = {}
        for chunk, counts in zip(chunks, parsed.counts, strict=True):
            sid = chunk.source.sid
            before = touched.get(sid) or self._pending.get(sid)
            end = before.end if before else self._ends.get(sid, sources[sid].offset)
            if chunk.start != end or not counts.balanced:
                extent = f"[{chunk.start}, {chunk.end})"
                raise ValueError(f"source {sid} continues at {end}, the chunk is {extent} with {counts}")
            touched[sid] = extended(before, chunk, counts)
        return touched

    def accept(self, touched: Mapping[str, Range]) -> None:
        """Remember ranges from `continued`."""
        for sid, extent in touched.items():
            self._pending[sid] = extent
            self._ends[sid] = extent.end

    def cut(self) -> Cut:
        """Take everything for a commit; rows stay visible until `settle`."""
        cut = Cut(self.events, self.rejects, self._pending, self.next_seq - 1, holes=self.holes)
        self._pending, self.holes = {}, []
        self._taken = (len(cut.events), len(cut.rejects))
        return cut

    def cut_ranges(self, rejects: Sequence[Hot]) -> Cut:
        """Take the ranges of a bulk import, whose rows never were hot."""
        cut = Cut((), tuple(rejects), self._pending, self.next_seq - 1, holes=self.holes)
        self._pending, self.holes = {}, []
        return cut

    def committed(self, cut: Cut) -> None:
        """Let the rows of a commit go: they are in files now."""
        self.events = self.events[len(cut.events) :]
        self.rejects = self.rejects[len(cut.rejects) :]
        self._taken = (0, 0)

    def failed(self, cut: Cut) -> None:
        """Take a failed commit's ranges back, in front of what came since."""
        self._taken = (0, 0)
        self.holes = cut.holes + self.holes
        for sid, extent in cut.ranges.items():
            later = self._pending.get(sid)
            if later is None:
                self._pending[sid] = extent
            else:
                self._pending[sid] = replace(later, start=extent.start, counts=extent.counts + later.counts)

    def doubtful(self, cut: Cut) -> None:
        """Keep a commit of which only recovery can say whether it happened."""
        self._doubt = cut

    def settle(self, state: State) -> None:
        """After recovery: decide the commit in doubt by the ledger, and continue above every number ever reserved."""
        cut, self._doubt = self._doubt, None
        if cut is not None:
            reached = any(state.sources[sid].offset >= extent.end for sid, extent in cut.ranges.items())
            if reached:
                self.committed(cut)
            else:
                self.failed(cut)
        self.max_seq_internal = max(self.max_seq_internal, state.max_seq_internal)
        self.max_seq_external = max(self.max_seq_external, state.max_seq_external)

    def forget_ranges(self) -> None:
        """Drop the ranges of a bulk import that failed: its lines must be read again from the committed offsets."""
        self._pending.clear()
        self._ends.clear()
        self.holes = []
