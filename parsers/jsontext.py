"""JSON read and written exactly: numbers keep their value, repeated keys are kept, depth is bounded.

The reader is the one of the slow path; it returns plain dicts, lists and strings, and `Number` for numbers. What the
fast path (DuckDB) writes into JSON columns and what `write` gives are the same text for the same value.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

MAX_DEPTH = 64  # nested objects and arrays; deeper lines are rejected (an attack, or a runaway serialiser)

_LONGEST_INTEGER = 21  # digits before an exponent is used, as in JavaScript
_SMALLEST_FRACTION = -6  # zeros after the point before an exponent is used

_ESCAPES = {
    **{code: f"\\u{code:04X}" for code in range(0x20)},
    **{ord(char): f"\\{escape}" for char, escape in zip('\b\f\n\r\t"\\', 'bfnrt"\\', strict=True)},
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])')
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


class JsonError(ValueError):
    """The line is no JSON value; the message says why, for people."""


class Number(str):
    """A number as the line spells it."""

    __slots__ = ()


class NotFinite(str):
    """NaN or an Infinity as the line spells it: not JSON, but written by many serialisers."""

    __slots__ = ()


class Pairs(dict[str, Any]):
    """An object with a repeated key: as a dict the last one wins, ``pairs`` has them all in order."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Pairs(pairs)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=NotFinite, strict=True
)


def read(line: bytes, max_depth: int = MAX_DEPTH) -> Any:
    """Return the JSON value of a line; raises JsonError with a reason for people.

    ``line`` may end with white space. A comma before a closing bracket is forgiven, as the fast path does.
    """
    if b"\x00" in line:
        raise JsonError("holds NUL bytes")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise JsonError(f"is not UTF-8 at byte {error.start}") from None
    if depth(line) > max_depth:
        raise JsonError(f"is nested deeper than {max_depth} levels")
    try:
        return _DECODER.decode(text.strip(" \t\r\n"))
    except json.JSONDecodeError as first:
        try:
            return _DECODER.decode(_TRAILING_COMMA.sub(lambda m: m[1] or "", text.strip(" \t\r\n")))
        except json.JSONDecodeError:
            what = first.msg.lower().rstrip(": ").removesuffix(" at")
            raise JsonError(f"is not JSON: {what} at character {first.pos + 1}") from None


def depth(line: bytes) -> int:
    """Return how deep objects and arrays nest, strings not counted."""
    if line.count(b"{") + line.count(b"[") <= 1:
        return line.count(b"{") + line.count(b"[")
    now = deepest = 0
    for byte in _STRING.sub(b"", line):
        if byte in b"{[":
            now += 1
            deepest = max(deepest, now)
        elif byte in b"}]":
            now -= 1
    return deepest


def write(value: Any) -> str:
    """Return compact JSON text of what `read` gave: repeated keys kept, numbers with their value unchanged."""
    if isinstance(value, Number):
        return number(value)
    if isinstance(value, str):  # NotFinite becomes text: JSON has no other place for it
        return string(value)
    if isinstance(value, dict):
        pairs = value.pairs if isinstance(value, Pairs) else value.items()
        return "{" + ",".join(f"{string(key)}:{write(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return "null" if value is None else "true" if value else "false"


def string(text: str) -> str:
    """Return a JSON string; a lone surrogate becomes its own escape, spelled out."""
    return f'"{whole(text).translate(_ESCAPES)}"'


def whole(text: str) -> str:
    r"""Return text that UTF-8 can hold: a lone surrogate becomes the six characters of its escape, ``\ud800``."""
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def number(text: str) -> str:
    """Return a number's shortest spelling, or the spelling given when that would not be the same value.

    Integers keep every digit. Others are spelled as JavaScript does (``1e21``, ``0.000001``), with ``.0`` when whole.
    """
    if text.lstrip("-").isdecimal():
        return "0" if text == "-0" else text
    value = float(text)
    return _shortest(value) if math.isfinite(value) and exact(text) else text


def exact(text: str) -> bool:
    """True when a number keeps its value as the shortest spelling of a double, or as digits (integers, beyond doubles)."""
    if text.lstrip("-").isdecimal() or not math.isfinite(float(text)):
        return True
    return Decimal(_shortest(float(text))) == Decimal(text)


def _shortest(value: float) -> str:
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    figures = "".join(map(str, digits))
    point = len(figures) + exponent  # where the decimal point stands among the figures
    if value == 0:
        text = "0.0"
    elif point > _LONGEST_INTEGER or point <= _SMALLEST_FRACTION:
        text = f"{figures[0]}{'.' if figures[1:] else ''}{figures[1:]}e{point - 1}"
    elif point <= 0:
        text = "0." + "0" * -point + figures
    elif point >= len(figures):
        text = figures.ljust(point, "0") + ".0"
    else:
        text = f"{figures[:point]}.{figures[point:]}"
    return "-" + text if sign else text


def has_lone_surrogate(value: Any) -> bool:
    """True when a string or key anywhere in the value cannot be UTF-8."""
    if isinstance(value, str):
        return _SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(_SURROGATE.search(key) or has_lone_surrogate(item) for key, item in value.items())
    return isinstance(value, list) and any(map(has_lone_surrogate, value))


def has_not_finite(value: Any) -> bool:
    """True when NaN or an Infinity occurs anywhere in the value."""
    if isinstance(value, dict):
        return any(map(has_not_finite, value.values()))
    return isinstance(value, NotFinite) or (isinstance(value, list) and any(map(has_not_finite, value)))
