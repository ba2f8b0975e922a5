"""What of a search is the same as plain filters: a value of a parameter, a range of time or risk, one text, one person.

`lift` moves those out of the expression, so that a filter has one form however it was asked: by parameters, by a
search, or by both. `lower` is the way back, for printing a filter as one search.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from parsers import fields
from parsers.expression import Comparison, Expression, Not, both, conjuncts
from parsers.fields import BETWEEN, CONTAINS, EQUALS, RISK_SCORE, SUBJECT, TEXT_SEARCH, TIMESTAMP
from storage.filters import EXCLUDE, FIELDS, FilterError, Term


@dataclass(frozen=True, slots=True)
class Plain:
    """The plain part of a filter, and the rest as an expression."""

    terms: tuple[Term, ...] = ()
    min_risk: float | None = None
    max_risk: float | None = None
    start_us: int | None = None
    end_us: int | None = None
    search: str | None = None
    subject: str | None = None
    expression: Expression | None = None


NAMES: dict[str, str] = {name: field.name for name, field in fields.PARAMETERS.items()}


def ordered(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Return terms in their one order, each once."""
    return tuple(sorted(set(terms), key=lambda t: (t.field, t.exclude, t.value)))


def lift(given: Plain) -> Plain:
    """Return the same filter with as much as possible of its expression in the plain part, in one normal form.

    A parameter holds one list of wanted values, a filter one text and one person: of several, the least in order
    moves, and the others stay in the expression. Ranges become their intersection.
    """
    start, end, low, high = given.start_us, given.end_us, given.min_risk, given.max_risk
    kept: list[Expression] = []
    wanted: dict[str, list[Comparison]] = {}
    unwanted: set[Term] = set()
    texts: list[Comparison] = []
    persons: list[Comparison] = []
    plain = lower(Plain(terms=given.terms, search=given.search, subject=given.subject))
    for part in dict.fromkeys((*plain, *conjuncts(given.expression))):
        exclude = isinstance(part, Not)
        item = part.part if isinstance(part, Not) else part
        if not isinstance(item, Comparison):
            kept.append(part)
        elif (found := _terms(item, exclude=exclude)) and exclude:
            unwanted.update(found)
        elif found:
            wanted.setdefault(found[0].field, []).append(item)
        elif exclude:
            kept.append(part)
        elif item.field == TIMESTAMP and item.operator == BETWEEN:
            start, end = _narrower(start, end, *(int(v) if v else None for v in item.values))
        elif item.field == RISK_SCORE and item.operator == BETWEEN:
            low, high = _narrower(low, high, *(_number(v) if v else None for v in item.values))
        elif item.field == TEXT_SEARCH and item.operator == CONTAINS:
            texts.append(item)
        elif item.field == SUBJECT and len(item.values) == 1:
            persons.append(item)
        else:
            kept.append(item)
    first = [
        min(items, key=lambda item: item.values) for items in (*wanted.values(), texts, persons) if items
    ]
    others = [item for items in (*wanted.values(), texts, persons) for item in items if item not in first]
    found_terms = [term for item in first for term in _terms(item, exclude=False)]
    by_field = {item.field: item.values[0] for item in first}
    return Plain(
        ordered((*unwanted, *found_terms)),
        low,
        high,
        start,
        end,
        by_field.get(TEXT_SEARCH),
        by_field.get(SUBJECT),
        both((*others, *kept)),
    )


def _terms(item: Comparison, *, exclude: bool) -> tuple[Term, ...]:
    """Return the terms that are the same as a comparison; none when parameters cannot say it."""
    parameter = item.known.parameter
    if item.operator != EQUALS or parameter is None:
        return ()
    for value in item.values:
        if not value or (value.startswith(EXCLUDE) and not exclude):
            return ()
        try:
            if FIELDS[parameter].kind.parse(parameter, value) != value:
                return ()
        except FilterError:
            return ()
    return tuple(Term(parameter, value, exclude) for value in item.values)


def _number(text: str) -> float:
    return float(text) if "." in text else int(text)


def _narrower(low: float | None, high: float | None, *more: float | None) -> tuple[int | None, int | None]:
    lows = [value for value in (low, more[0]) if value is not None]
    highs = [value for value in (high, more[1]) if value is not None]
    return max(lows, default=None), min(highs, default=None)  # type: ignore[return-value]  # times are whole


def lower(given: Plain) -> tuple[Expression, ...]:
    """Return every part of a filter as comparisons that must all hold."""
    parts: list[Expression] = []
    groups: dict[tuple[str, bool], list[str]] = {}
    for item in given.terms:
        groups.setdefault((item.field, item.exclude), []).append(item.value)
    for (name, exclude), values in groups.items():
        found = Comparison(NAMES[name], EQUALS, tuple(sorted(set(values))))
        parts.append(Not(found) if exclude else found)
    for name, low, high in (
        (TIMESTAMP, given.start_us, given.end_us),
        (RISK_SCORE, given.min_risk, given.max_risk),
    ):
        if low is not None or high is not None:
            parts.append(Comparison(name, BETWEEN, (_text(low), _text(high))))
    if given.search is not None:
        parts.append(Comparison(TEXT_SEARCH, CONTAINS, (given.search,)))
    if given.subject is not None:
        parts.append(Comparison(SUBJECT, EQUALS, (given.subject,)))
    return (*parts, *conjuncts(given.expression))


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return format(Decimal(repr(value)).normalize(), "f")
