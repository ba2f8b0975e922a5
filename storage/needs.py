"""What a filter needs: facts about single values and words that every matching row must show, so that files can be skipped.

Needs are necessary, never sufficient: rows are always checked by the condition in SQL. A part of a filter that says
nothing simple (an exclusion, a range, a network) needs nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from storage.bloom import Probe, xxh64
from storage.filters import FIELDS, NETWORK, NUMBER, SOURCE, address_range
from storage.parquet import BLOOM_COLUMNS
from storage.query import Filter, Scope
from storage.sketch import VALUES, Clause, Key, text_key, value_key


@dataclass(frozen=True, slots=True)
class Id:
    """A wanted value of an id column, and its probe in the bloom filter of a Parquet file."""

    text: str
    probe: Probe


@dataclass(frozen=True, slots=True)
class Needs:
    """``ids``: for each id column one of these values; ``clauses``: what a sketch must not exclude."""

    ids: tuple[tuple[str, tuple[Id, ...]], ...] = ()
    clauses: tuple[Clause, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ids or self.clauses)


def needs_of(wanted: Filter, scope: Scope) -> Needs:
    """Return what every row that matches shows."""
    included: dict[str, list[str]] = {}
    for item in wanted.terms:
        if not item.exclude:
            included.setdefault(item.field, []).append(item.value)
    ids: list[tuple[str, tuple[Id, ...]]] = []
    clauses: list[Clause] = []
    for name, values in included.items():
        column = FIELDS[name].column
        if column in BLOOM_COLUMNS:
            ids.append((column, tuple(Id(value, Probe.of(xxh64(_bytes(value)))) for value in values)))
        elif keys := _keys(name, values):
            clauses.append(keys)
    if scope.tenant is not None:
        clauses.append((value_key("tenant", _bytes(scope.tenant)),))
    if wanted.search is not None and (key := text_key(wanted.search)) is not None:
        clauses.append((key,))
    return Needs(tuple(ids), tuple(clauses))


def _keys(name: str, values: list[str]) -> Clause:
    """Return the alternatives of one field; nothing if one of its values cannot be told by a sketch."""
    field = FIELDS[name]
    columns = (field.column, f"{field.column}_file") if field.kind is SOURCE else (field.column,)
    if any(column not in VALUES for column in columns):
        return ()
    keys: list[Key] = []
    for value in values:
        if field.kind is NETWORK:
            if ipaddress.ip_network(value).num_addresses != 1:
                return ()
            texts = [address_range(value)[0]]
        elif field.kind is NUMBER:
            texts = [str(int(value)).encode()]
        else:
            texts = [_bytes(value)]
        keys += [value_key(column, text) for column in columns for text in texts]
    return tuple(keys)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
