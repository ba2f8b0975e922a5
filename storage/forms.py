"""How answers to SQL are written: JSON, one object a line, CSV, Arrow, Parquet. Runs in the confined process.

JSON has fewer types than DuckDB. Whole numbers beyond 2^53 and decimals become text, so that no reader rounds them;
NaN and infinities become null; times are RFC 3339 (with ``Z`` where the type has a zone), also outside the years that
Python knows, intervals ISO 8601 durations; bytes are hexadecimal; maps are lists of pairs.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import numpy as np
import orjson
import pyarrow as pa

from storage.job import Form, Heading

EXACT_TO = 2**53 - 1  # the largest whole number that every JSON reader keeps
NANOSECONDS = 10**9  # in a second
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for a formula at the beginning of a cell
_INFINITE = {2**63 - 1: "infinity", -(2**63 - 1): "-infinity"}  # DuckDB's, in a TIMESTAMP
_INFINITE_DAYS = {2**31 - 1: "infinity", -(2**31 - 1): "-infinity"}
_ORJSON = orjson.OPT_PASSTHROUGH_SUBCLASS

Encoder = Callable[[Heading, pa.Schema, Iterable[pa.RecordBatch], Mapping[str, Any]], Iterator[bytes]]


class UnwritableError(Exception):
    """A value or type that a form cannot hold."""


def document(
    heading: Heading, _schema: pa.Schema, batches: Iterable[pa.RecordBatch], facts: Mapping[str, Any]
) -> Iterator[bytes]:
    """Write one JSON object: the columns, then the rows as lists, then how many and whether that is all."""
    columns = [{"name": n, "type": t} for n, t in zip(heading.columns, heading.types, strict=True)]
    yield b'{"success":true,"columns":' + orjson.dumps(columns) + b',"rows":['
    count = 0
    for batch in batches:
        for row in _rows(batch):
            yield (b",\n" if count else b"\n") + orjson.dumps(row, option=_ORJSON)
            count += 1
    rest = {"row_count": count, "truncated": bool(heading.truncated), **facts}
    yield b"]," + orjson.dumps(rest)[1:] + b"\n"


def objects(
    heading: Heading, _schema: pa.Schema, batches: Iterable[pa.RecordBatch], _facts: Mapping[str, Any]
) -> Iterator[bytes]:
    """Write one JSON object a row; columns of one name are told apart."""
    names = distinct(heading.columns)
    for batch in batches:
        for row in _rows(batch):
            yield orjson.dumps(dict(zip(names, row, strict=True)), option=_ORJSON | orjson.OPT_APPEND_NEWLINE)


def lists(
    _heading: Heading, _schema: pa.Schema, batches: Iterable[pa.RecordBatch], _facts: Mapping[str, Any]
) -> Iterator[bytes]:
    """Write one JSON list a row: for a program that lays them out itself."""
    for batch in batches:
        for row in _rows(batch):
            yield orjson.dumps(row, option=_ORJSON | orjson.OPT_APPEND_NEWLINE)


def table(
    heading: Heading, schema: pa.Schema, batches: Iterable[pa.RecordBatch], _facts: Mapping[str, Any]
) -> Iterator[bytes]:
    """Write CSV. Text that a spreadsheet would run begins with an apostrophe; nested values are JSON."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def taken() -> bytes:
        data = text.getvalue().encode()
        text.seek(0)
        text.truncate()
        return data

    writer.writerow([_marked(name) for name in heading.columns])
    yield taken()
    # Only text can be a formula: the minus of a number is none.
    shown = [_marked if _is_text(field.type) else as_text for field in schema]
    for batch in batches:
        writer.writerows(
            [show(value) for show, value in zip(shown, row, strict=True)] for row in _rows(batch)
        )
        yield taken()


