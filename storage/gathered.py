"""The rows of one user or thing, read from the archive once, so that every figure of a profile is counted in memory.

A profile has a dozen figures. Each as a question of its own would read the same rows of a year of files again; the
columns that they all need are few, and so are the rows of one subject, mostly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.columns import EVENT_SCHEMA
from storage import sql
from storage.pages import Position
from storage.query import Filter, Scope
from storage.scope import View
from storage.snapshot import Hot

MOST = 500_000  # rows, some 50 MB; of subjects with more, each figure is counted from the files
BATCH_ROWS = 65_536  # that are held with their texts as they come
# What figures of `storage.statistics`, `storage.trends` and `storage.profile` look at.
COLUMNS = (
    *("timestamp", "seq", "internal", "tenant", "level", "category", "action", "outcome", "risk_score"),
    *("user_id", "username", "country_code", "ip", "entity_type", "entity_id", "user_agent"),
)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Rows as a hot batch that has COLUMNS only, rising in seq, and where each lies: its path (null: hot) and number."""

    rows: Hot
    paths: Sequence[str]
    files: Any
    numbers: Any

    def position(self, time_us: int, seq: int) -> Position:
        """Return where the row with a seq really lies."""
        row = int(np.searchsorted(self.rows.table["seq"].to_numpy(), seq))
        place: int | None = self.files[row].as_py()
        if place is None:
            return Position(time_us, seq, None, None)
        return Position(time_us, seq, self.paths[place], self.numbers[row].as_py())


def gathered(cursor: duckdb.DuckDBPyConnection, seen: View, wanted: Filter, scope: Scope) -> Gathered | None:
    """Return the matching rows of a view; None if there are none, or more than MOST."""
    if seen.empty:
        return None
    statement = sql.columns_of(seen, wanted, scope, COLUMNS, limit=MOST + 1)
    pieces: list[pa.Table] = []
    count = 0
    for batch in statement.batches(cursor, BATCH_ROWS):
        pieces.append(_coded(pa.Table.from_batches([batch])))
        count += batch.num_rows
    if not 0 < count <= MOST:
        return None
    found = pa.concat_tables(pieces).unify_dictionaries()
    found = found.take(pc.sort_indices(found["seq"])).combine_chunks()
    table = found.select(list(COLUMNS))
    times: Any = pc.min_max(table["timestamp"].cast(pa.int64()))
    seqs = table["seq"]
    rows = Hot(table, times["min"].as_py(), times["max"].as_py(), seqs[0].as_py(), seqs[-1].as_py())
    return Gathered(rows, seen.paths(), found[sql.FILE], found[sql.ROW])


def _coded(rows: pa.Table) -> pa.Table:
    """Return rows with the archive's types, texts as numbers of words: a subject's texts repeat."""
    columns: list[Any] = []
    for name in rows.schema.names:
        column: Any = rows[name]
        if name in COLUMNS:
            kind = EVENT_SCHEMA.field(name).type
            column = pc.dictionary_encode(column) if pa.types.is_string(kind) else column.cast(kind)
        columns.append(column)
    return pa.table(columns, names=rows.schema.names)
