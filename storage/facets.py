"""Facets: the values of fields with how often each occurs, for narrowing a list further.

Where roll-ups have a field they answer. All other fields are counted in one scan, which has a time limit of its own:
a facet that takes too long is left out and says so, and the others stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as member
from typing import Any

import duckdb

from parsers.columns import BY_NAME
from storage.comparing import pointer
from storage.errors import MaskedError
from storage.filters import FIELDS, Bind, FilterError, quote
from storage.masking import Mask
from storage.material import Material
from storage.plan import RANKINGS, SCAN, WORDS, family_for
from storage.planner import Planner
from storage.query import Filter, Scope
from storage.rolled import DIMENSIONS
from storage.scope import view
from storage.sheets import Sheets
from storage.snapshot import Snapshot
from storage.sql import Statement, source, where
from storage.treatments import HIDDEN, TREATMENTS, hidden_from

MAX_FIELDS = 16  # of one question
MAX_TOP = 100
# Fields whose values roll-ups rank, by the ranking; of the addresses they keep the heavy ones only.
RANKED = {
    "username": "users",
    "country": "countries",
    "ip": "addresses",
    "method": "method",
    "status_code": "status_code",
    "entity_type": "entity_type",
    "server": "server",
    "environment": "environment",
    "source": "source_file",
}
SPREAD = "tag"  # an event may have several: counted apart from the others
JSON_FIELD = "metadata."
_COLUMN_OF = {
    "ip": "ip",
    "source": "source_file",
}  # of a field, where it is not the column that its filter compares
MASKED_BY_VALUE = ("person", "session", "network")  # treatments that know a value without its event
_MAX_PATH_CHARS = 256
_NESTED = ("ip_bytes", "tags", "flags", "risk_reasons")
# A key below metadata, as it is or, as in searches, in quotes.
_KEY = re.compile(r'\.(?:"((?:[^"\\\x00-\x1f]|\\.)*)"(?=\.|$)|([^."\x00-\x1f][^.\x00-\x1f]*))')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Counted:
    """A value and how many events have it."""

    value: str
    events: int


@dataclass(frozen=True, slots=True)
class Facet:
    """The most frequent values of a field (ties by value), how many events have others, and how many have none."""

    values: tuple[Counted, ...] = ()
    other: int = 0
    missing: int = 0
    distinct: int | None = None  # how many values there are, if that is known
    answered_by: str = SCAN
    timed_out: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as the API has it."""
        return {
            "values": [{"value": item.value, "count": item.events} for item in self.values],
            "other": self.other,
            "missing": self.missing,
            "distinct": self.distinct,
            "answeredBy": self.answered_by,
            "timed_out": self.timed_out,
        }


@dataclass(frozen=True, slots=True)
class FacetQuery:
    """Which fields of which events. With ``exclude_own``, a filter on a field does not count for the field itself."""

    fields: tuple[str, ...]
    filter: Filter
    scope: Scope = member(default_factory=Scope)
    top: int = 10
    exclude_own: bool = False

    def filter_of(self, field: str) -> Filter:
        """Return the filter that counts for a field."""
        if not self.exclude_own:
            return self.filter
        terms = tuple(term for term in self.filter.terms if term.field != field)
        return self.filter if len(terms) == len(self.filter.terms) else replace(self.filter, terms=terms)


@dataclass(frozen=True, slots=True)
class Job:
    """Facets that are found together: from roll-ups, or in one scan with one filter."""

    fields: tuple[str, ...]
    filter: Filter
    rolled: bool


def check(fields: Iterable[str]) -> tuple[str, ...]:
    """Return the fields, each once. Raises FilterError for one that cannot be counted by."""
    chosen = tuple(dict.fromkeys(fields))
    if not chosen or len(chosen) > MAX_FIELDS:
        raise FilterError("fields", f"{len(chosen)} fields", f"name 1 to {MAX_FIELDS}")
    for field in chosen:
        _expression(field, Bind())
    return chosen


