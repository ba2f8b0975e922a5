"""One line at a time, exactly: for every line that the fast path is not sure of.

`read_object` gives a line's object or raises `LineError` with a reason for people; `draft_of` gives what it says. They are also the
definition of what the fast path must answer: a property test compares the two on every line the fast path accepts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from parsers.columns import BY_NAME
from parsers.flags import BIT
from parsers.jsontext import (
    MAX_DEPTH,
    JsonError,
    NotFinite,
    Number,
    Pairs,
    has_lone_surrogate,
    has_not_finite,
    number,
    read,
    whole,
    write,
)
from parsers.names import NAMES, NATIVE_PARENTS, OTEL_NUMBERS, PARENTS
from parsers.vocabulary import OTEL_PREFIX

DUPLICATES = "duplicate_keys"  # where `extra` keeps the values that lost to a later one
_INT_LIMITS = {"INTEGER": 2**31, "BIGINT": 2**63}
_CANONICAL_INTEGER = re.compile(r"0|-?[1-9][0-9]*")


class LineError(ValueError):
    """The line is no event; the message says why, for people."""


class WrongTypeError(ValueError):
    """A value that its column cannot hold."""


def read_object(line: bytes, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the JSON object of a line; raises LineError with a reason."""
    try:
        value = read(line, max_depth)
    except JsonError as error:
        raise LineError(str(error)) from None
    if not isinstance(value, dict):
        raise LineError(f"is {_kind(value)}, not a JSON object")
    return value


def draft_of(value: dict[str, Any]) -> dict[str, Any]:
    """Return the draft of an object that `parsers.jsontext.read` gave (or one of plain texts)."""
    return _Reading().of(value)


def convert(column: str, value: Any) -> Any:
    """Return a JSON value as ``column`` holds it in a draft; raises WrongTypeError when it cannot."""
    return _CONVERT[column](value)


def looks_like_number(text: str) -> bool:
    """True when a JSON number would be spelled exactly so: such a user id needs a flag to stay text."""
    return _CANONICAL_INTEGER.fullmatch(text) is not None


class _Reading:
    """The state of reading one line: what was found for each column, what is left over, and the flags."""

    def __init__(self) -> None:
        self.row: dict[str, Any] = {}
        self.extra: dict[str, Any] = {}
        self.earlier: dict[str, list[Any]] = {}
        self.bits = 0
        self.found: dict[str, tuple[int, tuple[str, ...], str, Any]] = {}

    def of(self, value: dict[str, Any]) -> dict[str, Any]:
        self.walk(value, ())
        for column, (_, path, name, item) in self.found.items():
            try:
                self.row[column] = convert(column, item)
            except WrongTypeError:
                self.bits |= BIT["not_finite" if isinstance(item, NotFinite) else "wrong_type"]
                self.keep(path, item)
                continue
            if column == "user_id" and not isinstance(item, Number) and looks_like_number(self.row[column]):
                self.bits |= BIT["user_id_text"]
            if name in OTEL_NUMBERS:
                self.row[column] = OTEL_PREFIX + self.row[column]
        if self.earlier:
            self.bits |= BIT["duplicate_key"]
            self.extra[DUPLICATES] = self.earlier
        if has_not_finite(value):
            self.bits |= BIT["not_finite"]
        if has_lone_surrogate(value):
            self.bits |= BIT["lone_surrogate"]
        self.row["extra"] = write(self.extra) if self.extra else None
        self.row["bits"] = self.bits
        return self.row

    def walk(self, value: dict[str, Any], parents: tuple[str, ...]) -> None:
        """Sort the members of an object into columns and leftovers; null is the same as absent."""
        if isinstance(value, Pairs):
            self.note_earlier(value, parents)
        for key, item in value.items():
            if item is None:
                continue
            path = (*parents, key)
            name = ".".join(path)
            if name in PARENTS and isinstance(item, dict):
                self.walk(item, path)
            elif name in NAMES:
                self.offer(name, path, item)
            else:
                if name in NATIVE_PARENTS:
                    self.bits |= BIT["wrong_type"]
                self.keep(path, item)

    def offer(self, name: str, path: tuple[str, ...], item: Any) -> None:
        """Take the value for its column unless a name of a lower rank has it; the loser stays in `extra`."""
        column, rank = NAMES[name]
        best = self.found.get(column)
        if best is not None and best[0] <= rank:
            self.keep(path, item)
            return
        if best is not None:
            self.keep(best[1], best[3])
        self.found[column] = (rank, path, name, item)

    def keep(self, path: tuple[str, ...], item: Any) -> None:
        """Put a leftover into `extra` at the place it had in the line."""
        at = self.extra
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = item

    def note_earlier(self, value: Pairs, parents: tuple[str, ...]) -> None:
        """Remember the values of repeated keys that a later one replaced; of a null and a value the value counts."""
        last: dict[str, Any] = {}
        for key, item in value.pairs:
            if item is None:
                continue
            if key in last:
                self.earlier.setdefault(".".join((*parents, key)), []).append(last[key])
            last[key] = item
        value.clear()
        value.update(last)


def _kind(value: Any) -> str:
    if isinstance(value, Number | NotFinite):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "null" if value is None else "a boolean"


def _text(value: Any) -> str:
    if isinstance(value, Number):
        return number(value)
    if isinstance(value, str) and not isinstance(value, NotFinite):
        return whole(value)
    raise WrongTypeError


def _double(value: Any) -> float:
    if not isinstance(value, str) or isinstance(value, NotFinite):
        raise WrongTypeError
    try:
        found = float(value) if value.isascii() and "_" not in value else math.nan
    except ValueError:
        raise WrongTypeError from None
    if not math.isfinite(found):
        raise WrongTypeError
    return found


def _whole_number(limit: int) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        found = _double(value)
        exact = int(value) if value.strip().lstrip("+-").isdecimal() else int(found)
        if (exact != found and abs(found) < 2**53) or not -limit <= exact < limit:
            raise WrongTypeError
        return exact

    return convert


def _tags(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [_text(item) for item in items]


def _reasons(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise WrongTypeError
    return [_reason(item) for item in value]


def _reason(value: Any) -> dict[str, Any]:
    if (
        not isinstance(value, dict)
        or isinstance(value, Pairs)
        or not value.keys() <= {"reason", "points", "detail"}
    ):
        raise WrongTypeError
    detail = value.get("detail")
    return {
        "reason": _text(value.get("reason")),
        "points": _double(value.get("points")),
        "detail": None if detail is None else _text(detail),
    }


def _json(value: Any) -> str:
    return write(value)


def _converter(name: str) -> Callable[[Any], Any]:
    column = BY_NAME[name]
    if column.json:
        return _json
    if name in {"risk_score", "risk_score_reported"} or column.sql == "DOUBLE":
        return _double
    if column.sql in _INT_LIMITS:
        return _whole_number(_INT_LIMITS[column.sql])
    if name == "tags":
        return _tags
    return _reasons if name == "risk_reasons" else _text


_CONVERT: dict[str, Callable[[Any], Any]] = {
    name: _converter(name) for name, c in BY_NAME.items() if c.from_line
}
