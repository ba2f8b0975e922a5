"""Values of comparisons: checked against the kind of their field and brought into one normal form.

`compare` takes what a person wrote, in a search or a form, and returns the comparison it means. Whole numbers, times
and levels have neighbours, so that "more than" becomes "not less than the next" and there are fewer forms to handle.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Sequence
from decimal import Decimal

from parsers.expression import Comparison, looks_inside, pattern_parts, spelled, unescaped
from parsers.fields import (
    ABOVE,
    ADDRESS,
    BELOW,
    BETWEEN,
    BY_NAME,
    CONTAINS,
    EQUALS,
    EXISTS,
    JSON,
    LEVEL,
    MATCHES,
    OPERATORS,
    PERSON,
    REAL,
    REGEX,
    RISK,
    SEARCH,
    SOURCE,
    TIME,
    WHOLE,
    Field,
)
from parsers.moments import FIRST_US, LAST_US, is_date, parse_time
from parsers.moments import HINT as TIME_HINT
from parsers.regexes import check_regex
from parsers.vocabulary import LEVELS

BANDS = ("low", "medium", "high")
GREATEST = 2**53  # beyond it a DOUBLE skips whole numbers, and equal would no longer mean equal
_NUMBER = re.compile(r"-?[0-9]{1,16}(?:\.[0-9]{1,9})?")
_LONG_NUMBER = re.compile(r"-?[0-9]{17,}(?:\.[0-9]+)?")
_ORDERED = (BETWEEN, ABOVE, BELOW)


class ValueProblem(ValueError):  # noqa: N818 - it is a problem of a value, told to a person
    """A value does not fit its field: ``what`` is wrong and a ``hint`` what to write."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def compare(
    name: str, path: tuple[str, ...], operator: str, values: Sequence[str], *, now_us: int
) -> Comparison:
    """Return the comparison of one field of `parsers.fields.BY_NAME` in normal form; raises ValueProblem."""
    field = BY_NAME[name]
    _check_operator(field, path, operator)
    given = tuple(values)
    if operator == EXISTS:
        return Comparison(name, EXISTS, (), path)
    if not given or (operator != EQUALS and len(given) != (2 if operator == BETWEEN else 1)):
        raise ValueProblem(f"{name} needs a value", f"for example {field.kind.example}")
    match operator:
        case "equals":
            return _equals(field, path, given, now_us)
        case "contains":
            return _contains(field, path, given[0])
        case "matches":
            return _matches(field, path, given[0])
        case "regex":
            try:
                check_regex(given[0])
            except ValueError as error:
                raise ValueProblem(str(error), "it is RE2: no look-around, no references back") from None
            return Comparison(name, REGEX, given, path)
        case _:
            return _ordered(field, path, operator, given, now_us)


def takes(field: Field, path: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the operators that a field takes; the whole of a JSON field has no order."""
    operators = field.kind.operators
    return tuple(o for o in operators if o not in _ORDERED) if field.kind is JSON and not path else operators


def _check_operator(field: Field, path: tuple[str, ...], operator: str) -> None:
    possible = takes(field, path)
    if operator not in possible:
        name = spelled(field.name, path)
        hint = f"it takes {', '.join(OPERATORS[o].sign.replace('field', name) for o in possible)}"
        if field.kind is ADDRESS:
            hint = "write a network such as 10.0.0.0/8"
        elif field.kind is WHOLE and operator in {CONTAINS, MATCHES}:
            hint = f"write a range such as {name}:500..599"
        elif field.kind is JSON and operator in _ORDERED:
            hint = f"name the member: {name}.member:>1"
        raise ValueProblem(f"{name} cannot be asked by {OPERATORS[operator].label!r}", hint)


def number(text: str) -> str:
    """Return a number in its one form, without needless digits. Raises ValueProblem."""
    if _NUMBER.fullmatch(text) and abs(value := Decimal(text)) <= GREATEST:
        found = format(value, "f")
        found = found.rstrip("0").rstrip(".") if "." in found else found
        sign, digits = ("-", found[1:]) if found.startswith("-") else ("", found)
        digits = digits.lstrip("0") or "0"
        return "0" if digits == "0" else sign + (f"0{digits}" if digits.startswith(".") else digits)
    if _NUMBER.fullmatch(text) or _LONG_NUMBER.fullmatch(text):
        raise ValueProblem(f"{text} is too large a number", "numbers reach to 2^53 on both sides of 0")
    raise ValueProblem(f"{text!r} is not a number", "for example 404, -3 or 0.5")


def network(text: str) -> str:
    """Return an address or a network in CIDR form. Raises ValueProblem."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueProblem(
            f"{text!r} is neither an address nor a network", "for example 10.1.2.3 or 10.0.0.0/8"
        ) from None


def level(text: str) -> str:
    """Return one of the five levels. Raises ValueProblem."""
    if text.lower() in LEVELS:
        return text.lower()
    raise ValueProblem(f"{text!r} is not a level", f"use one of {', '.join(LEVELS)}")


def _whole(text: str) -> str:
    found = number(text)
    if "." in found:
        raise ValueProblem(f"{text!r} is not a whole number", "for example 404")
    return found


