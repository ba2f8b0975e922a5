"""Every query shape, built in one place: a text with named places and the values for them.

Rows come from ``read_parquet`` over the files a view chose and from the table ``hot``, united by name, so that files
of earlier formats answer too. Only names of our own columns become text; whatever a client gave is bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from parsers.columns import EVENT_SCHEMA
from storage.filters import Bind, between, conditions, quote, search_condition
from storage.query import Filter, Scope
from storage.rollups import LOW_RISK_TO, MEDIUM_RISK_TO
from storage.scope import View
from storage.snapshot import Hot

HOT = "hot"  # name of the hot rows on a query's cursor
FILE_COLUMN = "filename"  # DuckDB's names for where a row came from
ROW_COLUMN = "file_row_number"


# Columns of a roll-up that go by another name than the filter's column of the events.
ROLLED_COLUMNS = {"risk": "risk"}


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text and the values for its named places."""

    text: str
    values: dict[str, Any] = field(default_factory=dict)

    def table(self, cursor: duckdb.DuckDBPyConnection) -> pa.Table:
        """Run it and return the whole result."""
        return cursor.sql(self.text, params=self.values).to_arrow_table()

    def rows(self, cursor: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
        """Run it and return the rows as Python values."""
        return cursor.execute(self.text, self.values).fetchall()


def register(
    cursor: duckdb.DuckDBPyConnection, batches: Sequence[Hot], schema: pa.Schema = EVENT_SCHEMA
) -> None:
    """Give a cursor a snapshot's hot rows as the table ``hot``, uncopied. Statements over a view need it."""
    tables = [batch.table for batch in batches]
    cursor.register(HOT, pa.concat_tables(tables) if tables else schema.empty_table())


def source(view: View, bind: Bind, *, positions: bool = False) -> str:
    """Return a FROM item with all columns of the view's rows; with ``positions`` also file name and row number."""
    if not view.files:
        extra = f", NULL AS {FILE_COLUMN}, NULL AS {ROW_COLUMN}" if positions else ""
        return f"(SELECT *{extra} FROM {HOT})"
    options = f", {FILE_COLUMN} = true, {ROW_COLUMN} = true" if positions else ""
    files = f"read_parquet({bind(view.paths())}, union_by_name = true{options})"
    # The hot table is there even when nothing in it counts: it has every column that an older file may lack.
    nothing = "" if view.hot else " WHERE FALSE"
    return f"(SELECT * FROM {files} UNION ALL BY NAME SELECT * FROM {HOT}{nothing})"


def rows_of(paths: Sequence[str], bind: Bind) -> str:
    """Return a FROM item with all rows of some files and of ``hot``, whatever their schema."""
    if not paths:
        return HOT
    files = f"read_parquet({bind(list(paths))}, union_by_name = true)"
    return f"(SELECT * FROM {files} UNION ALL BY NAME SELECT * FROM {HOT})"


def grouped(view: View, wanted: Filter, scope: Scope, key: str | None, aggregates: str) -> Statement:
    """Return aggregates of matching rows, by one key expression of ours or over all of them."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    chosen, group = (f"{key}, ", " GROUP BY 1") if key else ("", "")
    return Statement(f"SELECT {chosen}{aggregates} FROM {from_item} WHERE {condition}{group}", bind.values)


def where(view: View, wanted: Filter, scope: Scope, bind: Bind) -> str:
    """Return the whole condition of a query: range, snapshot, scope and filter."""
    parts = [f"{quote('seq')} <= {bind(view.seq)}"]
    time = quote("timestamp")
    if view.start_us is not None:
        parts.append(f"{time} >= {bind.time(view.start_us)}")
    if view.end_us is not None:
        parts.append(f"{time} <= {bind.time(view.end_us)}")
    parts += scope_conditions(scope, bind)
    parts += conditions(wanted.terms, bind)
    if wanted.min_risk is not None or wanted.max_risk is not None:
        parts.append(between("risk_score", wanted.min_risk, wanted.max_risk, bind))
    if wanted.search is not None:
        parts.append(search_condition(wanted.search, bind))
    return " AND ".join(parts)


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


def before(time_us: int, seq: int, bind: Bind) -> str:
    """Return the condition that a row comes after (time, seq) in newest-first order."""
    time, place = quote("timestamp"), bind.time(time_us)
    return f"({time} < {place} OR ({time} = {place} AND {quote('seq')} < {bind(seq)}))"


def positions(
    view: View,
    wanted: Filter,
    scope: Scope,
    *,
    limit: int,
    offset: int = 0,
    after: tuple[int, int] | None = None,
) -> Statement:
    """Return where the newest matching rows lie: time_us, seq, file (null: hot), row number; newest first."""
    bind = Bind()
    from_item = source(view, bind, positions=True)
    condition = where(view, wanted, scope, bind)
    if after is not None:
        condition += f" AND {before(*after, bind)}"
    return Statement(
        f"SELECT epoch_us({quote('timestamp')}) AS time_us, {quote('seq')}, {FILE_COLUMN}, {ROW_COLUMN} "
        f"FROM {from_item} WHERE {condition} "
        f"ORDER BY {quote('timestamp')} DESC, {quote('seq')} DESC LIMIT {bind(limit)} OFFSET {bind(offset)}",
        bind.values,
    )


def keys_in_order(
    view: View, wanted: Filter, scope: Scope, *, limit: int, after: tuple[int, int] | None = None
) -> Statement:
    """Return (time_us, seq) of the newest matching rows, newest first: the order of an export, without its rows."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    if after is not None:
        condition += f" AND {before(*after, bind)}"
    return Statement(
        f"SELECT epoch_us({quote('timestamp')}) AS time_us, {quote('seq')} FROM {from_item} WHERE {condition} "
        f"ORDER BY {quote('timestamp')} DESC, {quote('seq')} DESC LIMIT {bind(limit)}",
        bind.values,
    )


def rows_in_order(
    view: View,
    wanted: Filter,
    scope: Scope,
    expression: str,
    *,
    first: tuple[int, int],
    last: tuple[int, int],
) -> Statement:
    """Return an expression for the matching rows from ``first`` down to ``last`` (time_us, seq), newest first."""
    bind = Bind()
    part = view.between(last[0], first[0])
    from_item = source(part, bind)
    condition = where(part, wanted, scope, bind)
    newer = before(first[0], first[1] + 1, bind)
    older = before(last[0], last[1], bind)
    return Statement(
        f"SELECT {expression} FROM {from_item} WHERE {condition} AND {newer} AND NOT {older} "
        f"ORDER BY {quote('timestamp')} DESC, {quote('seq')} DESC",
        bind.values,
    )


def count(view: View, wanted: Filter, scope: Scope, *, after: tuple[int, int] | None = None) -> Statement:
    """Return how many rows match."""
    bind = Bind()
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    if after is not None:
        condition += f" AND {before(*after, bind)}"
    return Statement(f"SELECT count(*) FROM {from_item} WHERE {condition}", bind.values)


# What a roll-up calls a value, and the same of a row.
RISK_BAND = (
    f"CASE WHEN {quote('risk_score')} IS NULL THEN NULL WHEN {quote('risk_score')} <= {LOW_RISK_TO} THEN 'low' "
    f"WHEN {quote('risk_score')} <= {MEDIUM_RISK_TO} THEN 'medium' ELSE 'high' END"
)
USER = f"coalesce({quote('user_id')}, 'name:' || {quote('username')})"


@dataclass(frozen=True, slots=True)
class Key:
    """Something to group by: its name in the result, and its expression over roll-up rows and over event rows."""

    name: str
    rolled: str
    row: str


def bucket(step_us: int) -> Key:
    """Return the start of the bucket of ``step_us``, in microseconds since 1970."""
    times = (
        f"CAST(epoch_us({quote(name)}) // {step_us} * {step_us} AS BIGINT)"
        for name in ("bucket", "timestamp")
    )
    return Key("bucket", *times)


DIMENSIONS = {
    name: Key(name, quote(name), quote(name)) for name in ("level", "category", "action", "outcome")
}
DIMENSIONS["risk"] = Key("risk", quote("risk"), RISK_BAND)


@dataclass(frozen=True, slots=True)
class KeyedBy:
    """The key and name of a roll-up family, as expressions over event rows."""

    key: str
    name: str = "CAST(NULL AS VARCHAR)"

    @property
    def keys(self) -> tuple[Key, Key]:
        """Both as things to group by."""
        return Key("key", quote("key"), self.key), Key("name", quote("name"), self.name)


KEYED_BY = {
    "users": KeyedBy(USER, quote("username")),
    "countries": KeyedBy(quote("country_code")),
    "addresses": KeyedBy(quote("ip")),
    "entities": KeyedBy(quote("entity_id"), quote("entity_type")),
}


@dataclass(frozen=True, slots=True)
class Rolled:
    """A part of a count that roll-ups answer: their paths, and which buckets of them (None: all)."""

    paths: Sequence[str]
    low_us: int | None = None
    high_us: int | None = None


def rolled_condition(family: str, wanted: Filter, scope: Scope, part: Rolled, bind: Bind) -> str:
    """Return the whole condition on roll-up rows. The filter must lie inside the family's dimensions."""
    parts = [f"{quote('family')} = {bind(family)}"]
    if part.low_us is not None:
        parts.append(f"{quote('bucket')} >= {bind.time(part.low_us)}")
    if part.high_us is not None:
        parts.append(f"{quote('bucket')} < {bind.time(part.high_us)}")
    parts += scope_conditions(scope, bind)
    parts += conditions(wanted.terms, bind, columns=ROLLED_COLUMNS)
    return " AND ".join(parts)


def cells(
    family: str,
    wanted: Filter,
    scope: Scope,
    keys: Sequence[Key],
    rolled: Sequence[Rolled],
    rows: Sequence[View],
) -> tuple[str, Bind]:
    """Return a relation of ``keys`` and ``events``, summing roll-ups and rows, and the values it binds."""
    bind = Bind()
    names = ", ".join(quote(key.name) for key in keys)
    parts: list[str] = []
    for part in rolled:
        chosen = ", ".join(f"{key.rolled} AS {quote(key.name)}" for key in keys)
        condition = rolled_condition(family, wanted, scope, part, bind)
        present = f" AND {quote('key')} IS NOT NULL" if family in KEYED_BY else ""
        parts.append(
            f"SELECT {chosen}, {quote('events')} FROM read_parquet({bind(list(part.paths))}, union_by_name = true) "
            f"WHERE {condition}{present}"
        )
    for view in rows:
        chosen = ", ".join(f"{key.row} AS {quote(key.name)}" for key in keys)
        condition = where(view, wanted, scope, bind)
        present = f" AND {KEYED_BY[family].key} IS NOT NULL" if family in KEYED_BY else ""
        parts.append(
            f"SELECT {chosen}, count(*) AS {quote('events')} FROM {source(view, bind)} "
            f"WHERE {condition}{present} GROUP BY ALL"
        )
    if not parts:
        empty = ", ".join(f"NULL AS {quote(key.name)}" for key in keys)
        parts.append(f"SELECT {empty}, 0 AS {quote('events')} WHERE FALSE")
    union = " UNION ALL ".join(parts)
    total = f"CAST(sum({quote('events')}) AS BIGINT) AS {quote('events')}"
    return f"(SELECT {names}, {total} FROM ({union}) GROUP BY ALL)", bind


def by_position(path: str, rows: Sequence[int], expression: str) -> Statement:
    """Return (row number, expression) of the rows with these numbers in one file, in no particular order."""
    bind = Bind()
    options = f"union_by_name = true, {ROW_COLUMN} = true"
    files = f"read_parquet({bind([path])}, {options})"
    numbers = ", ".join(bind(row) for row in rows)
    return Statement(
        f"SELECT {ROW_COLUMN}, {expression} FROM (SELECT * FROM {files} UNION ALL BY NAME SELECT * FROM {HOT} "
        f"WHERE FALSE) WHERE {ROW_COLUMN} IN ({numbers})",
        bind.values,
    )


def hot_rows(seqs: Sequence[int], expression: str) -> Statement:
    """Return (seq, expression) of the hot rows with these seqs, in no particular order."""
    bind = Bind()
    numbers = ", ".join(bind(seq) for seq in seqs)
    return Statement(
        f"SELECT {quote('seq')}, {expression} FROM {HOT} WHERE {quote('seq')} IN ({numbers})", bind.values
    )
