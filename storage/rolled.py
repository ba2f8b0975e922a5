"""Query shapes that sum roll-ups and rows into one relation of keys and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.comparing import bands_between, condition
from storage.filters import TEXT, Bind, conditions, quote
from storage.query import Filter, Scope
from storage.rollups import LOW_RISK_TO, MEDIUM_RISK_TO, NAME_PREFIX, Family
from storage.scope import View
from storage.sql import FILE, TIME, Statement, scope_conditions, source, where

EVENTS = quote("events")
KEY = quote("key")
NAME = quote("name")

# Filters whose column goes by another name in a roll-up.
ROLLED_COLUMNS = {"risk": "risk"}

RISK_BAND = (
    f"CASE WHEN {quote('risk_score')} IS NULL THEN NULL WHEN {quote('risk_score')} <= {LOW_RISK_TO} THEN 'low' "
    f"WHEN {quote('risk_score')} <= {MEDIUM_RISK_TO} THEN 'medium' ELSE 'high' END"
)


@dataclass(frozen=True, slots=True)
class Dimension:
    """Something to count by: its name in the result, and its expression over roll-up rows and over event rows."""

    name: str
    rolled: str
    row: str


DIMENSIONS = {
    **{
        name: Dimension(name, quote(name), quote(name)) for name in ("level", "category", "action", "outcome")
    },
    "risk": Dimension("risk", quote("risk"), RISK_BAND),
}


def bucket(step_us: int) -> Dimension:
    """Count by buckets of ``step_us``, named by their start in microseconds since 1970."""
    rolled, row = (f"epoch_us({name}) // {step_us} * {step_us}" for name in (quote("bucket"), TIME))
    return Dimension("bucket", f"CAST({rolled} AS BIGINT)", f"CAST({row} AS BIGINT)")


# The key and name of families, as expressions over event rows.
_USER = (
    f"coalesce({quote('user_id')}, '{NAME_PREFIX}' || {quote('username')})",
    quote("username"),
)
_NO_NAME = "CAST(NULL AS VARCHAR)"
KEYS: dict[tuple[str, ...], tuple[str, str]] = {
    ("user_id", "username"): _USER,
    ("country_code",): (quote("country_code"), _NO_NAME),
    ("ip",): (quote("ip"), _NO_NAME),
    ("entity_id", "entity_type"): (quote("entity_id"), quote("entity_type")),
}


def key_and_name(family: Family) -> tuple[Dimension, Dimension]:
    """Count by a family's key and name."""
    key, name = KEYS[family.keys]
    return Dimension("key", KEY, key), Dimension("name", NAME, name)


@dataclass(frozen=True, slots=True)
class Sums:
    """Roll-ups that answer a part of a count: their paths, the family, and which buckets of it (None: all)."""

    family: Family
    paths: tuple[str, ...]
    low_us: int | None = None
    high_us: int | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a count consists of: roll-ups, and views whose rows are read. No event is in two of them."""

    sums: tuple[Sums, ...]
    rows: tuple[View, ...]


def _family(sums: Sums, bind: Bind) -> str:
    present = f" AND {KEY} IS NOT NULL" if sums.family.keys else ""
    return f"{quote('family')} = {bind(sums.family.name)}{present}"


def _counts(sums: Sums, wanted: Filter, scope: Scope, bind: Bind) -> str:
    """Return the condition that a roll-up row counts. The filter must lie inside the family's dimensions."""
    parts: list[str] = []
    if sums.low_us is not None:
        parts.append(f"{quote('bucket')} >= {bind.time(sums.low_us)}")
    if sums.high_us is not None:
        parts.append(f"{quote('bucket')} < {bind.time(sums.high_us)}")
    parts += scope_conditions(scope, bind)
    parts += conditions(wanted.terms, bind, columns=ROLLED_COLUMNS)
    if wanted.min_risk is not None or wanted.max_risk is not None:
        bands = bands_between(wanted.min_risk, wanted.max_risk) or ()
        parts.append(TEXT.condition(ROLLED_COLUMNS["risk"], bands, bind) if bands else "FALSE")
    if wanted.expression is not None:
        parts.append(condition(wanted.expression, bind, columns=ROLLED_COLUMNS))
    return " AND ".join(parts) if parts else "TRUE"


def _from_rows(
    view: View,
    wanted: Filter,
    scope: Scope,
    by: Sequence[Dimension],
    key: str | None,
    bind: Bind,
    more: str = "",
) -> str:
    chosen = "".join(f"{item.row} AS {quote(item.name)}, " for item in by)
    present = f" AND {key} IS NOT NULL" if key else ""
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    group = " GROUP BY ALL" if by else ""
    return f"SELECT {chosen}count(*) AS {EVENTS}{more} FROM {from_item} WHERE {condition}{present}{group}"