def check_masked(query: FacetQuery) -> None:
    """Raise MaskedError if a field would show what its scope sees masked, and cannot be masked value by value."""
    hidden = hidden_from(query.scope)
    refused = [
        field
        for field in query.fields
        if column_of(field) in hidden and TREATMENTS[column_of(field)] not in MASKED_BY_VALUE
    ]
    if refused:
        raise MaskedError(
            f"the role {query.scope.role} may not count by {', '.join(refused)}: their values are masked",
            where=", ".join(refused),
            hint="the role auditor may",
        )


def masked(field: str, facet: Facet, scope: Scope, mask: Mask) -> Facet:
    """Return a facet as its scope may see it; addresses of one network become one value."""
    column = column_of(field)
    if column not in hidden_from(scope):
        return facet
    sums: dict[str, int] = {}
    for item in facet.values:
        value = mask.value(column, item.value) or HIDDEN
        sums[value] = sums.get(value, 0) + item.events
    values = sorted((Counted(value, events) for value, events in sums.items()), key=_order)
    return replace(facet, values=tuple(values), distinct=None)


def column_of(field: str) -> str:
    """Return the column that a field shows."""
    if field.startswith(JSON_FIELD):
        return JSON_FIELD.removesuffix(".")
    return _COLUMN_OF.get(field) or (FIELDS[field].column if field in FIELDS else field)


def jobs(query: FacetQuery) -> list[Job]:
    """Return how to answer, the cheap first: what roll-ups know exactly, what they may have to look up, scans."""
    known: dict[Filter, list[str]] = {}
    looked_up: list[Job] = []
    scans: dict[tuple[Filter, bool], list[str]] = {}
    for field in query.fields:
        wanted = query.filter_of(field)
        if not _rolled(field, wanted):
            scans.setdefault((wanted, field == SPREAD), []).append(field)
        elif field == "ip":
            looked_up.append(Job((field,), wanted, rolled=True))
        else:
            known.setdefault(wanted, []).append(field)
    return [
        *(Job(tuple(fields), wanted, rolled=True) for wanted, fields in known.items()),
        *looked_up,
        *(Job(tuple(fields), wanted, rolled=False) for (wanted, _), fields in scans.items()),
    ]


def answer(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    query: FacetQuery,
    job: Job,
    sheets: Sheets | None = None,
    *,
    roll: bool = True,
) -> dict[str, Facet]:
    """Return the facets of a job. With ``roll`` False everything is read from rows; the numbers are the same."""
    planner = Planner(Material(cursor, snapshot, roll=roll, sheets=sheets))
    if not job.rolled:
        return _scan(cursor, snapshot, query, job, planner)
    return {field: _from_roll_ups(planner, query, field, job.filter) for field in job.fields}


def _rolled(field: str, wanted: Filter) -> bool:
    if field in DIMENSIONS:
        return family_for(WORDS, wanted.names | {field}) is not None
    return field in RANKED and family_for(RANKINGS[RANKED[field]], wanted.names) is not None


def _from_roll_ups(planner: Planner, query: FacetQuery, field: str, wanted: Filter) -> Facet:
    scope, top = query.scope, query.top
    if field in DIMENSIONS:
        rows = dict(planner.counts(wanted, scope, (field,), part=field))
        missing = rows.pop(None, 0)
        found = sorted((Counted(value, events) for value, events in rows.items()), key=_order)
        other = sum(item.events for item in found[top:])
        return Facet(tuple(found[:top]), other, missing, len(found), planner.used.parts[field])
    ranking = RANKED[field]
    ranked = planner.ranked(ranking, wanted, scope, top, by_name=field == "username")
    total = planner.total(wanted, scope, part="total")
    present = ranked.present
    if present is None:  # light addresses are left out, so those that have one are counted apart
        present = sum(item.events for item in planner.ranked("has_address", wanted, scope, 1).top)
    values = tuple(Counted(item.key, item.events) for item in ranked.top)
    other = present - sum(item.events for item in values)
    return Facet(values, other, total - present, ranked.distinct, planner.used.parts[ranking])


