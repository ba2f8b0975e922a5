"""How every DuckDB instance of ours is opened: no downloads, no reading of Python variables, a memory bound."""

from __future__ import annotations

import duckdb
import pyarrow as pa

# Extensions are downloads, and replacement scans would let a query read Python variables: all off, everywhere.
LOCKED_DOWN: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}

_SCALARS: tuple[tuple[pa.DataType, str], ...] = (
    (pa.string(), "VARCHAR"),
    (pa.int64(), "BIGINT"),
    (pa.int32(), "INTEGER"),
    (pa.float64(), "DOUBLE"),
    (pa.bool_(), "BOOLEAN"),
    (pa.binary(), "BLOB"),
    (pa.date32(), "DATE"),
    (pa.timestamp("us", tz="UTC"), "TIMESTAMPTZ"),
)


def connect(*, threads: int, memory_limit_mb: int) -> duckdb.DuckDBPyConnection:
    """Return an in-memory instance in UTC with ``threads`` workers and a memory bound in megabytes."""
    connection = duckdb.connect(
        ":memory:", config={**LOCKED_DOWN, "threads": threads, "memory_limit": f"{memory_limit_mb}MB"}
    )
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    return connection


def schema_sql(schema: pa.Schema) -> list[tuple[str, str]]:
    """Return (column, DuckDB type) pairs of an Arrow schema."""
    return [(field.name, _type_sql(field.type)) for field in schema]


def _type_sql(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_type_sql(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        inner = ", ".join(f"{field.name} {_type_sql(field.type)}" for field in kind)
        return f"STRUCT({inner})"
    if pa.types.is_fixed_size_binary(kind):
        return "BLOB"
    return next(name for known, name in _SCALARS if kind == known)