def union(
    parts: Parts,
    wanted: Filter,
    scope: Scope,
    by: Sequence[Dimension],
    bind: Bind,
    *,
    keyed: Family | None = None,
) -> str:
    """Return a relation of the dimensions and ``events``, several rows for a combination.

    With ``keyed``, rows without a key of that family are left out.
    """
    key = KEYS[keyed.keys][0] if keyed else None
    texts: list[str] = []
    for sums in parts.sums:
        chosen = "".join(f"{item.rolled} AS {quote(item.name)}, " for item in by)
        files = f"read_parquet({bind(list(sums.paths))})"
        condition = f"{_family(sums, bind)} AND {_counts(sums, wanted, scope, bind)}"
        texts.append(f"SELECT {chosen}{EVENTS} FROM {files} WHERE {condition}")
    texts += [_from_rows(view, wanted, scope, by, key, bind) for view in parts.rows]
    if not texts:
        nothing = "".join(f"CAST(NULL AS VARCHAR) AS {quote(item.name)}, " for item in by)
        texts.append(f"SELECT {nothing}0 AS {EVENTS} WHERE FALSE")
    return f"({' UNION ALL '.join(texts)})"


def cells(parts: Parts, wanted: Filter, scope: Scope, by: Sequence[Dimension]) -> Statement:
    """Return (dimensions…, events) for each combination that occurs; without dimensions one row, the total."""
    bind = Bind()
    relation = union(parts, wanted, scope, by, bind)
    names = "".join(f"{quote(item.name)}, " for item in by)
    total = f"CAST(coalesce(sum({EVENTS}), 0) AS BIGINT)"
    group = " GROUP BY ALL" if by else ""
    return Statement(f"SELECT {names}{total} FROM {relation}{group}", bind.values)


def bounds(sums: Sums) -> Statement:
    """Return (place of the file, at_most) of each roll-up that left keys of its family out."""
    bind = Bind()
    return Statement(
        f"SELECT {FILE}, {quote('at_most')} FROM read_parquet({bind(list(sums.paths))}) "
        f"WHERE {quote('family')} = {bind(sums.family.name)} AND {KEY} IS NULL",
        bind.values,
    )


def heavy(
    parts: Parts, at_most: Sequence[Sequence[int]], family: Family, wanted: Filter, scope: Scope
) -> Statement:
    """Return (key, name, events, known) of every key of a heavy family that is known.

    ``at_most`` has, for each of the parts' sums, the bound of each file (0: it left nothing out); ``known`` is the sum
    of the bounds of the files that have the key, which therefore cannot hide more of it.
    """
    bind = Bind()
    texts: list[str] = []
    for sums, limits in zip(parts.sums, at_most, strict=True):
        files = f"read_parquet({bind(list(sums.paths))})"
        counted = f"sum(CASE WHEN {_counts(sums, wanted, scope, bind)} THEN {EVENTS} ELSE 0 END)"
        texts.append(
            f"SELECT {KEY}, {NAME}, {counted} AS {EVENTS}, "
            f"any_value(list_extract({bind(list(limits))}, CAST({FILE} + 1 AS BIGINT))) AS known "
            f"FROM {files} WHERE {_family(sums, bind)} GROUP BY {KEY}, {NAME}, {FILE}"
        )
    key, _ = KEYS[family.keys]
    by = key_and_name(family)
    texts += [_from_rows(view, wanted, scope, by, key, bind, more=", 0 AS known") for view in parts.rows]
    if not texts:
        texts.append(f"SELECT NULL AS {KEY}, NULL AS {NAME}, 0 AS {EVENTS}, 0 AS known WHERE FALSE")
    return Statement(
        f"SELECT {KEY}, {NAME}, CAST(sum({EVENTS}) AS BIGINT) AS {EVENTS}, CAST(sum(known) AS BIGINT) AS known "
        f"FROM ({' UNION ALL '.join(texts)}) GROUP BY {KEY}, {NAME}",
        bind.values,
    )


def having(sums: Sums, keys: Sequence[str]) -> Statement:
    """Return (place of the file, key, name) wherever a roll-up has one of these keys."""
    bind = Bind()
    places = ", ".join(bind(key) for key in keys)
    return Statement(
        f"SELECT DISTINCT {FILE}, {KEY}, {NAME} FROM read_parquet({bind(list(sums.paths))}) "
        f"WHERE {quote('family')} = {bind(sums.family.name)} AND {KEY} IN ({places})",
        bind.values,
    )
