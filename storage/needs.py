"""What a filter needs: facts about single values and words that every matching row must show, so that files can be skipped.

Needs are necessary, never sufficient: rows are always checked by the condition in SQL. A part of a filter that says
nothing simple (an exclusion, a range, a network) needs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parsers import fields
from parsers.expression import And, Comparison, Expression, Or, conjuncts
from parsers.fields import EQUALS
from storage.bloom import Probe, xxh64
from storage.filters import SEARCHED, address_range
from storage.parquet import BLOOM_COLUMNS
from storage.query import Filter, Scope
from storage.sketch import VALUES, Clause, text_key, value_key

_AS_TEXT = (fields.TEXT, fields.LEVEL, fields.LIST, fields.SOURCE)


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
    equal = [(fields.PARAMETERS[name], tuple(values)) for name, values in included.items()]
    clauses: list[Clause] = []
    for part in conjuncts(wanted.expression):
        if isinstance(part, Comparison) and part.operator == EQUALS and not part.path:
            equal.append((part.known, part.values))
        else:
            clauses += _clauses(part)
    ids: list[tuple[str, tuple[Id, ...]]] = []
    for field, values in equal:
        if field.column in BLOOM_COLUMNS:
            ids.append((field.column, tuple(Id(value, Probe.of(xxh64(_bytes(value)))) for value in values)))
        else:
            clauses += _one_of(field, values)
    if scope.tenant is not None:
        clauses.append((value_key("tenant", _bytes(scope.tenant)),))
    if wanted.search is not None:
        clauses += _within(wanted.search)
    return Needs(tuple(ids), tuple(clauses))


def _clauses(part: Expression) -> list[Clause]:
    """Return what an expression needs; nothing for what sketches cannot tell."""
    match part:
        case And(parts):
            return [clause for inner in parts for clause in _clauses(inner)]
        case Or(parts):
            # One clause of each part: a row for which a part holds fulfils that part's, whichever it is.
            alternatives = [_clauses(inner) for inner in parts]
            return [tuple(key for inner in alternatives for key in inner[0])] if all(alternatives) else []
        case Comparison(operator="equals", path=()):
            return _one_of(part.known, part.values)
        case Comparison(operator="contains", path=()):
            texts = part.field == fields.TEXT_SEARCH or part.known.column in SEARCHED
            return _within(part.values[0]) if texts else []
        case _:
            return []


def _within(text: str) -> list[Clause]:
    """Return the need of a text that must occur in any case in one of the columns that are searched."""
    key = text_key(text)
    return [] if key is None else [(key,)]


def _one_of(field: fields.Field, values: Sequence[str]) -> list[Clause]:
    """Return the need of a field that must equal one of some values; nothing if one of them cannot be told."""
    columns = (field.column, f"{field.column}_file") if field.kind is fields.SOURCE else (field.column,)
    texts = [_stored(field, value) for value in values]
    if None in texts or any(column not in VALUES for column in columns):
        return []
    return [tuple(value_key(column, text) for column in columns for text in texts if text is not None)]


def _stored(field: fields.Field, value: str) -> bytes | None:
    """Return a value as sketches know it; None if it stands for several."""
    if field.kind is fields.ADDRESS:
        low, high = address_range(value)
        return low if low == high else None
    if field.kind is fields.WHOLE:
        return _bytes(str(int(value))) if value.isdecimal() else None
    return _bytes(value) if field.kind in _AS_TEXT else None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
