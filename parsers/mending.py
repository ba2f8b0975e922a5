"""What somebody may have meant by a search that cannot be read: the whole search again, with the wrong place mended.

Every text returned can be read. What is offered is near what is written: a name or a word of a closed list that is
spelled almost so, a bracket or a quote that is missing or too much, a word in quotes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from parsers.completing import words
from parsers.fields import FIELDS
from parsers.grammar import parse
from parsers.grammarerror import GrammarError

MOST = 3  # suggestions: more would not be read
LONGEST = 1_000  # characters: every candidate is read as a whole, and in a longer text nobody looks for one
NEARNESS = 0.6  # of two words, as difflib counts it: one wrong letter in three
_NAMES = {name.lower(): name for field in FIELDS for name in (field.name, *field.aliases)}
_TOKEN = re.compile(r'[^\s():"]+')
_SIGN = re.compile(r"[<>=~]*")
_EXCLUDED = re.compile(r"(?<![-!\w.])([\w.]+):$")  # the name before a `!`, as the API's parameters exclude
_NAMED = re.compile(r"([\w.]+):(?:\([^()]*|[^()\s]*)$")  # the name before a value, or before a list of values


def mended(text: str, position: int, *, now_us: int = 0) -> tuple[str, ...]:
    """Return searches that can be read in place of one that is wrong at a place, the likeliest first."""
    if len(text) > LONGEST:
        return ()
    found: list[str] = []
    for candidate in _candidates(text, position):
        if len(found) == MOST:
            break
        if candidate != text and candidate.strip() and candidate not in found and _reads(candidate, now_us):
            found.append(candidate)
    return tuple(found)


def _candidates(text: str, position: int) -> Iterator[str]:
    sign = _SIGN.match(text, position)
    position = position if sign is None else sign.end()
    before = text[:position]
    token = _TOKEN.match(text, position)
    if token is not None:
        end, written = token.end(), token[0]
        if text[end : end + 1] == ":":  # a name
            for near in difflib.get_close_matches(written.lower(), _NAMES, MOST, NEARNESS):
                yield f"{before}{_NAMES[near]}{text[end:]}"
            yield f"{before}metadata.{text[position:]}"
        elif written.startswith("!"):  # without the sign it would find the opposite
            turned = _EXCLUDED.search(before)
            if turned is not None:
                yield f"{before[: turned.start()]}-{turned[0]}{text[position + 1 :]}"
        else:
            name = _NAMED.search(before)
            for near in difflib.get_close_matches(
                written.lower(), words(name[1]) if name is not None else (), MOST, NEARNESS
            ):
                yield f"{before}{near}{text[end:]}"
    yield f"{text})"
    yield f'{text}"'
    if text[position : position + 1] in {"(", ")", '"'}:
        yield before + text[position + 1 :]
    if token is not None:
        yield f'{before}"{token[0]}"{text[token.end() :]}'
    yield before.rstrip()
    yield re.sub(r"\s*(?:AND|OR|NOT|-|!|\(|[\w.]+:[<>=~!]*)\s*$", "", text)


def _reads(text: str, now_us: int) -> bool:
    try:
        parse(text, now_us=now_us)
    except GrammarError:
        return False
    return True
