"""What the footers of Parquet files tell: which columns a file has, and which of them hold anything at all.

Files never change, so each footer is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from parsers.columns import EVENT_SCHEMA
from storage.errors import UnreadableError
from storage.parquet import BLOOM_COLUMNS
from storage.snapshot import Hot

REMEMBERED = 16_384  # files; two sets of names each, and some 2 KB a row group

_NAMES = frozenset(EVENT_SCHEMA.names)


@dataclass(frozen=True, slots=True)
class Stored:
    """What a footer tells of an id column in a row group: where its bloom filter lies, its least and greatest value."""

    filter_at: int | None
    filter_bytes: int
    least: str | None
    greatest: str | None


@dataclass(frozen=True, slots=True)
class RowGroup:
    """How many rows it has, their first and last time (None: the file does not say), and its id columns.

    A column of ``ids`` that is null in the whole group is None; one that the file does not have is missing.
    """

    rows: int
    min_time_us: int | None
    max_time_us: int | None
    ids: Mapping[str, Stored | None] = field(default_factory=dict)

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
        ids: dict[str, Stored | None] = {}
        for place in range(chunks.num_columns):
            chunk = chunks.column(place)
            nulls = chunk.statistics.null_count if chunk.statistics is not None else None
            if nulls is None or nulls < chunk.num_values:
                used.add(chunk.path_in_schema.partition(".")[0])
            if chunk.path_in_schema in BLOOM_COLUMNS:
                ids[chunk.path_in_schema] = None if nulls == chunks.num_rows else _stored(chunk)
            if chunk.path_in_schema == "timestamp" and chunk.statistics is not None:
                low, high = chunk.statistics.min_raw, chunk.statistics.max_raw
        groups.append(RowGroup(chunks.num_rows, low, high, ids))
    return Shape(names >= _NAMES, frozenset(used) & _NAMES, tuple(groups))


def _stored(chunk: Any) -> Stored:
    told = chunk.statistics
    bounds = (told.min, told.max) if told is not None and told.has_min_max else (None, None)
    at = chunk.bloom_filter_offset
    return Stored(at, chunk.bloom_filter_length or 0, *bounds)


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