def arrow(
    _heading: Heading, schema: pa.Schema, batches: Iterable[pa.RecordBatch], _facts: Mapping[str, Any]
) -> Iterator[bytes]:
    """Write an Arrow IPC stream."""
    sink = _Pieces()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            yield from sink.taken()
    yield from sink.taken()


def parquet(
    _heading: Heading, schema: pa.Schema, batches: Iterable[pa.RecordBatch], _facts: Mapping[str, Any]
) -> Iterator[bytes]:
    """Write a Parquet file, a row group a batch."""
    import pyarrow.parquet as pq

    sink = _Pieces()
    with pq.ParquetWriter(cast("Any", sink), schema, compression="zstd") as writer:
        for batch in batches:
            if batch.num_rows:
                writer.write_batch(batch)
            yield from sink.taken()
    yield from sink.taken()


ENCODERS: dict[Form, Encoder] = {
    "json": document,
    "ndjson": objects,
    "rows": lists,
    "csv": table,
    "arrow": arrow,
    "parquet": parquet,
}


class _Pieces(io.RawIOBase):
    """A file that only grows, and whose bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Keep some bytes."""
        self._held.append(bytes(data))
        self._at += len(self._held[-1])
        return len(self._held[-1])

    def tell(self) -> int:
        """Return how many bytes were written in all."""
        return self._at

    def taken(self) -> list[bytes]:
        """Return the bytes since the last call."""
        held, self._held = self._held, []
        return held


def distinct(columns: Iterable[str]) -> list[str]:
    """Return names of which none repeats: an object cannot hold two fields of one name."""
    used: set[str] = set()
    names: list[str] = []
    for column in columns:
        candidates = itertools.chain([column], (f"{column}_{number}" for number in itertools.count(2)))
        names.append(next(name for name in candidates if name not in used))
        used.add(names[-1])
    return names


def _rows(batch: pa.RecordBatch) -> Iterator[Sequence[Any]]:
    """Return the rows of a batch as values that JSON can hold."""
    columns = [_values(column, name) for column, name in zip(batch.columns, batch.schema.names, strict=True)]
    return zip(*columns, strict=True)


def _values(column: Any, name: str) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _times(column)
    if pa.types.is_date(kind):
        days = column.cast(pa.date32()).cast(pa.int32()).to_pylist()
        return [
            None if day is None else _INFINITE_DAYS.get(day) or str(np.datetime64(day, "D")) for day in days
        ]
    try:
        values = cast("list[Any]", column.to_pylist())
    except (OverflowError, ValueError) as error:  # a time inside a list or a struct
        raise UnwritableError(f"a value in {name!r} cannot be written: cast it to VARCHAR") from error
    return [_plain(value) for value in values]


def _times(column: Any) -> list[Any]:
    zone, unit = ("Z" if column.type.tz else ""), column.type.unit
    numbers = column.cast(pa.int64()).to_pylist()
    return [
        None if number is None else _INFINITE.get(number) or f"{np.datetime64(number, unit)}{zone}"
        for number in numbers
    ]


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if -EXACT_TO <= value <= EXACT_TO else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        # HUGEINT, which every sum of whole numbers is, comes as a decimal without a fraction.
        if value.as_tuple().exponent == 0:
            return _plain(int(value))
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, pa.MonthDayNano):
        return _duration(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    isoformat = getattr(value, "isoformat", None)
    return isoformat().replace("+00:00", "Z") if isoformat else str(value)


def as_text(value: Any) -> str:
    """Return a plain value as text for a table: nested ones as JSON, null as nothing."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _is_text(kind: Any) -> bool:
    word = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(word) or pa.types.is_large_string(word) or pa.types.is_string_view(word))


def _marked(value: Any) -> str:
    """Return text for CSV; what a spreadsheet would run is marked as text."""
    text = as_text(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _duration(value: Any) -> str:
    """Return an interval as ISO 8601 writes it."""
    seconds = Decimal(value.nanoseconds) / NANOSECONDS
    return f"P{value.months}M{value.days}DT{seconds.normalize():f}S"
