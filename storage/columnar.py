"""Exports with the archive's own columns and types: Parquet, and Arrow's stream format, newest first.

The bytes of a Parquet file depend on the rows alone: the same question about the same snapshot gives the same file,
however the archive is laid out at that moment. Rows are therefore regrouped at fixed numbers before they are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from parsers.arrow import nulls
from parsers.columns import EVENT_SCHEMA
from storage.blocks import BATCH_ROWS, newest_first
from storage.filters import quote
from storage.layout import FORMAT_VERSION, SCHEMA_VERSION
from storage.parquet import Encoding, WriteOnly
from storage.query import ExportQuery
from storage.scope import View
from storage.shapes import used_by

GROUP_ROWS = 10 * BATCH_ROWS  # of a row group of Parquet
GROUP_BYTES = 32 << 20  # of a row group before it is encoded; wider rows make smaller groups
PIECE_BYTES = 256 << 10  # handed over at a time, at least

WRITER = f"pyarrow {pa.__version__}"  # what else the bytes of a file depend on

# As the archive's own files, but for the bloom filters: nobody looks up ids in an export often enough to pay for them.
_ENCODING = Encoding(row_group_rows=GROUP_ROWS, bloom=())


def schema_of(columns: tuple[str, ...]) -> pa.Schema:
    """Return the archive's schema, or these columns of it in this order."""
    return pa.schema([EVENT_SCHEMA.field(name) for name in columns]) if columns else EVENT_SCHEMA


def parquet(cursor: duckdb.DuckDBPyConnection, seen: View, query: ExportQuery) -> Iterator[bytes]:
    """Yield a Parquet file. Without its footer, which comes last, no reader takes it for one."""
    sink = _Sink()
    schema = schema_of(query.columns)
    writer = pq.ParquetWriter(
        pa.PythonFile(sink, mode="w"),  # type: ignore[arg-type]  # the stubs know only real files
        schema.with_metadata(
            {b"watchkeep.format": str(FORMAT_VERSION), b"watchkeep.schema": str(SCHEMA_VERSION)}
        ),
        **_ENCODING.options(schema, 0),
    )
    for table in groups(cursor, seen, query):
        writer.write_table(table, row_group_size=GROUP_ROWS)
        yield from sink.taken()
    writer.close()
    yield from sink.rest()


def arrow(cursor: duckdb.DuckDBPyConnection, seen: View, query: ExportQuery) -> Iterator[bytes]:
    """Yield a stream in Arrow's format. Without the mark of its end, which comes last, readers find it cut."""
    sink = _Sink()
    writer = pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), schema_of(query.columns))  # type: ignore[arg-type]  # the stubs know only real files
    for table in _units(cursor, seen, query):
        writer.write_table(table)
        yield from sink.taken()
    writer.close()
    yield from sink.rest()


def rows_of(file: IO[bytes], form: str) -> int:
    """Return how many rows a whole file has: one of Parquet, or a stream of Arrow."""
    if form == "parquet":
        return pq.read_metadata(file).num_rows
    with pa.ipc.open_stream(file) as stream:  # type: ignore[arg-type]  # any file that can be read
        return sum(batch.num_rows for batch in stream)


def groups(cursor: duckdb.DuckDBPyConnection, seen: View, query: ExportQuery) -> Iterator[pa.Table]:
    """Yield the rows of one row group after the other, each as one chunk: the pages of Parquet follow the chunks."""
    taken: list[pa.Table] = []
    size = 0
    for unit in _units(cursor, seen, query):
        taken.append(unit)
        size += unit.nbytes
        if len(taken) * BATCH_ROWS >= GROUP_ROWS or size >= GROUP_BYTES:
            yield _joined(taken)
            size = 0
    if taken:
        yield _joined(taken)


def _joined(tables: list[pa.Table]) -> pa.Table:
    """Return the tables as one and empty the list: while a group is written its rows are in memory once."""
    joined = pa.concat_tables(tables).combine_chunks()
    tables.clear()
    return joined


def _units(cursor: duckdb.DuckDBPyConnection, seen: View, query: ExportQuery) -> Iterator[pa.Table]:
    """Yield the rows, BATCH_ROWS at a time exactly but for the last."""
    schema = schema_of(query.columns)

    def selected(block: View) -> str:
        # DuckDB need know nothing of columns that have no value; of those there are many.
        used = used_by(block.paths(), block.hot)
        return ", ".join(quote(name) for name in schema.names if name in used) or "NULL AS nothing"

    batches = newest_first(cursor, seen, query, selected)
    return _exactly(BATCH_ROWS, (_complete(batch, schema) for batch in batches))


def _complete(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with every column of the schema, in its types."""
    there = set(batch.schema.names)
    return pa.RecordBatch.from_arrays(
        [
            batch.column(field.name).cast(field.type)
            if field.name in there
            else nulls(batch.num_rows, field.type)
            for field in schema
        ],
        schema=schema,
    )


def _exactly(rows: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Cut batches anew, at the same number of rows each."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        while count >= rows:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, rows).combine_chunks()
            rest = table.slice(rows)
            waiting, count = rest.to_batches(), rest.num_rows
    if count:
        yield pa.Table.from_batches(waiting).combine_chunks()


class _Sink(WriteOnly):
    """Where pyarrow writes; whoever reads takes it away piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self._gathered = bytearray()

    def taken(self) -> Iterator[bytes]:
        """Yield what is there, unless it is too little to be worth it."""
        if len(self._gathered) >= PIECE_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[bytes]:
        """Yield what is there."""
        view = memoryview(bytes(self._gathered))
        self._gathered = bytearray()
        for start in range(0, len(view), PIECE_BYTES):
            yield bytes(view[start : start + PIECE_BYTES])

    def write(self, data: Any) -> int:
        self._gathered += data
        self.size += len(data)
        return len(data)
