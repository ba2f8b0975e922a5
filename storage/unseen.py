"""The rows that rules look at, as Arrow tables: those above a seq, and earlier ones that a window reaches back to.

Hot rows are cut out of what is there; committed ones are read from their files. A node looks at its own rows alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from parsers.columns import EVENT_SCHEMA
from storage import sql
from storage.filters import Bind, quote
from storage.query import Filter, Scope
from storage.scope import View, overlaps
from storage.snapshot import File, Hot, Snapshot

EVERYTHING = Scope(internal="include")


def parts_of(snapshot: Snapshot) -> list[File | Hot]:
    """Return what this node has of the archive: other nodes look at their own."""
    own: list[File | Hot] = [file for file in snapshot.events if file.node == snapshot.node]
    return own + list(snapshot.hot)


def view_of(
    snapshot: Snapshot,
    parts: Sequence[File | Hot],
    seq: int,
    start_us: int | None = None,
    end_us: int | None = None,
) -> View:
    """Return a view of some parts with the rows up to a seq, between two times if they are given."""
    files = tuple(part for part in parts if isinstance(part, File) and part.min_seq <= seq)
    hot = tuple(part for part in parts if isinstance(part, Hot) and part.min_seq <= seq)
    return View(snapshot.root, files, hot, seq, start_us, end_us)


def next_rows(
    connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, after: int, most: int, columns: Sequence[str]
) -> tuple[int, pa.Table]:
    """Return some columns of the rows above a seq, with numbers among the next ``most``, and the last of these numbers."""
    parts = [part for part in parts_of(snapshot) if part.max_seq > after]
    if not parts:
        return snapshot.seq, _schema(columns).empty_table()
    begin = max(after, min(part.min_seq for part in parts) - 1)
    end = min(snapshot.seq, begin + most)
    tables = [
        _cut(part, begin, end).select(list(columns))
        for part in parts
        if isinstance(part, Hot) and part.min_seq <= end
    ]
    files = [part for part in parts if isinstance(part, File) and part.min_seq <= end]
    if files:
        seen = view_of(snapshot, files, end)
        bind = Bind()
        from_item = _source(connection, seen, bind)
        names = ", ".join(quote(name) for name in columns)
        text = f"SELECT {names} FROM {from_item} WHERE seq > {bind(begin)} AND seq <= {bind(end)}"
        tables.append(sql.Statement(text, bind.values).table(connection).cast(_schema(columns)))
    return end, pa.concat_tables(tables).combine_chunks() if tables else _schema(columns).empty_table()


def earlier_rows(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    low: int,
    upto: int,
    columns: Sequence[str],
    rows: int,
) -> Iterator[pa.Table]:
    """Yield some columns of the rows from a time on whose seq is at most ``upto``, so many at a time."""
    parts = [part for part in parts_of(snapshot) if part.min_seq <= upto and overlaps(part, low, None)]
    if not parts:
        return
    seen = view_of(snapshot, parts, upto, low, None)
    bind = Bind()
    names = ", ".join(quote(name) for name in columns)
    # Rows are made as they are read, and whoever takes them asks the connection other things meanwhile.
    with connection.cursor() as cursor:
        text = f"SELECT {names} FROM {events_between(cursor, seen, bind)}"
        for batch in sql.Statement(text, bind.values).batches(cursor, rows):
            yield pa.Table.from_batches([batch]).cast(_schema(columns)).combine_chunks()


def events_between(connection: duckdb.DuckDBPyConnection, seen: View, bind: Bind) -> str:
    """Return a FROM item of a view's rows, neither later nor with a higher seq than it says."""
    from_item = _source(connection, seen, bind)
    condition = sql.where(seen, Filter(), EVERYTHING, bind)
    return f"(SELECT * FROM {from_item} WHERE {condition} AND seq <= {bind(seen.seq)})"


def _source(connection: duckdb.DuckDBPyConnection, seen: View, bind: Bind) -> str:
    sql.register(connection, seen.hot)
    return sql.source(seen, bind)


def _cut(hot: Hot, begin: int, end: int) -> pa.Table:
    if hot.min_seq > begin and hot.max_seq <= end:
        return hot.table
    seqs = hot.table.column("seq").to_numpy()  # rising
    first, last = (int(at) for at in seqs.searchsorted([begin, end], side="right"))
    return hot.table.slice(first, last - first)


def _schema(columns: Sequence[str]) -> pa.Schema:
    return pa.schema([EVENT_SCHEMA.field(name) for name in columns])
