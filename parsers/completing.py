"""Completion of a search that is being written: what stands at the cursor, and what may stand there.

Works on half-written text: nothing here is an error. Positions count characters from 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from parsers.expression import looks_inside, quoted, spelled, word
from parsers.fields import (
    ABOVE,
    BELOW,
    BETWEEN,
    CONTAINS,
    EXISTS,
    FIELDS,
    JSON,
    LEVEL,
    OPERATORS,
    PARAMETERS,
    REGEX,
    RISK,
    TIME,
    Field,
    folded,
    resolve,
)
from parsers.grammar import SIGNS
from parsers.scanner import SPACE
from parsers.searchlimits import MAX_CHARS
from parsers.values import BANDS, takes
from parsers.vocabulary import LEVELS

MOST = 20  # suggestions of one kind; more would not be read
_ORDER = {field.name: number for number, field in enumerate(PARAMETERS.values()) if not field.rare}
_LATELY = ("-15m", "-1h", "-24h", "-7d", "-30d", "now")
# What is written behind the colon for an operator; equality needs nothing.
_SIGN_OF = {EXISTS: "*", REGEX: '~"', BETWEEN: ">=", ABOVE: ">", BELOW: "<", CONTAINS: "*"}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text to put in place of the characters from ``start`` to ``end``; ``events`` is how often it was seen."""

    kind: str  # field, key, operator or value
    label: str
    insert: str
    start: int
    end: int
    detail: str = ""
    events: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """What stands at the cursor: the beginning of a name, or of a value of ``field`` (and of its member ``path``).

    ``prefix`` is what is written of it before the cursor, ``start`` and ``end`` what a suggestion replaces. A name that
    leads into JSON has ``field`` and ``path`` as well, and ``prefix`` is the beginning of the next key.
    """

    naming: bool
    prefix: str
    start: int
    end: int
    field: Field | None = None
    path: tuple[str, ...] = ()
    signed: bool = False


def place(text: str, at: int) -> Place:
    """Return what stands at a place of a search."""
    text = text[:MAX_CHARS]
    at = max(0, min(at, len(text)))
    listed: str | None = None  # the name before an open list
    start = 0
    while True:
        while start < at and (
            text[start] in SPACE or text[start] in "()" or (listed is None and text[start] in "-!")
        ):
            if text[start] == ")":
                listed = None
            start += 1
        end, colon = _token(text, start, named=listed is None)
        if at <= end or end >= len(text):
            return _at(text, start, end, at, colon, listed)
        if text[end] == "(" and colon == end - 1:
            listed = text[start:colon]
        elif text[end] == ")":
            listed = None
        start = end if end > start else end + 1


def _token(text: str, start: int, *, named: bool) -> tuple[int, int | None]:
    """Return where a token ends and where its first colon outside quotes is."""
    at, colon, inside = start, None, False
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 2
            continue
        if char == '"':
            inside = not inside
        elif not inside and (char in SPACE or char in "()"):
            break
        elif char == ":" and not inside and colon is None and named:
            colon = at
        at += 1
    return min(at, len(text)), colon


def _at(text: str, start: int, end: int, at: int, colon: int | None, listed: str | None) -> Place:
    at = max(at, start)
    if listed is None and (colon is None or at <= colon):
        return _name(text, start, end if colon is None else colon + 1, at)
    name = listed if listed is not None else text[start : colon or start]
    found = _resolved(name)
    begin = start if listed is not None else (colon or start) + 1
    sign = next((sign for sign in SIGNS if text.startswith(sign, begin)), "")
    begin = min(begin + len(sign), max(at, begin))
    prefix = text[begin:at].removeprefix('"').rstrip('"').rstrip("*")
    field, path = found if found is not None else (None, ())
    return Place(False, prefix, begin, end, field, path, bool(sign))


