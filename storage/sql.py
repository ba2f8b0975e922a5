"""Every query shape over event rows, built in one place: a text with named places and the values for them.

Rows come from ``read_parquet`` over the files a view chose and from the table ``hot``, united by name, so that files
of earlier formats answer too. Only names of our own columns become text; whatever a client gave is bound.
`storage.rolled` has the shapes over roll-ups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from parsers.columns import EVENT_SCHEMA
from parsers.expression import conjuncts
from storage import comparing
from storage.duck import schema_sql
from storage.filters import Bind, between, conditions, quote, search_condition
from storage.pruning import note_read
from storage.query import Filter, Scope
from storage.render import RENDERED
from storage.scope import View
from storage.shapes import shape
from storage.snapshot import Hot
from storage.subjects import subject_condition

HOT = "hot"  # name of the hot rows on a query's cursor
FILE = (
    "file_index"  # DuckDB's names for where a row came from: place in the list of files, number in the file
)
ROW = "file_row_number"
TIME = quote("timestamp")
SEQ = quote("seq")
NEWEST_FIRST = f"ORDER BY {TIME} DESC, {SEQ} DESC"

Key = tuple[int, int]
"""A row's place in the order of lists: (time in microseconds, seq)."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text and the values for its named places."""

    text: str
    values: dict[str, Any] = field(default_factory=dict)

    def table(self, cursor: duckdb.DuckDBPyConnection) -> pa.Table:
        """Run it and return the whole result."""
        table: pa.Table = cursor.sql(self.text, params=self.values).to_arrow_table()
        return table

    def batches(self, cursor: duckdb.DuckDBPyConnection, rows: int) -> pa.RecordBatchReader:
        """Run it and return the result as batches of so many rows, made as they are read."""
        # `execute` instead of `sql` would make the whole result first.
        reader: pa.RecordBatchReader = cursor.sql(self.text, params=self.values).to_arrow_reader(rows)
        return reader

    def rows(self, cursor: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
        """Run it and return the rows as Python values."""
        return cursor.execute(self.text, self.values).fetchall()


def register(
    cursor: duckdb.DuckDBPyConnection, batches: Sequence[Hot], schema: pa.Schema = EVENT_SCHEMA
) -> None:
    """Give a cursor a snapshot's hot rows as the table ``hot``, uncopied. Statements over a view need it."""
    tables = [batch.table for batch in batches]
    cursor.register(HOT, pa.concat_tables(tables) if tables else schema.empty_table())


def empty_hot(connection: duckdb.DuckDBPyConnection) -> None:
    """Make an empty table ``hot`` for all cursors of an instance: those without hot rows need not `register`.

    Registering a table of sixty columns takes a millisecond. What a cursor registers hides this table from it.
    """
    columns = ", ".join(f"{quote(name)} {kind}" for name, kind in schema_sql(EVENT_SCHEMA))
    connection.execute(f"CREATE TABLE {HOT} ({columns})")


def show(cursor: duckdb.DuckDBPyConnection, batches: Sequence[Hot]) -> None:
    """`register` a snapshot's hot rows on a cursor of an instance with `empty_hot`, if there are any."""
    if batches:
        register(cursor, batches)


def source(view: View, bind: Bind) -> str:
    """Return a FROM item with all columns of the view's rows and where each lies (`FILE`, `ROW`; null: hot)."""
    if not view.files:
        return f"(SELECT *, NULL AS {FILE}, NULL AS {ROW} FROM {HOT})"
    note_read(view.root, view.files, view.start_us, view.end_us)
    paths = view.paths()
    if all(shape(path).complete for path in paths):
        files = f"read_parquet({bind(paths)})"
        if not view.hot:  # the usual case, and a third cheaper to plan
            return files
        return f"(SELECT *, {FILE}, {ROW} FROM {files} UNION ALL BY NAME SELECT * FROM {HOT})"
    # The hot table has every column that an older file may lack, so it is there even when none of its rows count.
    files = f"read_parquet({bind(paths)}, union_by_name = true)"
    nothing = "" if view.hot else " WHERE FALSE"
    return f"(SELECT *, {FILE}, {ROW} FROM {files} UNION ALL BY NAME SELECT * FROM {HOT}{nothing})"


def where(view: View, wanted: Filter, scope: Scope, bind: Bind, *, after: Key | None = None) -> str:
    """Return the whole condition of a query: range, snapshot, scope, filter, and where the last page ended."""
    parts: list[str] = []
    if view.start_us is not None:
        parts.append(f"{TIME} >= {bind.time(view.start_us)}")
    if view.end_us is not None:
        parts.append(f"{TIME} <= {bind.time(view.end_us)}")
    # The table of hot rows holds every batch, also those that came in after an earlier snapshot.
    if view.hot or any(file.max_seq > view.seq for file in view.files):
        parts.append(f"{SEQ} <= {bind(view.seq)}")
    parts += scope_conditions(scope, bind)
    parts += wanted_conditions(wanted, bind)
    if after is not None:
        parts.append(older(after, bind))
    return " AND ".join(parts) if parts else "TRUE"


def wanted_conditions(wanted: Filter, bind: Bind) -> list[str]:
    """Return what a filter demands of every row, its range of time aside."""
    parts = conditions(wanted.terms, bind)
    if wanted.min_risk is not None or wanted.max_risk is not None:
        parts.append(between("risk_score", wanted.min_risk, wanted.max_risk, bind))
    if wanted.search is not None:
        parts.append(search_condition(wanted.search, bind))
    if wanted.subject is not None:
        parts.append(subject_condition(wanted.subject, bind))
    if wanted.expression is not None:
        parts += [comparing.condition(part, bind) for part in conjuncts(wanted.expression)]
    return parts


def scope_conditions(scope: Scope, bind: Bind) -> list[str]:
    """Return what a scope demands of every row."""
    parts: list[str] = []
    if scope.tenant is not None:
        parts.append(f"{quote('tenant')} = {bind(scope.tenant)}")
    if scope.internal == "exclude":
        parts.append(f"NOT {quote('internal')}")
    elif scope.internal == "only":
        parts.append(quote("internal"))
    return parts


def older(key: Key, bind: Bind) -> str:
    """Return the condition that a row comes after ``key`` in newest-first order."""
    place = bind.time(key[0])
    return f"({TIME} < {place} OR ({TIME} = {place} AND {SEQ} < {bind(key[1])}))"


def newer(key: Key, bind: Bind) -> str:
    """Return the condition that a row comes before ``key`` in newest-first order."""
    place = bind.time(key[0])
    return f"({TIME} > {place} OR ({TIME} = {place} AND {SEQ} > {bind(key[1])}))"


def soonest(view: View, wanted: Filter, scope: Scope, *, limit: int, after: Key) -> Statement:
    """Return where the oldest matching rows that are newer than ``after`` lie, oldest first; as `positions`."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    return Statement(
        f"SELECT epoch_us({TIME}) AS time_us, {SEQ}, {FILE}, {ROW} FROM {from_item} "
        f"WHERE {condition} AND {newer(after, bind)} ORDER BY {TIME}, {SEQ} LIMIT {bind(limit)}",
        bind.values,
    )


def positions(
    view: View, wanted: Filter, scope: Scope, *, limit: int, offset: int = 0, after: Key | None = None
) -> Statement:
    """Return where the newest matching rows lie: time_us, seq, place of the file (null: hot), row number."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind, after=after)
    skip = f" OFFSET {bind(offset)}" if offset else ""
    return Statement(
        f"SELECT epoch_us({TIME}) AS time_us, {SEQ}, {FILE}, {ROW} FROM {from_item} WHERE {condition} "
        f"{NEWEST_FIRST} LIMIT {bind(limit)}{skip}",
        bind.values,
    )


def rising(view: View, wanted: Filter, scope: Scope, *, after: int, limit: int) -> Statement:
    """Return where the first matching rows above the seq ``after`` lie, in the order of seq; as `positions`."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    return Statement(
        f"SELECT epoch_us({TIME}) AS time_us, {SEQ}, {FILE}, {ROW} FROM {from_item} "
        f"WHERE {condition} AND {SEQ} > {bind(after)} ORDER BY {SEQ} LIMIT {bind(limit)}",
        bind.values,
    )


def with_seq(paths: Sequence[str], seq: int) -> Statement:
    """Return one row if a row of some files (events or rejects) has this seq, else none."""
    bind = Bind()
    files = f"read_parquet({bind(list(paths))}, union_by_name = true)"
    return Statement(f"SELECT 1 FROM {files} WHERE {SEQ} = {bind(seq)} LIMIT 1", bind.values)


def keys_in_order(
    view: View, wanted: Filter, scope: Scope, *, limit: int, after: Key | None = None
) -> Statement:
    """Return (time_us, seq) of the newest matching rows, newest first: the order of an export, without its rows."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind, after=after)
    return Statement(
        f"SELECT epoch_us({TIME}) AS time_us, {SEQ} FROM {from_item} WHERE {condition} "
        f"{NEWEST_FIRST} LIMIT {bind(limit)}",
        bind.values,
    )


def rows_between(
    view: View, wanted: Filter, scope: Scope, columns: str, *, first: Key, last: Key
) -> Statement:
    """Return (key_us, key_seq, ``columns``) of the matching rows from ``first`` down to ``last``, in no particular order.

    Sorting is left to the caller: DuckDB would carry whole rows through its sort.
    """
    bind = Bind()
    part = view.between(last[0], first[0])
    from_item = source(part, bind)
    condition = where(part, wanted, scope, bind, after=(first[0], first[1] + 1))
    return Statement(
        f"SELECT epoch_us({TIME}) AS key_us, {SEQ} AS key_seq, {columns} "
        f"FROM {from_item} WHERE {condition} AND NOT {older(last, bind)}",
        bind.values,
    )


def count(view: View, wanted: Filter, scope: Scope, *, after: Key | None = None) -> Statement:
    """Return how many rows match."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind, after=after)
    return Statement(f"SELECT count(*) FROM {from_item} WHERE {condition}", bind.values)


def count_by_file(view: View, wanted: Filter, scope: Scope) -> Statement:
    """Return (place of the file, rows that match) for each file with any; hot rows have no place."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    return Statement(f"SELECT {FILE}, count(*) FROM {from_item} WHERE {condition} GROUP BY 1", bind.values)


def columns_of(view: View, wanted: Filter, scope: Scope, columns: Sequence[str], *, limit: int) -> Statement:
    """Return some columns of at most ``limit`` matching rows, in no order, and `FILE` and `ROW` of each."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    chosen = ", ".join(quote(name) for name in columns)
    return Statement(
        f"SELECT {FILE}, {ROW}, {chosen} FROM {from_item} WHERE {condition} LIMIT {bind(limit)}", bind.values
    )


def grouped(view: View, wanted: Filter, scope: Scope, key: str | None, aggregates: str) -> Statement:
    """Return aggregates of matching rows, by one key expression of ours or over all of them."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    chosen, group = (f"{key}, ", " GROUP BY 1") if key else ("", "")
    return Statement(f"SELECT {chosen}{aggregates} FROM {from_item} WHERE {condition}{group}", bind.values)


def by_row(path: str, rows: Sequence[int]) -> Statement:
    """Return `ROW` and what is shown of the rows with these numbers in one file, in no order."""
    bind = Bind()
    numbers = ", ".join(bind(row) for row in rows)
    return Statement(
        f"SELECT {ROW}{_shown(path)} FROM read_parquet({bind([path])}) WHERE {ROW} IN ({numbers})",
        bind.values,
    )


def whole(view: View, wanted: Filter, scope: Scope, *, limit: int) -> Statement:
    """Return what is shown of at most ``limit`` matching rows, in no order, and where each lies: as `positions`.

    Where few rows match, finding and fetching them at once saves a statement for each file.
    """
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    used = frozenset[str]().union(*(shape(path).used for path in view.paths()))
    columns = ", ".join(quote(name) for name in RENDERED if name in used)
    return Statement(
        f"SELECT epoch_us({TIME}) AS time_us, {FILE}, {ROW}, {columns} FROM {from_item} "
        f"WHERE {condition} LIMIT {bind(limit)}",
        bind.values,
    )


def _shown(path: str) -> str:
    """Return the columns of a file that an Event shows and that hold anything there: each costs a page to decode."""
    used = shape(path).used
    return "".join(f", {quote(name)}" for name in RENDERED if name in used)


def rows_of(paths: Sequence[str], bind: Bind) -> str:
    """Return a FROM item with all rows of some files and of ``hot``, whatever their schema."""
    if not paths:
        return HOT
    files = f"read_parquet({bind(list(paths))}, union_by_name = true)"
    return f"(SELECT * FROM {files} UNION ALL BY NAME SELECT * FROM {HOT})"
