"""The filters: one table of fields and how each is compared. It drives SQL, validation, messages and documentation.

A value never becomes SQL text: each comparison yields a condition with named places and the values to bind there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsers import fields
from parsers.columns import BY_NAME
from parsers.vocabulary import LEVELS
from storage.errors import QueryError

RISK_BANDS = {
    "low": (None, 30),
    "medium": (31, 70),
    "high": (71, None),
}  # bounds of the original, both inclusive
EXCLUDE = "!"
IPV4_MAPPED = b"\x00" * 10 + b"\xff\xff"  # how an IPv4 address lies in 16 bytes
IPV4_PREFIX_OFFSET = 96  # bits before the IPv4 part of a mapped address
MAX_STATUS = 2**31 - 1


class FilterError(QueryError):
    """A filter's value does not fit its field; ``field`` names the parameter, ``position`` a character of its text.

    ``suggestions`` are texts to give in its place.
    """

    def __init__(
        self,
        field: str,
        what: str,
        hint: str = "",
        *,
        position: int | None = None,
        suggestions: tuple[str, ...] = (),
    ) -> None:
        super().__init__(what, where=field, hint=hint)
        self.field = field
        self.position = position
        self.suggestions = suggestions


class Bind:
    """Collects values for one statement and hands out the place where each is bound."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, value: Any) -> str:
        """Keep a value and return its place, e.g. ``$p3``."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"${name}"

    def time(self, time_us: int) -> str:
        """Keep microseconds since 1970 and return an expression of a time in UTC that prunes row groups."""
        return f"make_timestamptz(CAST({self(time_us)} AS BIGINT))"


Compare = Callable[[str, Sequence[str], Bind], str]


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to compare: ``parse`` checks and normalises one text, ``condition`` is true when any value matches.

    A condition must be true or false, never null, for a column that is null: exclusion is its plain negation.
    """

    name: str
    parse: Callable[[str, str], str]
    condition: Compare
    meaning: str


@dataclass(frozen=True, slots=True)
class Field:
    """One filter: its parameter name, the column it looks at, how, and whether its values are rare (ids)."""

    name: str
    column: str
    kind: Kind
    meaning: str
    rare: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """One wanted (or unwanted) value of a field."""

    field: str
    value: str
    exclude: bool = False


def quote(column: str) -> str:
    """Return a column name as a quoted identifier."""
    return f'"{column}"'


def _any_text(_field: str, text: str) -> str:
    return text


def _level(field: str, text: str) -> str:
    if text in LEVELS:
        return text
    raise FilterError(field, f"{text!r} is not a level", f"use one of {', '.join(LEVELS)}")


def _band(field: str, text: str) -> str:
    if text in RISK_BANDS:
        return text
    raise FilterError(field, f"{text!r} is not a risk band", f"use one of {', '.join(RISK_BANDS)}")


def _whole_number(field: str, text: str) -> str:
    if text.isascii() and text.isdigit() and int(text) <= MAX_STATUS:
        return str(int(text))
    raise FilterError(field, f"{text!r} is not a whole number", "for example 404")


