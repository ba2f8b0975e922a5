"""A filter as a form shows it: rows of field, operator, values and exclude, and groups of rows where there are any.

`form_of` and `from_form` are each other's inverse; the values of times are RFC 3339, all others as `parsers.values`
has them. A row is ``{"field", "path", "operator", "values", "exclude"}``, a group ``{"any": [...], "exclude"}`` or
``{"all": [...], "exclude"}``. The rows of a form must all hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parsers.expression import And, Comparison, Expression, Not, Or, both, either, negated
from parsers.fields import NAMES as FIELD_NAMES
from parsers.fields import OPERATORS, REGEX, TIME, folded
from parsers.moments import rfc3339
from parsers.regexes import MAX_WEIGHT, weight
from parsers.searchlimits import MAX_DEPTH, MAX_KEYS, MAX_TERMS
from parsers.values import ValueProblem, compare

_ROW = frozenset({"field", "path", "operator", "values", "exclude"})
_GROUPS = ("any", "all")


class FormError(ValueError):
    """A form that cannot be read: ``where`` in it (keys and places), what is wrong and what to write."""

    def __init__(self, where: Sequence[str | int], what: str, hint: str = "") -> None:
        super().__init__(what)
        self.where = tuple(where)
        self.what = what
        self.hint = hint


def form_of(parts: Iterable[Expression]) -> list[dict[str, Any]]:
    """Return the rows of a form for expressions that must all hold."""
    return [_row(part) for part in parts]


def _row(item: Expression) -> dict[str, Any]:
    exclude = isinstance(item, Not)
    inner = item.part if isinstance(item, Not) else item
    match inner:
        case Comparison():
            times = inner.known.kind is TIME
            values = [rfc3339(int(value)) if times and value else value for value in inner.values]
            path = {"path": list(inner.path)} if inner.path else {}
            return {
                "field": inner.field,
                **path,
                "operator": inner.operator,
                "values": values,
                "exclude": exclude,
            }
        case Or(parts):
            return {"any": form_of(parts), "exclude": exclude}
        case And(parts):
            return {"all": form_of(parts), "exclude": exclude}
        case Not():  # `negated` leaves no Not inside a Not
            raise AssertionError(item)


def from_form(rows: Any, *, now_us: int) -> Expression | None:
    """Return what a form means; None for one without rows. Raises FormError."""
    return both(_Reader(now_us).rows(rows, (), 0))


class _Reader:
    """Reads one form and counts what is in it."""

    def __init__(self, now_us: int) -> None:
        self._now_us = now_us
        self._terms = 0
        self._weight = 0

    def rows(self, rows: Any, where: tuple[str | int, ...], depth: int) -> list[Expression]:
        """Return the expressions of some rows."""
        if not isinstance(rows, list):
            raise FormError(
                where, "this is no list of rows", 'write [{"field": …, "operator": …, "values": […]}]'
            )
        if depth > MAX_DEPTH:
            raise FormError(where, f"more than {MAX_DEPTH} groups inside one another", "write it flatter")
        return [self._row(row, (*where, place), depth) for place, row in enumerate(rows)]

    def _row(self, row: Any, where: tuple[str | int, ...], depth: int) -> Expression:
        if not isinstance(row, dict):
            raise FormError(where, "this is no row", 'write {"field": …, "operator": …, "values": […]}')
        exclude = row.get("exclude", False)
        if not isinstance(exclude, bool):
            raise FormError((*where, "exclude"), "this is neither true nor false")
        kind = next((name for name in _GROUPS if name in row), None)
        found = self._comparison(row, where) if kind is None else self._group(row, kind, where, depth)
        return negated(found) if exclude else found

    def _group(
        self, row: Mapping[str, Any], kind: str, where: tuple[str | int, ...], depth: int
    ) -> Expression:
        unknown = set(row) - {kind, "exclude"}
        if unknown:
            raise FormError((*where, min(unknown)), "a group has nothing of that name", f"leave it at {kind}")
        parts = self.rows(row[kind], (*where, kind), depth + 1)
        found = either(parts) if kind == "any" else both(parts)
        if found is None:
            raise FormError((*where, kind), "the group is empty", "leave it out")
        return found

    def _comparison(self, row: Mapping[str, Any], where: tuple[str | int, ...]) -> Expression:
        unknown = set(row) - _ROW
        if unknown:
            raise FormError(
                (*where, min(unknown)), "a row has nothing of that name", f"it has {', '.join(sorted(_ROW))}"
            )
        name, operator = row.get("field"), row.get("operator", "equals")
        values, path = row.get("values", []), row.get("path", [])
        field = FIELD_NAMES.get(folded(name)) if isinstance(name, str) else None
        if field is None:
            raise FormError((*where, "field"), "there is no such field", "see docs/search.md")
        if operator not in OPERATORS:
            raise FormError(
                (*where, "operator"), "there is no such operator", f"one of {', '.join(OPERATORS)}"
            )
        for key, texts, most in (("values", values, MAX_TERMS), ("path", path, MAX_KEYS)):
            if not isinstance(texts, list) or not all(
                isinstance(text, str) and _is_text(text) for text in texts
            ):
                raise FormError((*where, key), "this is no list of texts")
            if len(texts) > most:
                raise FormError((*where, key), f"more than {most}", "write fewer")
        self._terms += max(1, len(values))
        if self._terms > MAX_TERMS:
            raise FormError(where, f"more than {MAX_TERMS} terms", "search for fewer things at a time")
        if operator == REGEX:
            self._weight += sum(weight(value) for value in values)
            if self._weight > MAX_WEIGHT:
                raise FormError(
                    (*where, "values"), "the expressions are too large together", "use fewer or simpler ones"
                )
        if path and field.kind.name != "json":
            raise FormError((*where, "path"), f"{field.name} has nothing below it", "leave it out")
        try:
            return compare(field.name, tuple(path), operator, values, now_us=self._now_us)
        except ValueProblem as problem:
            raise FormError((*where, "values"), problem.what, problem.hint) from None


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)