def _risk(text: str) -> str:
    if text.lower() in BANDS:
        return text.lower()
    try:
        return number(text)
    except ValueProblem:
        raise ValueProblem(f"{text!r} is no risk", f"a number from 0 to 100, or {', '.join(BANDS)}") from None


def _given(text: str) -> str:
    if not text:
        raise ValueProblem("the value is empty")
    return text


_EQUALS = {
    LEVEL: level,
    WHOLE: _whole,
    REAL: number,
    RISK: _risk,
    ADDRESS: network,
    SOURCE: _given,
    PERSON: _given,
}


def _equals(field: Field, path: tuple[str, ...], values: tuple[str, ...], now_us: int) -> Comparison:
    if field.kind is TIME:
        first, *more = values
        if more:
            raise ValueProblem("one time at a time", "write two comparisons with OR between")
        low, high = (_time(first, now_us, end=end) for end in (False, True))
        return Comparison(field.name, BETWEEN, (str(low), str(high)), path)
    normal = _EQUALS.get(field.kind)
    found = {normal(value) if normal else value for value in values}
    return Comparison(field.name, EQUALS, tuple(sorted(found)), path)


def _contains(field: Field, path: tuple[str, ...], text: str) -> Comparison:
    if text:
        return Comparison(field.name, CONTAINS, (text,), path)
    if field.kind is SEARCH:
        raise ValueProblem("there is nothing to look for", "write a word")
    return Comparison(field.name, EXISTS, (), path)


def _matches(field: Field, path: tuple[str, ...], pattern: str) -> Comparison:
    parts = [unescaped(part) for part in pattern_parts(pattern)]
    first, *middle, last = parts if len(parts) > 1 else (parts[0], "")
    inner = [part for part in middle if part]
    if looks_inside(field, path):  # found anywhere in a text, so stars around it say nothing
        kept = [part for part in (first, *inner, last) if part]
        if len(kept) <= 1:
            return _contains(field, path, "".join(kept))
        return Comparison(field.name, MATCHES, (_joined(kept),), path)
    if len(parts) == 1:
        raise ValueProblem("there is no * in the pattern", "write * where any text may stand")
    if not first and not last and len(inner) <= 1:
        return _contains(field, path, "".join(inner))
    return Comparison(field.name, MATCHES, (_joined([first, *inner, last]),), path)


def _joined(parts: Sequence[str]) -> str:
    return "*".join(part.replace("\\", "\\\\").replace("*", "\\*") for part in parts)


def _ordered(
    field: Field, path: tuple[str, ...], operator: str, values: tuple[str, ...], now_us: int
) -> Comparison:
    if field.kind is LEVEL:
        return _levels(field, operator, values)
    if operator == BETWEEN:
        if not any(values):
            raise ValueProblem("the range has neither a first nor a last value", "write 1..5, 1.. or ..5")
        low, high = values
        ends = (
            _end(field, low, now_us, end=False) if low else "",
            _end(field, high, now_us, end=True) if high else "",
        )
        return Comparison(field.name, BETWEEN, ends, path)
    if field.kind is TIME:
        above = operator == ABOVE
        edge = _time(values[0], now_us, end=above) + (1 if above else -1)
        if not FIRST_US <= edge <= LAST_US:
            raise ValueProblem("no time is beyond that", "years are 1 to 9999")
        return Comparison(field.name, BETWEEN, (str(edge), "") if above else ("", str(edge)), path)
    text = _edge(field, values[0])
    if field.kind in {WHOLE, RISK}:
        value = Decimal(text)
        if operator == ABOVE:
            return Comparison(field.name, BETWEEN, (str(math.floor(value) + 1), ""), path)
        return Comparison(field.name, BETWEEN, ("", str(math.ceil(value) - 1)), path)
    return Comparison(field.name, operator, (text,), path)


def _levels(field: Field, operator: str, values: tuple[str, ...]) -> Comparison:
    ranks = [LEVELS.index(level(value)) if value else None for value in values]
    low, high = ranks if operator == BETWEEN else (ranks[0], None) if operator == ABOVE else (None, ranks[0])
    first = 0 if low is None else low + (operator == ABOVE)
    last = len(LEVELS) - 1 if high is None else high - (operator == BELOW)
    found = LEVELS[first : last + 1]
    if not found:
        raise ValueProblem("no level is in this range", f"from low to high: {', '.join(LEVELS)}")
    return Comparison(field.name, EQUALS, tuple(sorted(found)))


def _end(field: Field, text: str, now_us: int, *, end: bool) -> str:
    return str(_time(text, now_us, end=end)) if field.kind is TIME else _edge(field, text)


def _edge(field: Field, text: str) -> str:
    """Return the number at one end of a range."""
    if field.kind is RISK and text.lower() in BANDS:
        raise ValueProblem(
            f"{text!r} is a band, and a range takes numbers", "low is 0..30, medium 31..70, high 71..100"
        )
    return number(text)


def _time(text: str, now_us: int, *, end: bool) -> int:
    try:
        return parse_time(text, now_us=now_us, end=end and is_date(text))
    except ValueError as error:
        raise ValueProblem(str(error), TIME_HINT) from None
