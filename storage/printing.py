"""A filter as one SQL statement that runs as it stands in any DuckDB over the archive: the only place with literals.

Everything else binds values. Here `Printed` stands in for `storage.filters.Bind`, so that the very same conditions are
printed that the daemon runs; `literal` is the only function that turns a value into text.
"""

from __future__ import annotations

from typing import Any

from parsers.moments import rfc3339
from storage.filters import Bind
from storage.query import Filter, Scope
from storage.sql import NEWEST_FIRST, TIME, scope_conditions, wanted_conditions

HEAD = """\
-- Runs in DuckDB, in the archive's folder: duckdb watchkeep.duckdb. First: SET TimeZone = 'UTC';
-- Without the view, for what is sealed: FROM read_parquet('events/*/*.parquet', union_by_name => true)
"""


def literal(value: Any) -> str:
    """Return a value as an SQL literal. Raises TypeError for what no condition holds."""
    match value:
        case bool():
            return "TRUE" if value else "FALSE"
        case int() | float():
            return repr(value)
        case str():
            # In a literal nothing but the quote means anything; a zero byte would end the statement's text.
            parts = ("'" + part.replace("'", "''") + "'" for part in value.split("\0"))
            joined = " || chr(0) || ".join(parts)
            return f"({joined})" if "\0" in value else joined
        case bytes():
            return "'" + "".join(f"\\x{byte:02X}" for byte in value) + "'::BLOB"
        case _:
            raise TypeError(f"no literal for a {type(value).__name__}")


class Printed(Bind):
    """Gives each value back as a literal instead of a place."""

    def __call__(self, value: Any) -> str:
        """Return the literal."""
        return literal(value)

    def time(self, time_us: int) -> str:
        """Return a time as a literal that people can read."""
        return f"TIMESTAMPTZ {literal(rfc3339(time_us))}"


def statement(wanted: Filter, scope: Scope) -> str:
    """Return the statement that lists a filter's events, newest first."""
    bind = Printed()
    parts: list[str] = []
    if wanted.start_us is not None:
        parts.append(f"{TIME} >= {bind.time(wanted.start_us)}")
    if wanted.end_us is not None:
        parts.append(f"{TIME} <= {bind.time(wanted.end_us)}")
    parts += scope_conditions(scope, bind)
    parts += wanted_conditions(wanted, bind)
    condition = "\n  AND ".join(parts) or "TRUE"
    return f"{HEAD}SELECT *\nFROM events\nWHERE {condition}\n{NEWEST_FIRST};\n"
