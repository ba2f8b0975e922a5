"""Exports: every matching event as JSON, NDJSON or CSV, newest first, streamed at flat memory.

The order comes first, as narrow (time, seq) keys of half a million rows at a time; whole rows follow in blocks cut
along those keys. DuckDB renders each block, Arrow puts its texts in order, and their buffers are sent as they are:
Python touches no event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from storage import pages, sql
from storage.query import ExportQuery
from storage.render import API_NAMES
from storage.scope import View, view
from storage.shapes import used_by
from storage.snapshot import Snapshot
from storage.texts import ALL, csv_row, event_json

Format = Literal["json", "ndjson", "csv"]

KEY_ROWS = 524_288  # keys held at a time: 8 MiB
BLOCK_ROWS = (
    30_720  # rows rendered at a time, about 40 MB of text; half a row group, so each is read twice at most
)
PIECE_ROWS = 1_024  # rows handed over at a time, about 1.4 MB


@dataclass(frozen=True, slots=True)
class Form:
    """How a format writes: what comes before all rows, around each row, and after all rows.

    ``row`` gives the row's SQL text for the columns that are used; ``before`` and ``after`` are SQL as well. ``trim`` bytes at the front of the first row are left out (a separator that only stands between rows).
    """

    head: bytes
    row: Callable[[frozenset[str]], str]
    before: str
    after: str
    tail: bytes
    trim: int = 0


FORMS: dict[Format, Form] = {
    # The tail closes the array: a body that was cut off is not JSON, so a failed export never looks whole.
    "json": Form(b"[", event_json, "',' || chr(10) || ", "", b"\n]\n", trim=1),
    "ndjson": Form(b"", event_json, "", " || chr(10)", b""),
    "csv": Form(",".join(API_NAMES).encode() + b"\r\n", csv_row, "", " || chr(13) || chr(10)", b""),
}


def pieces(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, query: ExportQuery, form: Format
) -> Iterator[bytes]:
    """Yield the body of an export. Runs in a thread; whoever consumes it sets the pace."""
    shape = FORMS[form]
    sql.register(cursor, snapshot.hot)
    seen = view(snapshot, query.filter, query.scope, query.snapshot)
    trim = shape.trim
    if shape.head:
        yield shape.head
    for part, first, last in key_blocks(cursor, seen, query):
        block = part.between(last[0], first[0])
        row = shape.row(used_by(block.paths(), block.hot) & ALL)
        expression = f"{shape.before}{row}{shape.after}"
        statement = sql.rows_between(part, query.filter, query.scope, expression, first=first, last=last)
        rows = statement.table(cursor).combine_chunks()
        order = np.lexsort((rows["seq"].to_numpy(), rows["time_us"].to_numpy()))[::-1]
        texts: Any = rows["text"].chunk(0)
        for start in range(0, len(order), PIECE_ROWS):
            text = _bytes(texts.take(pa.array(order[start : start + PIECE_ROWS])))
            yield text[trim:] if trim else text
            trim = 0
    if shape.tail:
        yield shape.tail


def key_blocks(
    cursor: duckdb.DuckDBPyConnection, seen: View, query: ExportQuery
) -> Iterator[tuple[View, tuple[int, int], tuple[int, int]]]:
    """Yield blocks of at most BLOCK_ROWS matching rows, newest first: a view and the keys of first and last row."""
    left = query.limit
    for part in pages.slices(seen, KEY_ROWS):
        after: tuple[int, int] | None = None
        while left is None or left > 0:
            wanted = KEY_ROWS if left is None else min(KEY_ROWS, left)
            statement = sql.keys_in_order(part, query.filter, query.scope, limit=wanted, after=after)
            keys = statement.table(cursor)
            for start in range(0, keys.num_rows, BLOCK_ROWS):
                yield part, _key(keys, start), _key(keys, min(start + BLOCK_ROWS, keys.num_rows) - 1)
            if left is not None:
                left -= keys.num_rows
            if keys.num_rows < wanted:
                break
            after = _key(keys, keys.num_rows - 1)
        if left == 0:
            return


def _key(keys: pa.Table, row: int) -> tuple[int, int]:
    return keys["time_us"][row].as_py(), keys["seq"][row].as_py()


def _bytes(texts: Any) -> bytes:
    """Return the texts of a string array end to end: a slice of its data buffer."""
    _, offsets, data = texts.buffers()
    assert offsets is not None
    if data is None:
        return b""
    ends = memoryview(offsets).cast("i" if texts.type == pa.string() else "q")
    return bytes(memoryview(data)[ends[texts.offset] : ends[texts.offset + len(texts)]])