def _network(field: str, text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise FilterError(
            field, f"{text!r} is neither an address nor a network", "for example 10.1.2.3 or 10.0.0.0/8"
        ) from None


def address_range(network: str) -> tuple[bytes, bytes]:
    """Return the first and last address of a network as 16 bytes each; IPv4 lies mapped inside IPv6."""
    parsed = ipaddress.ip_network(network, strict=False)
    low, high = parsed.network_address.packed, parsed.broadcast_address.packed
    if parsed.version == 4:
        return IPV4_MAPPED + low, IPV4_MAPPED + high
    return low, high


def _equal(column: str, values: Sequence[str], bind: Bind) -> str:
    name = quote(column)
    if len(values) == 1:
        return f"({name} IS NOT NULL AND {name} = {bind(values[0])})"
    return f"({name} IS NOT NULL AND {name} IN ({', '.join(bind(value) for value in values)}))"


def _equal_number(column: str, values: Sequence[str], bind: Bind) -> str:
    name = quote(column)
    return f"({name} IS NOT NULL AND {name} IN ({', '.join(bind(int(value)) for value in values)}))"


def _inside(column: str, values: Sequence[str], bind: Bind) -> str:
    name = quote(column)
    ranges: list[str] = []
    for value in values:
        low, high = address_range(value)
        ranges.append(
            f"{name} = {bind(low)}" if low == high else f"{name} BETWEEN {bind(low)} AND {bind(high)}"
        )
    return f"({name} IS NOT NULL AND ({' OR '.join(ranges)}))"


def _listed(column: str, values: Sequence[str], bind: Bind) -> str:
    name = quote(column)
    return (
        "(" + " OR ".join(f"coalesce(list_contains({name}, {bind(value)}), FALSE)" for value in values) + ")"
    )


def _in_band(column: str, values: Sequence[str], bind: Bind) -> str:
    ranges = (RISK_BANDS[band] for band in values)
    return f"({' OR '.join(between(column, low, high, bind) for low, high in ranges)})"


def _source(column: str, values: Sequence[str], bind: Bind) -> str:
    places = ", ".join(bind(value) for value in values)
    return f"({quote(column)} IN ({places}) OR {quote(column + '_file')} IN ({places}))"


TEXT = Kind("text", _any_text, _equal, "equal as text, case matters")
LEVEL = Kind("level", _level, _equal, "one of the five levels")
NUMBER = Kind("number", _whole_number, _equal_number, "a whole number")
NETWORK = Kind("address", _network, _inside, "an address or a network in CIDR form")
BAND = Kind("band", _band, _in_band, "low (0-30), medium (31-70) or high (71-100)")
LIST = Kind("list", _any_text, _listed, "one of the labels, equal as text")
SOURCE = Kind("source", _any_text, _source, "a source's id or file name")

_KINDS = {
    fields.TEXT: TEXT,
    fields.LEVEL: LEVEL,
    fields.WHOLE: NUMBER,
    fields.ADDRESS: NETWORK,
    fields.RISK: BAND,
    fields.LIST: LIST,
    fields.SOURCE: SOURCE,
}
FIELDS: dict[str, Field] = {
    name: Field(name, field.column, _KINDS[field.kind], field.meaning, field.rare)
    for name, field in fields.PARAMETERS.items()
}
SEARCHED = ("description", "entity_name", "username")

assert all(field.column in BY_NAME for field in FIELDS.values())


def term(name: str, text: str) -> Term:
    """Check one text of a field and return it as a term; a leading ``!`` excludes. Raises FilterError."""
    if name not in FIELDS:
        raise FilterError(name, f"there is no filter {name!r}", f"known filters: {', '.join(FIELDS)}")
    exclude = text.startswith(EXCLUDE)
    value = text.removeprefix(EXCLUDE) if exclude else text
    if not value:
        raise FilterError(name, "the value is empty")
    return Term(name, FIELDS[name].kind.parse(name, value), exclude)


def conditions(terms: Sequence[Term], bind: Bind, *, columns: Mapping[str, str] | None = None) -> list[str]:
    """Return one condition for each field and sign among the terms.

    ``columns`` says which fields lie, as plain text, in a column of another name (as in roll-ups).
    """
    grouped: dict[tuple[str, bool], list[str]] = {}
    for item in terms:
        grouped.setdefault((item.field, item.exclude), []).append(item.value)
    result: list[str] = []
    for (name, exclude), values in grouped.items():
        field = FIELDS[name]
        if columns and name in columns:
            condition = TEXT.condition(columns[name], values, bind)
        else:
            condition = field.kind.condition(field.column, values, bind)
        result.append(f"NOT {condition}" if exclude else condition)
    return result


def between(column: str, low: float | None, high: float | None, bind: Bind) -> str:
    """Return the condition that a number lies between two bounds, each inclusive or absent; null lies nowhere."""
    name = quote(column)
    parts = [f"{name} IS NOT NULL"]
    if low is not None:
        parts.append(f"{name} >= {bind(low)}")
    if high is not None:
        parts.append(f"{name} <= {bind(high)}")
    return f"({' AND '.join(parts)})"


def search_condition(text: str, bind: Bind) -> str:
    """Return the condition that a text occurs, in any case, in description, entity name or username."""
    place = bind(text)
    found = (f"coalesce(contains(lower({quote(column)}), lower({place})), FALSE)" for column in SEARCHED)
    return f"({' OR '.join(found)})"