def _order(item: Counted) -> tuple[int, str]:
    return -item.events, item.value


def _scan(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, query: FacetQuery, job: Job, planner: Planner
) -> dict[str, Facet]:
    seen = view(snapshot, job.filter, query.scope)
    if seen.empty:
        return {field: Facet(distinct=0) for field in job.fields}
    planner.show_hot()
    bind = Bind()
    names = [quote(f"f{place}") for place in range(len(job.fields))]
    chosen = ", ".join(
        f"{_expression(field, bind)} AS {name}" for field, name in zip(job.fields, names, strict=True)
    )
    rows = f"SELECT {chosen} FROM {source(seen, bind)} WHERE {where(seen, job.filter, query.scope, bind)}"
    # Each set groups by one field; of the others it has null, so that the greatest of all is its value.
    sets = ", ".join(f"({name})" for name in names)
    listed = ", ".join(names)
    text = (
        f"WITH counted AS (SELECT CAST(grouping({listed}) AS BIGINT) AS which, coalesce({listed}, NULL) AS value, "
        f"count(*) AS n FROM ({rows}) GROUP BY GROUPING SETS ({sets})), "
        "ranked AS (SELECT *, row_number() OVER (PARTITION BY which ORDER BY value IS NULL DESC, n DESC, value) AS place, "
        "CAST(sum(n) OVER (PARTITION BY which) AS BIGINT) AS total, count(value) OVER (PARTITION BY which) AS values_ "
        f"FROM counted) SELECT which, value, CAST(n AS BIGINT) AS n, total, CAST(values_ AS BIGINT) AS distinct_ FROM ranked WHERE place <= {bind(query.top + 1)} "
        "ORDER BY which, place"
    )
    found: dict[int, list[tuple[str | None, int, int, int]]] = {}
    for which, *row in Statement(text, bind.values).rows(cursor):
        found.setdefault(which, []).append((row[0], row[1], row[2], row[3]))
    every = (1 << len(names)) - 1
    return {
        field: _facet(found.get(every & ~(1 << (len(names) - 1 - place)), []), query.top)
        for place, field in enumerate(job.fields)
    }


def _facet(rows: Sequence[tuple[str | None, int, int, int]], top: int) -> Facet:
    missing = sum(events for value, events, _, _ in rows if value is None)
    values = tuple(Counted(value, events) for value, events, _, _ in rows if value is not None)[:top]
    total, distinct = (rows[0][2], rows[0][3]) if rows else (0, 0)
    other = total - missing - sum(item.events for item in values)
    return Facet(values, other, missing, distinct)


def _expression(field: str, bind: Bind) -> str:
    """Return a field's text in a row. Raises FilterError for a field that has none."""
    if field in DIMENSIONS:
        return DIMENSIONS[field].row
    if field.startswith(JSON_FIELD):
        return f"json_extract_string({quote('metadata')}, {bind(pointer(_keys(field)))})"
    column = column_of(field)
    if column == "tags":  # one row for each of them, one without any for an event that has none
        labels = quote("tags")
        return f"unnest(CASE WHEN len({labels}) > 0 THEN list_distinct({labels}) ELSE [CAST(NULL AS VARCHAR)] END)"
    if column not in BY_NAME or column in _NESTED:
        raise FilterError(
            "fields", f"{field!r} cannot be counted by", "a filter's name, a column, or metadata.<path>"
        )
    return f"CAST({quote(column)} AS VARCHAR)"


def _keys(field: str) -> tuple[str, ...]:
    """Return the keys of a path into the metadata. Raises FilterError for one that cannot be read."""
    keys: list[str] = []
    at = len(JSON_FIELD) - 1
    while at < len(field) <= _MAX_PATH_CHARS and (found := _KEY.match(field, at)):
        keys.append(found[2] if found[1] is None else _ESCAPED.sub(r"\1", found[1]))
        at = found.end()
    if at < len(field):
        raise FilterError("fields", f"{field!r} is no path into the metadata", "for example metadata.browser")
    return tuple(keys)
