"""What the footers of Parquet files tell: which columns a file has, and which of them hold anything at all.

Files never change, so each footer is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from parsers.columns import EVENT_SCHEMA
from storage.errors import UnreadableError
from storage.snapshot import Hot

REMEMBERED = 16_384  # files; two sets of names each

_NAMES = frozenset(EVENT_SCHEMA.names)


@dataclass(frozen=True, slots=True)
class RowGroup:
    """How many rows it has, and their first and last time (None: the file does not say)."""

    rows: int
    min_time_us: int | None
    max_time_us: int | None

    def overlaps(self, start_us: int | None, end_us: int | None) -> bool:
        """Say whether it can hold rows between two times."""
        return (end_us is None or self.min_time_us is None or self.min_time_us <= end_us) and (
            start_us is None or self.max_time_us is None or self.max_time_us >= start_us
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """``complete``: the file has every column of today's schema. ``used``: columns with any value in the file."""

    complete: bool
    used: frozenset[str]
    groups: tuple[RowGroup, ...] = ()


@lru_cache(maxsize=REMEMBERED)
def shape(path: str) -> Shape:
    """Return the shape of an events file; reads its footer the first time. Raises UnreadableError for a damaged one."""
    footer = _footer(path)
    names = frozenset(footer.schema.to_arrow_schema().names)
    used: set[str] = set()
    groups: list[RowGroup] = []
    for group in range(footer.num_row_groups):
        chunks = footer.row_group(group)
        low = high = None
        for place in range(chunks.num_columns):
            chunk = chunks.column(place)
            nulls = chunk.statistics.null_count if chunk.statistics is not None else None
            if nulls is None or nulls < chunk.num_values:
                used.add(chunk.path_in_schema.partition(".")[0])
            if chunk.path_in_schema == "timestamp" and chunk.statistics is not None:
                low, high = chunk.statistics.min_raw, chunk.statistics.max_raw
        groups.append(RowGroup(chunks.num_rows, low, high))
    return Shape(names >= _NAMES, frozenset(used) & _NAMES, tuple(groups))


@lru_cache(maxsize=REMEMBERED)
def complete(path: str) -> bool:
    """Say whether a file has every column of today's schema: half the work of `shape`, when nothing else is asked."""
    return frozenset(_footer(path).schema.to_arrow_schema().names) >= _NAMES


def _footer(path: str) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:  # damage is either to pyarrow; a missing file is neither
        if isinstance(error, FileNotFoundError):
            raise
        raise UnreadableError(path) from error


def used_by(paths: Iterable[str], hot: Iterable[Hot]) -> frozenset[str]:
    """Return the columns with any value in some files and hot batches."""
    found: set[str] = set()
    for path in paths:
        found |= shape(path).used
    for batch in hot:
        found.update(
            name for name in batch.table.schema.names if batch.table[name].null_count < batch.table.num_rows
        )
    return frozenset(found)
