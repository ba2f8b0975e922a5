"""Matches of rules that were found lately, kept in memory: what a correlation looks back at, without the archive.

A store knows from which time on it has all matches. What is older is read from the archive when a late event needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from parsers.arrow import Array, Int64s, Mask, from_numpy, mask, numbers, pc, whole
from parsers.keyed import NOTHING, Keyed

MOST_CHUNKS = 32  # then they are made one, and what is too old goes
ROOMY_BYTES = 2 << 20  # of one store: so much is kept whatever its age
EVER_US = -(1 << 61)  # before every time there is


@dataclass(slots=True)
class Matches:
    """Events that a plain rule matched: when (microseconds), their seq, and fields as texts (columns k0, k1 …)."""

    table: pa.Table
    times: Int64s
    _keyed: dict[int, Keyed] = field(default_factory=dict)

    def keyed(self, at: int) -> Keyed:
        """Return keys of one field. They are others in every process: keep them in none."""
        found = self._keyed.get(at)
        if found is None:
            found = self._keyed[at] = _keyed(whole(self.table.column(f"k{at}")))
        return found


def _keyed(values: Array) -> Keyed:
    encoded: Any = values.dictionary_encode()
    words = encoded.dictionary.to_pylist()
    keys = np.fromiter(map(hash, words), np.int64, len(words)).view(np.uint64)
    keys[keys == NOTHING] = 1
    return Keyed(numbers(encoded.indices, -1).astype(np.int64) + 1, np.append(np.uint64(NOTHING), keys))


def schema_of(fields: int) -> pa.Schema:
    """Return the columns of matches with so many fields."""
    texts: list[tuple[str, pa.DataType]] = [(f"k{at}", pa.string()) for at in range(fields)]
    return pa.schema([("at_us", pa.int64()), ("seq", pa.int64()), *texts])


def matches_of(times: Int64s, seqs: Int64s, fields: Sequence[Array]) -> Matches:
    """Return matches of their times, seqs and fields."""
    arrays = [from_numpy(times, pa.int64()), from_numpy(seqs, pa.int64()), *fields]
    return Matches(pa.Table.from_arrays(arrays, schema=schema_of(len(fields))), times)


@dataclass(slots=True)
class _Chunk:
    table: pa.Table
    low: int
    high: int


@dataclass(slots=True)
class Store:
    """All matches of one rule from ``from_us`` on (microseconds)."""

    fields: int
    from_us: int = EVER_US
    squeezed: bool = False  # there was no room for all that windows reach
    _chunks: list[_Chunk] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """About how much memory they take."""
        return sum(chunk.table.nbytes for chunk in self._chunks)

    def between(self, low: int, high: int) -> list[pa.Table]:
        """Return matches that hold all between two times, both inclusive, and others; uncopied."""
        return [chunk.table for chunk in self._chunks if chunk.high >= low and chunk.low <= high]

    def add(self, matches: pa.Table) -> None:
        """Add matches; those from before ``from_us`` are left out, for the archive answers for that time."""
        times = times_of(matches)
        if not len(times):
            return
        low, high = int(times.min()), int(times.max())
        if low < self.from_us:
            kept = times >= self.from_us
            if not kept.any():
                return
            matches, low = matches.filter(mask(kept)), int(times[kept].min())
        self._chunks.append(_Chunk(matches, low, high))

    def begin(self, from_us: int) -> None:
        """Note that everything from a time on is there."""
        self.from_us = min(self.from_us, from_us)

    def trim(self, before_us: int, *, now: bool = False) -> None:
        """Forget what is older than a time, when there are many chunks or ``now``."""
        if len(self._chunks) < MOST_CHUNKS and not now:
            return
        if not now and self.bytes <= ROOMY_BYTES:
            before_us = self.from_us  # an old log may come after a new one: what costs little stays
        limit = max(self.from_us, before_us)
        tables = [chunk.table for chunk in self._chunks if chunk.high >= limit]
        self._chunks, self.from_us = [], limit
        if tables:
            self.add(pa.concat_tables(tables).combine_chunks())

    def halve(self) -> None:
        """Forget the older half, because there is no room."""
        if not self._chunks:
            return
        times = np.sort(np.concatenate([times_of(chunk.table) for chunk in self._chunks]))
        # Whole instants only: of those kept, every match must be there.
        self.trim(int(times[len(times) // 2]) + 1, now=True)
        self.squeezed = True


def times_of(matches: pa.Table) -> Int64s:
    """Return when the matches were."""
    found: Int64s = numbers(matches.column("at_us"), 0)
    return found


def among(
    table: pa.Table, low: int, high: int, groups: Sequence[Sequence[tuple[int, Any]]] | None
) -> pa.Table:
    """Return the matches between two times, and of these groups (None: of any): fields with the values they may have."""
    times = times_of(table)
    kept: Mask = (times >= low) & (times <= high)
    if not kept.all():
        table = table.filter(mask(kept))
    if groups is None or not table.num_rows:
        return table
    wanted: Any = None
    for fields in groups:
        one: Any = pa.scalar(True)
        for at, values in fields:
            one = pc.and_(one, pc.is_in(table.column(f"k{at}"), value_set=values))
        wanted = one if wanted is None else pc.or_(wanted, one)
    return table if wanted is None or isinstance(wanted, pa.Scalar) else table.filter(wanted)
