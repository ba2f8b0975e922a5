"""Matches of rules that were found lately, kept in memory: what a correlation looks back at, without the archive.

A store knows from which time on it has all matches. What is older is read from the archive when a late event needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

SCHEMA = pa.schema(
    [
        ("at_us", pa.int64()),
        ("seq", pa.int64()),
        ("groups", pa.list_(pa.string())),
        ("value", pa.string()),
    ]
)
MOST_CHUNKS = 32  # then they are made one, and what is too old goes


@dataclass(slots=True)
class Store:
    """All matches of one kind from ``from_us`` on (microseconds; None: nothing is known yet)."""

    from_us: int | None = None
    _chunks: list[pa.Table] = field(default_factory=list)

    @property
    def table(self) -> pa.Table:
        """The matches, in no order; uncopied."""
        return pa.concat_tables(self._chunks) if self._chunks else SCHEMA.empty_table()

    @property
    def bytes(self) -> int:
        """About how much memory they take."""
        return sum(chunk.nbytes for chunk in self._chunks)

    def add(self, matches: pa.Table) -> None:
        """Add matches; those from before ``from_us`` are left out, for the archive answers for that time."""
        kept = matches.filter(_since(matches, self.from_us or 0))
        if kept.num_rows:
            self._chunks.append(kept)

    def begin(self, from_us: int) -> None:
        """Note that everything from a time on is there."""
        self.from_us = from_us if self.from_us is None else min(self.from_us, from_us)

    def trim(self, before_us: int, *, now: bool = False) -> None:
        """Forget what is older than a time, when there are many chunks or ``now``."""
        if self.from_us is None or (len(self._chunks) < MOST_CHUNKS and not now):
            return
        limit = max(self.from_us, before_us)
        table = self.table
        kept = table.filter(_since(table, limit)).combine_chunks()
        self._chunks = [kept] if kept.num_rows else []
        self.from_us = limit

    def halve(self) -> None:
        """Forget the older half, because there is no room."""
        if not self._chunks:
            return
        times = self.table.column("at_us")
        middle = pc.sort_indices(times)[len(times) // 2].as_py()
        # Whole instants only: of those kept, every match must be there.
        self.trim(times[middle].as_py() + 1, now=True)


def _since(matches: pa.Table, time_us: int) -> Any:
    """Return which matches are from a time on."""
    return pc.greater_equal(matches.column("at_us"), pa.scalar(time_us, pa.int64()))
