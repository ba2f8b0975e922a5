"""Exports: every matching event in one of the formats, newest first, streamed at flat memory.

`storage.blocks` fetches the rows in order. For text DuckDB renders each block on the way and Arrow puts its texts in
order; their buffers are sent as they are: Python touches no event. `storage.columnar` has the formats with columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa

from storage import columnar, sql
from storage.blocks import newest_first
from storage.engine import Piece
from storage.query import ExportQuery
from storage.scope import View, view
from storage.shapes import used_by
from storage.snapshot import Snapshot
from storage.texts import ALL, csv_row, event_json, tree_of

Format = Literal["json", "ndjson", "csv", "parquet", "arrow"]

PIECE_BYTES = (
    256 << 10
)  # handed over at a time: larger ones fall out of the processor's cache on their way to the socket


@dataclass(frozen=True, slots=True)
class Form:
    """How a format writes: what comes before all rows, around each row, and after all rows.

    ``head`` is given the columns chosen; ``row`` gives the row's SQL text for the columns that are used and chosen;
    ``before`` and ``after`` are SQL as well. ``trim`` bytes at the front of the first row are left out (a separator
    that only stands between rows).
    """

    head: Callable[[tuple[str, ...]], bytes]
    row: Callable[[frozenset[str], tuple[str, ...]], str]
    before: str
    after: str
    tail: bytes
    trim: int = 0


def _csv_head(columns: tuple[str, ...]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(tree_of(columns))
    return line.getvalue().encode()


FORMS: dict[str, Form] = {
    # The tail closes the array: a body that was cut off is not JSON, so a failed export never looks whole.
    "json": Form(lambda _: b"[", event_json, "',' || chr(10) || ", "", b"\n]\n", trim=1),
    "ndjson": Form(lambda _: b"", event_json, "", " || chr(10)", b""),
    "csv": Form(_csv_head, csv_row, "", " || chr(13) || chr(10)", b""),
}


COLUMNAR: dict[str, Callable[[duckdb.DuckDBPyConnection, View, ExportQuery], Iterator[bytes]]] = {
    "parquet": columnar.parquet,
    "arrow": columnar.arrow,
}
FORMATS: tuple[str, ...] = (*FORMS, *COLUMNAR)


def pieces(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, query: ExportQuery, form: Format
) -> Iterator[Piece]:
    """Yield the body of an export. Runs in a thread; whoever consumes it sets the pace."""
    sql.register(cursor, snapshot.hot)
    seen = view(snapshot, query.filter, query.scope, query.snapshot)
    if form in COLUMNAR:
        return COLUMNAR[form](cursor, seen, query)
    return _text(cursor, seen, query, FORMS[form])


def _text(
    cursor: duckdb.DuckDBPyConnection, seen: View, query: ExportQuery, shape: Form
) -> Iterator[memoryview]:
    def text(block: View) -> str:
        row = shape.row(used_by(block.paths(), block.hot) & ALL, query.columns)
        return f"{shape.before}{row}{shape.after} AS text"

    trim = shape.trim
    if head := shape.head(query.columns):
        yield memoryview(head)
    for batch in newest_first(cursor, seen, query, text):
        body = _bytes(batch.column(0))[trim:]
        for start in range(0, len(body), PIECE_BYTES):
            yield body[start : start + PIECE_BYTES]
        trim = 0
    if shape.tail:
        yield memoryview(shape.tail)


def _bytes(texts: Any) -> memoryview:
    """Return the texts of a string array end to end: a slice of its data buffer."""
    _, offsets, data = texts.buffers()
    assert offsets is not None
    if data is None:
        return memoryview(b"")
    ends = memoryview(offsets).cast("i" if texts.type == pa.string() else "q")
    return memoryview(data)[ends[texts.offset] : ends[texts.offset + len(texts)]]
