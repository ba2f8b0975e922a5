"""Values that were seen of a field, most frequent first: what completion offers. Bounded, so that it is never slow.

Words, users, countries, addresses and things are counted by roll-ups of the newest files; any other field by the rows of
fewer of them. So a value that has not occurred for long is not offered; it can be written all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import duckdb

from parsers import fields
from parsers.completing import MOST
from parsers.expression import Comparison
from parsers.fields import EXISTS, Field
from storage import rolled, sql
from storage.comparing import elements, pointer
from storage.filters import Bind, quote
from storage.plan import plan
from storage.query import Filter, Scope
from storage.rollups import ADDRESSES, COUNTRIES, ENTITIES, TOTALS, USERS, Family
from storage.scope import view
from storage.snapshot import Snapshot

ROLLED_FILES = 64  # newest files whose roll-ups are asked: a few milliseconds
ROWS = 100_000  # rows of the newest files that are looked at for any other field
LONGEST = 200  # characters; a longer value is nothing to complete

# By the key of a field: the family of roll-ups that counts it, and which of its columns has the value.
_ROLLED: dict[str, tuple[Family, str]] = {
    **{name: (TOTALS, name) for name in ("level", "category", "action", "outcome")},
    "username": (USERS, "name"),
    "user_id": (USERS, "key"),
    "country": (COUNTRIES, "key"),
    "ip": (ADDRESSES, "key"),
    "entity_id": (ENTITIES, "key"),
    "entity_type": (ENTITIES, "name"),
}
_SCANNED = (fields.TEXT, fields.LIST, fields.SOURCE)


def seen_values(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    field: Field,
    path: tuple[str, ...],
    prefix: str,
    scope: Scope,
) -> list[tuple[str, int]]:
    """Return values of a field that begin with a text (in any case), and in how many of the newest events they occur.

    Raises MaskedError for a scope that does not see the field.
    """
    sql.register(cursor, snapshot.hot)
    # The scope is checked as for a question that looks at the field.
    wanted = Filter(expression=Comparison(field.name, EXISTS, (), path))
    view(snapshot, wanted, scope)
    bind = Bind()
    if field.key in _ROLLED and not path:
        relation, value = _from_rollups(snapshot, scope, *_ROLLED[field.key], bind)
        events = "sum(events)"
    elif field.kind in _SCANNED or path:
        relation = _from_rows(snapshot, scope, _column(field), _expression(field, path, bind), bind)
        value = "value"
        events = "count(*)"
    else:
        return []
    return _most(cursor, relation, value, events, prefix, bind)


def seen_keys(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    field: Field,
    path: tuple[str, ...],
    prefix: str,
    scope: Scope,
) -> list[tuple[str, int]]:
    """Return keys of a JSON field's object at a path, as `seen_values` returns values."""
    sql.register(cursor, snapshot.hot)
    view(snapshot, Filter(expression=Comparison(field.name, EXISTS, (), path)), scope)
    bind = Bind()
    place = f", {bind(pointer(path))}" if path else ""
    found = f"unnest(TRY(json_keys({quote(field.column)}{place})))"
    relation = _from_rows(snapshot, scope, field.column, found, bind)
    return _most(cursor, relation, "value", "count(*)", prefix, bind)


def _most(
    cursor: duckdb.DuckDBPyConnection, relation: str, value: str, events: str, prefix: str, bind: Bind
) -> list[tuple[str, int]]:
    wanted = f"starts_with(lower({value}), lower({bind(prefix)})) AND length({value}) BETWEEN 1 AND {LONGEST}"
    text = (
        f"SELECT {value} AS found, CAST({events} AS BIGINT) AS n FROM {relation} "
        f"WHERE {value} IS NOT NULL AND {wanted} GROUP BY 1 ORDER BY n DESC, found LIMIT {MOST}"
    )
    return [(str(found), int(n)) for found, n in sql.Statement(text, bind.values).rows(cursor)]


def _from_rollups(
    snapshot: Snapshot, scope: Scope, family: Family, column: str, bind: Bind
) -> tuple[str, str]:
    newest = replace(snapshot, events=snapshot.events[:ROLLED_FILES])
    parts = plan(newest, Filter(), scope, whole=family, across=family)
    if not family.keys:
        return rolled.union(parts, Filter(), scope, [rolled.DIMENSIONS[column]], bind), quote(column)
    relation = rolled.union(parts, Filter(), scope, rolled.key_and_name(family), bind, keyed=family)
    return relation, quote(column)


def _from_rows(snapshot: Snapshot, scope: Scope, column: str, value: str, bind: Bind) -> str:
    """Return a relation of an expression of one column, named ``value``, of the newest rows."""
    rows, files = 0, 0
    for file in snapshot.events:
        if rows >= ROWS:
            break
        rows += file.rows
        files += 1
    seen = view(replace(snapshot, events=snapshot.events[:files]), Filter(), scope)
    condition = sql.where(seen, Filter(), scope, bind)
    rows_of = f"(SELECT {quote(column)} FROM {sql.source(seen, bind)} WHERE {condition} LIMIT {ROWS})"
    return f"(SELECT {value} AS value FROM {rows_of})"


def _expression(field: Field, path: Sequence[str], bind: Bind) -> str:
    if path:
        return f"TRY(json_extract_string({quote(field.column)}, {bind(pointer(tuple(path)))}))"
    if field.kind is fields.LIST:
        return f"unnest({elements(field)})"
    return quote(_column(field))


def _column(field: Field) -> str:
    return "source_file" if field.kind is fields.SOURCE else field.column
