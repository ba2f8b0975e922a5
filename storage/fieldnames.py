"""Which fields of the applications' own occur in the newest events: those that have no column."""

from __future__ import annotations

from storage import sql
from storage.duck import connect
from storage.filters import Bind
from storage.query import Filter, Scope
from storage.scope import view
from storage.snapshot import Snapshot

NEWEST_ROWS = 100_000  # of each file that is looked at
NEWEST_FILES = 16
MEMORY_LIMIT_MB = 256


def seen_names(snapshot: Snapshot) -> frozenset[str]:
    """Return the names at the top of `extra` and `metadata` in the newest files. Blocking, some tenths of a second."""
    seen = view(snapshot, Filter(), Scope())
    newest = sorted(seen.files, key=lambda file: -file.max_time_us)[:NEWEST_FILES]
    part = seen.only(newest, hot=False)
    if part.empty:
        return frozenset()
    with connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB) as connection:
        sql.register(connection, ())
        found: set[str] = set()
        for column in ("extra", "metadata"):
            bind = Bind()
            from_item = sql.source(part, bind)
            rows = connection.execute(
                f"SELECT DISTINCT unnest(json_keys({column})) FROM (SELECT {column} FROM {from_item} "
                f"WHERE {column} IS NOT NULL LIMIT {bind(NEWEST_ROWS)}) WHERE json_valid({column}) "
                f"AND json_type({column}) = 'OBJECT'",
                bind.values,
            ).fetchall()
            found |= {name for (name,) in rows}
    return frozenset(found)
