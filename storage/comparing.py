"""Searches as SQL: one function for each operator, whatever the field; values are bound as everywhere.

Every condition is true or false, never null, so that NOT is plain negation and nothing falls between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from parsers import fields
from parsers.expression import And, Comparison, Expression, Not, Or, looks_inside, pattern_parts, unescaped
from parsers.fields import ANYWHERE, EQUALS, MATCHES, REGEX, Field
from parsers.values import BANDS
from storage.filters import (
    NETWORK,
    RISK_BANDS,
    SEARCHED,
    SOURCE,
    TEXT,
    Bind,
    between,
    quote,
)
from storage.subjects import subject_condition

# What `anywhere` looks in: texts that people write or read, and all that the application adds.
ANYWHERE_COLUMNS = (
    *SEARCHED,
    *("user_id", "entity_id", "path", "user_agent", "metadata", "extra", "changes"),
    *("request_headers", "response"),
)
# A number as JSON or a person writes it; anything else, `NaN` above all, is no number and compares with none.
NUMBER = r"^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"
Test = Callable[[str, tuple[str, ...], Bind], str]


def condition(item: Expression, bind: Bind, *, columns: Mapping[str, str] | None = None) -> str:
    """Return the condition that an expression holds.

    ``columns`` says which fields lie, as plain text, in a column of another name (as in roll-ups).
    """
    match item:
        case Not(part):
            return f"NOT {condition(part, bind, columns=columns)}"
        case And(parts):
            return f"({' AND '.join(condition(part, bind, columns=columns) for part in parts)})"
        case Or(parts):
            return f"({' OR '.join(condition(part, bind, columns=columns) for part in parts)})"
        case Comparison():
            return _comparison(item, bind, columns or {})


def key_of(item: Comparison) -> str:
    """Return the name by which a planner knows what a comparison looks at."""
    if item.known.kind is fields.RISK and bands_of(item) is None:
        return "risk_score"
    return item.known.key


def bands_of(item: Comparison) -> tuple[str, ...] | None:
    """Return the risk bands that a comparison of the score is the same as; None when it cuts one in two."""
    if item.operator == EQUALS:
        return item.values if all(value in BANDS for value in item.values) else None
    if item.operator == fields.EXISTS:
        return BANDS
    low, high = (float(value) if value else None for value in item.values)
    return bands_between(low, high)


def bands_between(low: float | None, high: float | None) -> tuple[str, ...] | None:
    """Return the bands that together are a range of scores, bounds inclusive; None when it cuts one in two.

    Scores are whole numbers, so a range from 30.5 begins with 31.
    """
    found: list[str] = []
    for name, (first, last) in RISK_BANDS.items():
        outside = (low is not None and last is not None and last < low) or (
            high is not None and first is not None and first > high
        )
        inside = (low is None or (first is not None and first >= low)) and (
            high is None or (last is not None and last <= high)
        )
        if inside:
            found.append(name)
        elif not outside:
            return None
    return tuple(found)


def _comparison(item: Comparison, bind: Bind, columns: Mapping[str, str]) -> str:
    field = item.known
    kind = field.kind
    if kind is fields.RISK:
        return _risk(item, bind, columns)
    column = columns.get(field.key, field.column)
    if kind is fields.SEARCH:
        names = ANYWHERE_COLUMNS if field.name == ANYWHERE else SEARCHED
        return _any(_tested(item, quote(name), bind) for name in names)
    if kind is fields.PERSON:
        return _any(subject_condition(value, bind) for value in item.values)
    if kind is fields.SOURCE:
        return SOURCE.condition(column, item.values, bind)
    if item.operator == fields.EXISTS and not item.path:
        return f"({quote(column)} IS NOT NULL)"
    if kind is fields.ADDRESS:
        return NETWORK.condition(column, item.values, bind)
    if kind in {fields.TEXT, fields.LEVEL, fields.PROSE} and item.operator == EQUALS:
        return TEXT.condition(column, item.values, bind)
    if kind is fields.TIME:
        return _times(column, item.values, bind)
    if kind in {fields.WHOLE, fields.REAL}:
        return _numbers(item, quote(column), bind)
    if kind is fields.LIST:
        return _listed(item, elements(field), bind)
    if kind is fields.JSON and item.path:
        return _member(item, quote(column), bind)
    return _tested(item, quote(column), bind)


def _any(parts: Iterable[str]) -> str:
    return f"({' OR '.join(parts)})"


def _equals(text: str, values: tuple[str, ...], bind: Bind) -> str:
    return f"coalesce({text} IN ({', '.join(bind(value) for value in values)}), FALSE)"


def _contains(text: str, values: tuple[str, ...], bind: Bind) -> str:
    return f"coalesce(contains(lower({text}), lower({bind(values[0])})), FALSE)"


def _like(text: str, pattern: str, bind: Bind) -> str:
    escape = r" ESCAPE '\'" if "\\" in pattern else ""  # without one DuckDB has faster ways
    return f"coalesce(lower({text}) LIKE lower({bind(pattern)}){escape}, FALSE)"


def _regex(text: str, values: tuple[str, ...], bind: Bind) -> str:
    return f"coalesce(regexp_matches({text}, {bind(values[0])}), FALSE)"


_TESTS: dict[str, Test] = {
    EQUALS: _equals,
    fields.CONTAINS: _contains,
    REGEX: _regex,
    fields.EXISTS: lambda text, _values, _bind: f"({text} IS NOT NULL)",
}


def _tested(item: Comparison, text: str, bind: Bind) -> str:
    """Return the condition that an expression of a text passes."""
    if item.operator == MATCHES:
        return _like(text, like_pattern(item.values[0], around=looks_inside(item.known, item.path)), bind)
    return _TESTS[item.operator](text, item.values, bind)


def like_pattern(pattern: str, *, around: bool) -> str:
    r"""Return a pattern of a search as one of LIKE, `\` its escape; ``around``: found anywhere in a text."""
    parts = [unescaped(part) for part in pattern_parts(pattern)]
    safe = (part.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") for part in parts)
    joined = "%".join(safe)
    return f"%{joined}%" if around else joined


def _bound(text: str, bind: Bind) -> str:
    return bind(float(text) if "." in text else int(text))


def _numbers(item: Comparison, value: str, bind: Bind) -> str:
    """Return the condition on a number, whose expression may be null."""
    tests: list[str] = []
    match item.operator:
        case "equals":
            tests.append(f"{value} IN ({', '.join(_bound(text, bind) for text in item.values)})")
        case "above":
            tests.append(f"{value} > {_bound(item.values[0], bind)}")
        case "below":
            tests.append(f"{value} < {_bound(item.values[0], bind)}")
        case _:
            low, high = item.values
            tests += [f"{value} >= {_bound(low, bind)}"] if low else []
            tests += [f"{value} <= {_bound(high, bind)}"] if high else []
    return f"({value} IS NOT NULL AND {' AND '.join(tests)})"


def _times(column: str, values: tuple[str, ...], bind: Bind) -> str:
    name = quote(column)
    low, high = values
    tests = [f"{name} IS NOT NULL"]
    tests += [f"{name} >= {bind.time(int(low))}"] if low else []
    tests += [f"{name} <= {bind.time(int(high))}"] if high else []
    return f"({' AND '.join(tests)})"


def _risk(item: Comparison, bind: Bind, columns: Mapping[str, str]) -> str:
    field = item.known
    if field.key in columns:
        bands = bands_of(item)
        assert bands is not None  # the planner looked at `key_of`
        return TEXT.condition(columns[field.key], bands, bind) if bands else "FALSE"
    if item.operator == fields.EXISTS:
        return f"({quote(field.column)} IS NOT NULL)"
    if item.operator != EQUALS:
        return _numbers(item, quote(field.column), bind)
    ranges = (
        RISK_BANDS[value] if value in BANDS else (float(Decimal(value)), float(Decimal(value)))
        for value in item.values
    )
    return _any(between(field.column, low, high, bind) for low, high in ranges)


def elements(field: Field) -> str:
    """Return an expression for the texts in a list."""
    name = quote(field.column)
    if field.column == "risk_reasons":
        return f"list_transform({name}, lambda found: struct_extract(found, 'reason'))"
    return name


def _listed(item: Comparison, elements: str, bind: Bind) -> str:
    if item.operator == EQUALS:
        return _any(f"coalesce(list_contains({elements}, {bind(value)}), FALSE)" for value in item.values)
    test = _tested(item, "word", bind)
    return f"coalesce(len(list_filter({elements}, lambda word: {test})) > 0, FALSE)"


def _member(item: Comparison, column: str, bind: Bind) -> str:
    """Return the condition on a member of JSON text; what is no JSON has no members."""
    value = f"TRY(json_extract_string({column}, {bind(pointer(item.path))}))"
    if item.operator in {fields.BETWEEN, fields.ABOVE, fields.BELOW}:
        return _numbers(item, _number(value), bind)
    if item.operator != EQUALS:
        return _tested(item, value, bind)
    places = ", ".join(bind(text) for text in item.values)
    # Most members are no lists: those are not parsed a second time.
    texts = f"TRY(CASE WHEN starts_with({value}, '[') THEN json_transform({value}, '[\"VARCHAR\"]') END)"
    listed = f"list_has_any({texts}, list_value({places}))"
    return f"(coalesce({value} IN ({places}), FALSE) OR coalesce({listed}, FALSE))"


def _number(text: str) -> str:
    """Return an expression for the number that a text is, null for any other text; infinity is none."""
    found = f"TRY_CAST(regexp_extract({text}, '{NUMBER}') AS DOUBLE)"
    return f"CASE WHEN isfinite({found}) THEN {found} END"


def pointer(path: tuple[str, ...]) -> str:
    """Return the JSON pointer (RFC 6901) of a member."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)
