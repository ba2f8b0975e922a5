"""Query shapes that sum roll-ups and rows into one relation of keys and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parsers.entityrisk import MOST_POINTS
from storage.comparing import bands_between, condition
from storage.filters import TEXT, Bind, conditions, quote
from storage.query import Filter, Scope
from storage.rollups import FEW, LOW_RISK_TO, MEDIUM_RISK_TO, NAME_PREFIX, Family
from storage.scope import View, path_of
from storage.snapshot import File, Hot
from storage.sql import TIME, Statement, scope_conditions, source, where

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
# The score itself; the roll-ups that have it are those of risky events alone.
SCORE = Dimension("score", f"CAST({quote('risk')} AS BIGINT)", f"least({quote('risk_score')}, {MOST_POINTS})")


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
    ("has_address",): (f"CASE WHEN {quote('ip')} IS NOT NULL THEN 'ip' END", _NO_NAME),
    **{(column,): (f"CAST({quote(column)} AS VARCHAR)", _NO_NAME) for column in FEW},
}


def key_and_name(family: Family) -> tuple[Dimension, Dimension]:
    """Count by a family's key and name."""
    key, name = KEYS[family.keys]
    return Dimension("key", KEY, key), Dimension("name", NAME, name)


@dataclass(frozen=True, slots=True)
class Sums:
    """Roll-ups that answer a part of a count: their paths, the family, and which buckets of it (None: all)."""

    family: Family
    root: str
    files: tuple[File, ...]
    low_us: int | None = None
    high_us: int | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The absolute paths of the roll-ups."""
        return tuple(path_of(self.root, file) for file in self.files)


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a count consists of: roll-ups, and views whose rows are read. No event is in two of them.

    ``hot`` are batches that count as if they had a roll-up, of the family ``hot_family``; no statement knows of them.
    """

    sums: tuple[Sums, ...]
    rows: tuple[View, ...]
    hot: tuple[Hot, ...] = ()
    hot_family: Family | None = None


def _family(sums: Sums, bind: Bind) -> str:
    present = f" AND {KEY} IS NOT NULL" if sums.family.keys else ""
    return f"{quote('family')} = {bind(sums.family.name)}{present}"


def words_condition(wanted: Filter, scope: Scope, bind: Bind) -> str:
    """Return the condition on a roll-up's words. The filter must lie inside the family's dimensions."""
    parts = [*scope_conditions(scope, bind), *conditions(wanted.terms, bind, columns=ROLLED_COLUMNS)]
    if wanted.min_risk is not None or wanted.max_risk is not None:
        bands = bands_between(wanted.min_risk, wanted.max_risk) or ()
        parts.append(TEXT.condition(ROLLED_COLUMNS["risk"], bands, bind) if bands else "FALSE")
    if wanted.expression is not None:
        parts.append(condition(wanted.expression, bind, columns=ROLLED_COLUMNS))
    return " AND ".join(parts) if parts else "TRUE"


def _counts(sums: Sums, wanted: Filter, scope: Scope, bind: Bind) -> str:
    """Return the condition that a roll-up row counts."""
    parts: list[str] = []
    if sums.low_us is not None:
        parts.append(f"{quote('bucket')} >= {bind.time(sums.low_us)}")
    if sums.high_us is not None:
        parts.append(f"{quote('bucket')} < {bind.time(sums.high_us)}")
    return " AND ".join([*parts, words_condition(wanted, scope, bind)])


def _from_rows(
    view: View,
    wanted: Filter,
    scope: Scope,
    by: Sequence[Dimension],
    key: str | None,
    bind: Bind,
    among: Sequence[str] = (),
) -> str:
    chosen = "".join(f"{item.row} AS {quote(item.name)}, " for item in by)
    present = f" AND {key} IS NOT NULL" if key else ""
    if among:
        present += f" AND {key} IN ({', '.join(bind(text) for text in among)})"
    from_item = source(view, bind)
    condition = where(view, wanted, scope, bind)
    group = " GROUP BY ALL" if by else ""
    return f"SELECT {chosen}count(*) AS {EVENTS} FROM {from_item} WHERE {condition}{present}{group}"


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


def cells(
    parts: Parts, wanted: Filter, scope: Scope, by: Sequence[Dimension], *, keyed: Family | None = None
) -> Statement:
    """Return (dimensions…, events) for each combination that occurs; without dimensions one row, the total.

    With ``keyed``, rows without a key of that family are left out.
    """
    bind = Bind()
    relation = union(parts, wanted, scope, by, bind, keyed=keyed)
    names = "".join(f"{quote(item.name)}, " for item in by)
    total = f"CAST(coalesce(sum({EVENTS}), 0) AS BIGINT)"
    group = " GROUP BY ALL" if by else ""
    return Statement(f"SELECT {names}{total} AS {EVENTS} FROM {relation}{group}", bind.values)


def occurrences(view: View, wanted: Filter, scope: Scope, family: Family, keys: Sequence[str]) -> Statement:
    """Return (key, name, events) of rows with one of these keys of a family."""
    bind = Bind()
    key, _ = KEYS[family.keys]
    return Statement(_from_rows(view, wanted, scope, key_and_name(family), key, bind, keys), bind.values)
