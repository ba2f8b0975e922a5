"""What the footers of Parquet files tell: which columns a file has, and which of them hold anything at all.

Files never change, so each footer is looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import pyarrow.parquet as pq

from parsers.columns import EVENT_SCHEMA
from storage.snapshot import Hot

REMEMBERED = 16_384  # files; two sets of names each

_NAMES = frozenset(EVENT_SCHEMA.names)


@dataclass(frozen=True, slots=True)
class Shape:
    """``complete``: the file has every column of today's schema. ``used``: columns with any value in the file."""

    complete: bool
    used: frozenset[str]


@lru_cache(maxsize=REMEMBERED)
def shape(path: str) -> Shape:
    """Return the shape of an events file; reads its footer the first time."""
    footer = pq.read_metadata(path)
    names = frozenset(footer.schema.to_arrow_schema().names)
    used: set[str] = set()
    for group in range(footer.num_row_groups):
        chunks = footer.row_group(group)
        for place in range(chunks.num_columns):
            chunk = chunks.column(place)
            nulls = chunk.statistics.null_count if chunk.statistics is not None else None
            if nulls is None or nulls < chunk.num_values:
                used.add(chunk.path_in_schema.partition(".")[0])
    return Shape(names >= _NAMES, frozenset(used) & _NAMES)


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
