"""Events in the order of the archive: what lies above a seq, whether hot, committed or sealed meanwhile.

The only state is a number. It means the same in every snapshot, so rows may be committed, folded and sealed between
two looks and are still met once, in order. A look reads a stretch of numbers at a time: wider when little was found,
because a restart leaves a gap of millions of numbers and a filter may match nothing for a day.
"""

from __future__ import annotations

import duckdb
import numpy as np

from storage import pages, sql
from storage.query import Filter, Scope
from storage.rows import RowCache
from storage.scope import View, overlaps, view
from storage.snapshot import File, Snapshot

FIRST_STRETCH = 8_192  # numbers; reading fewer costs DuckDB no less
STRETCH_GROWTH = 8
MAX_STRETCH = 1 << 22  # numbers read by one statement, well within its deadline

Row = tuple[int, str]
"""An event: its seq and its JSON text."""


class Reader:
    """A place in the archive's order that moves on. One call at a time; `read` blocks and runs in the engine."""

    def __init__(self, wanted: Filter, scope: Scope, position: int, *, cache: RowCache | None = None) -> None:
        self.position = position  # everything up to this seq was read
        self._filter = wanted
        self._scope = scope
        self._cache = cache
        self._stretch = FIRST_STRETCH
        self._files: tuple[File, ...] = ()  # of the last snapshot; the next one mostly has the same
        self._highest = 0  # seq in them

    def read(self, cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, upto: int, limit: int) -> list[Row]:
        """Return the next matching events, at most ``limit``, and move on; up to ``upto`` at the furthest.

        No row is no sign that none follows: look again until ``position`` is ``upto``.
        """
        seen = self._view(snapshot, upto)
        if seen.empty:
            self.position = seen.seq
            return []
        found = self._plain(seen, limit) if self._is_plain(seen) else self._asked(cursor, seen, limit)
        texts = pages.fetch(cursor, found, seen.hot, self._cache)
        full = len(found) == limit
        self.position = found[-1].seq if full else seen.seq
        if seen.files:
            self._stretch = FIRST_STRETCH if full else min(self._stretch * STRETCH_GROWTH, MAX_STRETCH)
        return [(position.seq, text) for position, text in zip(found, texts, strict=True)]

    def narrow(self) -> None:
        """Read less at a time: the last look took too long."""
        self._stretch = max(FIRST_STRETCH, self._stretch // STRETCH_GROWTH**2)

    def _view(self, snapshot: Snapshot, upto: int) -> View:
        """Return what may hold the next rows, up to a seq that the look can reach."""
        after, wanted = self.position, self._filter
        if snapshot.events is not self._files:
            self._files = snapshot.events
            self._highest = max((file.max_seq for file in snapshot.events), default=0)
        if after >= self._highest:  # the usual case: all that is new is hot
            hot = (batch for batch in snapshot.hot if after < batch.max_seq and batch.min_seq <= upto)
            near = tuple(batch for batch in hot if overlaps(batch, wanted.start_us, wanted.end_us))
            return View(snapshot.root, (), near, upto, wanted.start_us, wanted.end_us)
        lowest = min((part.min_seq for part in snapshot.events if part.max_seq > after), default=upto)
        end = min(upto, max(after + 1, lowest) + self._stretch)
        seen = view(snapshot, wanted, self._scope, end)
        return View(
            seen.root,
            tuple(file for file in seen.files if file.max_seq > after),
            tuple(batch for batch in seen.hot if batch.max_seq > after),
            end,
            seen.start_us,
            seen.end_us,
        )

    def _is_plain(self, seen: View) -> bool:
        return not seen.files and self._filter == Filter()

    def _plain(self, seen: View, limit: int) -> list[pages.Position]:
        """Return where the next rows lie when no filter has to be asked: their seq finds them among the hot ones."""
        return [
            pages.Position(0, seq, None, None)
            for seq in _numbers(seen, self._scope, after=self.position, limit=limit)
        ]

    def _asked(self, cursor: duckdb.DuckDBPyConnection, seen: View, limit: int) -> list[pages.Position]:
        sql.register(cursor, seen.hot)
        statement = sql.rising(seen, self._filter, self._scope, after=self.position, limit=limit)
        return list(pages.located(seen, statement.rows(cursor)))


def _numbers(seen: View, scope: Scope, *, after: int, limit: int) -> list[int]:
    """Return the numbers of the hot rows that a scope may see."""
    found: list[int] = []
    for batch in seen.hot:
        seqs = batch.table["seq"].to_numpy()
        low, high = np.searchsorted(seqs, [after, seen.seq], side="right").tolist()
        rows = batch.table.slice(low, high - low)
        wanted = np.ones(rows.num_rows, bool)
        if scope.internal != "include":
            internal = rows["internal"].to_numpy()
            wanted &= internal if scope.internal == "only" else ~internal
        if scope.tenant is not None:
            wanted &= np.array(rows["tenant"].to_pylist(), object) == scope.tenant
        found += seqs[low:high][wanted].tolist()
        if len(found) >= limit:
            return found[:limit]
    return found


def is_committed(cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, seq: int) -> bool:
    """Say whether a row in a file, of events or of rejects, has this number."""
    for files in (snapshot.events, snapshot.rejects):
        paths = [f"{snapshot.root}/{file.path}" for file in files if file.min_seq <= seq <= file.max_seq]
        if paths and sql.with_seq(paths, seq).rows(cursor):
            return True
    return False
