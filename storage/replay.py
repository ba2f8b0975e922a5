"""Committed rows once more, in the order in which they came: for what is a fold over the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from parsers.columns import EVENT_SCHEMA
from storage import sql
from storage.duck import connect
from storage.filters import Bind, quote
from storage.scope import path_of
from storage.snapshot import File, Snapshot

WINDOW_SEQS = 100_000  # numbers read at a time: some 30 MB of narrow columns
MEMORY_LIMIT_MB = 256


def newest_rows_from(snapshot: Snapshot, rows: int) -> int:
    """Return a seq such that about ``rows`` of the newest committed events of this node are above it, whole files."""
    seen = 0
    for file in sorted(_own(snapshot), key=lambda file: -file.max_seq):
        if seen + file.rows > rows:
            return file.max_seq
        seen += file.rows
    return 0


def rows_after(snapshot: Snapshot, seq: int, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the committed events above ``seq`` in its order, in tables of some columns and ``seq``.

    Files that other nodes committed are left out: their rows are no part of this node's stream.
    """
    files = [file for file in _own(snapshot) if file.max_seq > seq]
    if not files:
        return
    last = max(file.max_seq for file in files)
    low = max(seq, min(file.min_seq for file in files) - 1)
    connection = connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB)
    try:
        sql.register(
            connection, (), EVENT_SCHEMA
        )  # united with files of earlier formats, it gives columns they lack
        while low < last:
            high = min(last, low + WINDOW_SEQS)
            paths = [path_of(snapshot.root, f) for f in files if f.max_seq > low and f.min_seq <= high]
            if paths:
                bind = Bind()
                names = ", ".join(quote(name) for name in dict.fromkeys(("seq", *columns)))
                text = (
                    f"SELECT {names} FROM {sql.rows_of(paths, bind)} "
                    f"WHERE seq > {bind(low)} AND seq <= {bind(high)} ORDER BY seq"
                )
                table = sql.Statement(text, bind.values).table(connection)
                if table.num_rows:
                    yield table
                else:
                    # Each start leaves out millions of numbers, and a folded file spans the gaps of many starts.
                    high = max(high, _next(connection, [path_of(snapshot.root, f) for f in files], high) - 1)
            low = high
    finally:
        connection.close()


def _next(connection: duckdb.DuckDBPyConnection, paths: Sequence[str], seq: int) -> int:
    """Return the least number above ``seq`` that a row of some files has; one above it if none has."""
    bind = Bind()
    text = f"SELECT coalesce(min(seq), {bind(seq + 1)}) AS seq FROM {sql.rows_of(paths, bind)} WHERE seq > {bind(seq)}"
    found: int = sql.Statement(text, bind.values).table(connection).column("seq")[0].as_py()
    return found


def _own(snapshot: Snapshot) -> list[File]:
    return [file for file in snapshot.events if file.node == snapshot.node]