def _name(text: str, start: int, end: int, at: int) -> Place:
    before = text[start:at]
    stem, dot, last = before.rpartition(".")
    found = _resolved(stem) if dot else None
    if found is not None and found[0].kind is JSON:
        return Place(True, last.strip('"'), at - len(last), end, *found)
    return Place(True, before, start, end)


def _resolved(name: str) -> tuple[Field, tuple[str, ...]] | None:
    """Return the field of a name, quotes around keys left out."""
    segments = name.split(".")
    plain = next((n for n, part in enumerate(segments) if part.startswith('"')), len(segments))
    return resolve([part.strip('"') for part in segments], plain)


def suggestions(here: Place) -> list[Suggestion]:
    """Return what the table of fields alone can suggest: names, operators and the words of closed lists."""
    if here.naming:
        return [] if here.field is not None else _fields(here)
    if here.field is None:
        return []
    found = values(here, [(text, None) for text in _words(here.field)])
    if not here.prefix and not here.signed:
        found += _operators(here, here.field)
    return found


def _fields(here: Place) -> list[Suggestion]:
    wanted = folded(here.prefix)
    ranked: list[tuple[int, int, Field]] = []
    for number, field in enumerate(FIELDS):
        names = [folded(name) for name in (field.name, *field.aliases)]
        parts = [part for name in names for part in name.split(".")]
        rank = (
            0
            if any(name.startswith(wanted) for name in names)
            else 1
            if any(part.startswith(wanted) for part in parts)
            else 2
            if any(wanted in name for name in names)
            else None
        )
        if rank is not None:
            ranked.append((rank, _ORDER.get(field.name, len(FIELDS) + number), field))
    return [
        Suggestion("field", field.name, f"{field.name}:", here.start, here.end, field.meaning)
        for _, _, field in sorted(ranked, key=lambda item: item[:2])[:MOST]
    ]


def keys(here: Place, found: list[tuple[str, int]]) -> list[Suggestion]:
    """Return suggestions for keys of JSON that were seen, with how often."""
    assert here.field is not None
    stem = spelled(here.field.name, here.path)
    return [
        Suggestion(
            "key",
            key,
            spelled(stem, (key,)).removeprefix(stem + ".") + ":",
            here.start,
            here.end,
            stem,
            events,
        )
        for key, events in found[:MOST]
    ]


def values(here: Place, found: list[tuple[str, int | None]]) -> list[Suggestion]:
    """Return suggestions for values, with how often each was seen; each once."""
    assert here.field is not None
    wanted = here.prefix.lower()
    kept = {text: events for text, events in reversed(found) if text.lower().startswith(wanted)}
    ordered = [text for text, _ in found if text in kept]
    return [
        Suggestion(
            "value", text, _written(here, here.field, text), here.start, here.end, here.field.name, kept[text]
        )
        for text in dict.fromkeys(ordered)
    ][:MOST]


def _written(here: Place, field: Field, text: str) -> str:
    """Return a value as it is written behind what is there."""
    if field.kind is TIME:  # "an hour ago" alone would be that very moment
        return text if here.signed else f">{text}"
    return quoted(text) if looks_inside(field, here.path) else word(text)


def words(name: str) -> tuple[str, ...]:
    """Return the words that the field of a name can have, if these are a closed list."""
    found = _resolved(name)
    return () if found is None else _words(found[0])


def _words(field: Field) -> tuple[str, ...]:
    if field.kind is LEVEL:
        return LEVELS
    if field.kind is RISK:
        return BANDS
    return _LATELY if field.kind is TIME else ()


def _operators(here: Place, field: Field) -> list[Suggestion]:
    name = spelled(field.name, here.path)
    return [
        Suggestion(
            "operator",
            OPERATORS[operator].label,
            _SIGN_OF[operator],
            here.start,
            here.start,
            OPERATORS[operator].sign.replace("field", name),
        )
        for operator in takes(field, here.path)
        if operator in _SIGN_OF
    ]
