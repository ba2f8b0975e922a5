"""A search as a tree of frozen values: comparisons joined by And, Or and Not; and its text, which parses back to it.

The functions `both`, `either` and `negated` build trees in one normal form: no And directly inside an And, no Or inside
an Or, no double Not, nothing twice, and equal comparisons of one field in an Or joined to one with several values.
`parsers.grammar` reads what `text_of` writes and returns an equal tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from parsers.fields import BY_NAME, EQUALS, TEXT_SEARCH, TIME, Field
from parsers.moments import rfc3339


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field compared with values. ``field`` is a name of `parsers.fields.BY_NAME`, ``path`` the keys below it.

    Values are texts in normal form (`parsers.values`): several only for "equals", where any of them will do; two for
    "between", the first or second empty when there is no such bound; times in microseconds since 1970.
    """

    field: str
    operator: str
    values: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    @property
    def known(self) -> Field:
        """The field in the table."""
        return BY_NAME[self.field]


@dataclass(frozen=True, slots=True)
class Not:
    """True where the part is false; no condition is ever null."""

    part: Expression


@dataclass(frozen=True, slots=True)
class And:
    """True where all parts are."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True where any part is."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = Comparison | Not | And | Or


def negated(part: Expression) -> Expression:
    """Return the opposite."""
    return part.part if isinstance(part, Not) else Not(part)


def both(parts: Iterable[Expression]) -> Expression | None:
    """Return what is true where all parts are; None for no parts."""
    flat = dict.fromkeys(
        inner for part in parts for inner in (part.parts if isinstance(part, And) else (part,))
    )
    return And(tuple(flat)) if len(flat) > 1 else next(iter(flat), None)


def either(parts: Iterable[Expression]) -> Expression | None:
    """Return what is true where any part is; None for no parts."""
    found: dict[object, Expression] = {}
    for part in parts:
        for inner in part.parts if isinstance(part, Or) else (part,):
            key: object = inner
            joined = inner
            if isinstance(inner, Comparison) and inner.operator == EQUALS:
                key = (inner.field, inner.path)
                before = found.get(key)
                if isinstance(before, Comparison):
                    joined = replace(inner, values=tuple(sorted({*before.values, *inner.values})))
            found[key] = joined
    flat = tuple(found.values())
    return Or(flat) if len(flat) > 1 else next(iter(flat), None)


def comparisons(expression: Expression | None) -> Iterator[Comparison]:
    """Yield every comparison in a tree, from left to right."""
    waiting = [expression] if expression is not None else []
    while waiting:
        match waiting.pop():
            case Comparison() as found:
                yield found
            case Not(part):
                waiting.append(part)
            case And(parts) | Or(parts):
                waiting.extend(reversed(parts))


def conjuncts(expression: Expression | None) -> tuple[Expression, ...]:
    """Return the parts that must all hold."""
    if expression is None:
        return ()
    return expression.parts if isinstance(expression, And) else (expression,)


def text_of(expression: Expression) -> str:
    """Return the expression as a search is written."""
    match expression:
        case Comparison():
            return comparison_text(expression)
        case Not(part):
            inner = text_of(part)
            return f"NOT ({inner})" if isinstance(part, And | Or) else f"-{inner}"
        case And(parts):
            return " ".join(f"({text_of(part)})" if isinstance(part, Or) else text_of(part) for part in parts)
        case Or(parts):
            return " OR ".join(
                # AND binds tighter, so no brackets, which a reader of deep trees would count against their limit.
                " AND ".join(f"({text_of(p)})" if isinstance(p, Or) else text_of(p) for p in part.parts)
                if isinstance(part, And)
                else text_of(part)
                for part in parts
            )


def comparison_text(item: Comparison) -> str:
    """Return one comparison as a search is written."""
    kind = item.known.kind
    name = spelled(item.field, item.path)
    values = [rfc3339(int(value)) if kind is TIME and value else value for value in item.values]
    inside = looks_inside(item.known, item.path)
    match item.operator:
        case "exists":
            return f"{name}:*"
        case "regex":
            return f"{name}:~{quoted(values[0])}"
        case "contains" if item.field == TEXT_SEARCH:
            return quoted(values[0])
        case "contains" if inside:
            return f"{name}:{quoted(values[0])}"
        case "contains":
            return f"{name}:*{escaped(values[0])}*"
        case "matches":
            return f"{name}:{pattern_text(values[0])}"
        case "between":
            low, high = values
            return (
                f"{name}:{low}..{high}" if low and high else f"{name}:>={low}" if low else f"{name}:<={high}"
            )
        case "above":
            return f"{name}:>{values[0]}"
        case "below":
            return f"{name}:<{values[0]}"
        case _:
            sign = "=" if inside else ""
            words = [f"{sign}{word(value)}" for value in values]
            return f"{name}:{words[0]}" if len(words) == 1 else f"{name}:({' OR '.join(words)})"


def looks_inside(field: Field, path: tuple[str, ...]) -> bool:
    """Say whether a plain value of a field is looked for inside its text; the members of JSON are compared whole."""
    return field.kind.contains and not path


_PLAIN_KEY = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$@/-]*|[0-9]+")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_/.@+%$#&][A-Za-z0-9_/.@+%$#&,;?=:-]*")
_PLAIN_SIGNS = frozenset("_/.@+%$#&,;?:-")  # of a pattern; all others but letters and digits get a backslash
JOINING = ("AND", "OR", "NOT")


def spelled(field: str, path: tuple[str, ...] = ()) -> str:
    """Return a field's name with the keys that lead deeper."""
    return ".".join([field, *(key if _PLAIN_KEY.fullmatch(key) else quoted(key) for key in path)])


def quoted(text: str) -> str:
    """Return a text between quotes; inside them only `"` and the backslash are written with a backslash before."""
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def word(text: str) -> str:
    """Return a value as plainly as it can be written."""
    plain = _PLAIN_WORD.fullmatch(text) and ".." not in text and text not in JOINING
    return text if plain else quoted(text)


def escaped(text: str) -> str:
    """Return a text as part of a pattern: everything but letters, digits and a few signs behind a backslash."""
    return "".join(char if char.isalnum() or char in _PLAIN_SIGNS else f"\\{char}" for char in text)


def pattern_text(pattern: str) -> str:
    """Return a pattern as it is written in a search; its own escapes are a backslash before a star or a backslash."""
    return "*".join(escaped(unescaped(part)) for part in pattern_parts(pattern))


def pattern_parts(pattern: str) -> list[str]:
    """Cut a pattern at its stars; the parts still have their escapes."""
    parts = [""]
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "\\":
            parts[-1] += pattern[position : position + 2]
            position += 1
        elif char == "*":
            parts.append("")
        else:
            parts[-1] += char
        position += 1
    return parts


def unescaped(part: str) -> str:
    """Return a part of a pattern as the text it stands for."""
    return re.sub(r"\\(.)", r"\1", part, flags=re.DOTALL)
