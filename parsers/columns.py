"""The column table, derived from `parsers.event.Event`: the one list that SQL, Arrow, filters and docs follow."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from parsers.event import Event, placement

TIMESTAMP = pa.timestamp("us", tz="UTC")
ADDRESS_BYTES = 16  # an IPv6 address, or an IPv4 one mapped into it, so that one order covers both

_REASON = pa.struct([("reason", pa.string()), ("points", pa.float64()), ("detail", pa.string())])
_ARROW: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BLOB": pa.binary(ADDRESS_BYTES),
    "TIMESTAMPTZ": TIMESTAMP,
    "VARCHAR[]": pa.list_(pa.string()),
    "STRUCT(reason VARCHAR, points DOUBLE, detail VARCHAR)[]": pa.list_(_REASON),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name, DuckDB type, Arrow type, dotted place in the API's object and meaning."""

    name: str
    sql: str
    arrow: pa.DataType
    api: str
    json: bool
    from_line: bool
    required: bool
    meaning: str


COLUMNS: tuple[Column, ...] = tuple(
    Column(
        name=name,
        sql=placement(name).sql,
        arrow=_ARROW[placement(name).sql],
        api=placement(name).path,
        json=placement(name).json,
        from_line=placement(name).line,
        required=info.is_required(),
        meaning=info.description or "",
    )
    for name, info in Event.model_fields.items()
)
BY_NAME: dict[str, Column] = {column.name: column for column in COLUMNS}

# Rows as they are stored and queried.
EVENT_SCHEMA = pa.schema([pa.field(column.name, column.arrow) for column in COLUMNS])

# Given by the archive when rows become visible, so parsed rows do not have them yet.
ARCHIVE_COLUMNS = ("ingested_at", "seq")
PARSED_SCHEMA = pa.schema([field for field in EVENT_SCHEMA if field.name not in ARCHIVE_COLUMNS])

# Lines that could not be parsed. `raw` holds at most REJECT_RAW_BYTES, redacted; length and sha256 are of the whole line.
REJECT_RAW_BYTES = 64 * 1024
_REJECT_FIELDS: list[tuple[str, pa.DataType]] = [
    ("source", pa.string()),
    ("source_file", pa.string()),
    ("source_offset", pa.int64()),
    ("length", pa.int64()),
    ("sha256", pa.string()),
    ("reason", pa.string()),
    ("raw", pa.binary()),
    ("internal", pa.bool_()),
    ("node", pa.string()),
    ("ingested_at", TIMESTAMP),
    ("seq", pa.int64()),
]
REJECT_SCHEMA = pa.schema(_REJECT_FIELDS)
PARSED_REJECT_SCHEMA = pa.schema([field for field in REJECT_SCHEMA if field.name not in ARCHIVE_COLUMNS])
