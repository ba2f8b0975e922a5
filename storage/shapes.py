"""Which Parquet files have every column of today's schema. Files never change, so each is looked at once."""

from __future__ import annotations

from functools import lru_cache

import pyarrow.parquet as pq

from parsers.columns import EVENT_SCHEMA

REMEMBERED = 65_536  # files; a path and a flag each

_NAMES = frozenset(EVENT_SCHEMA.names)


@lru_cache(maxsize=REMEMBERED)
def complete(path: str) -> bool:
    """Return whether an events file has every column; an older one may lack some. Reads its footer the first time."""
    return frozenset(pq.read_schema(path).names) >= _NAMES
