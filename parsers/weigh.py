"""Counting a line's keys by the kind of their values, to prove that from_json dropped none and took none for another.

`from_json` is lenient: an unknown key vanishes, the first of two equal keys wins, an object in place of a text becomes
text. Counting is much cheaper than looking: a line's keys that hold a string, an object, null or something else are
counted from its bytes, and must equal what the extracted columns account for. Only nulls may be left over, because a
null means the same as an absent key.

Why equality is proof: a key is found by its closing quote and colon. Inside strings the same two bytes can only add to
the line's count, never take from it, and within JSON columns they add to both sides alike. The few ways to break that
(white space before a colon, two spaces after one, quotes or colons written as Unicode escapes) weigh `ODD`, which
nothing can account for.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from parsers.arrow import Array, Bytes, Int64s, Mask
from parsers.arrow import texts as texts_of

# One number holds four counts of 12 bits each, so that one addition counts all.
KEY: Final = 1
NULL: Final = 1 << 12
OBJECT: Final = 1 << 24
STRING: Final = 1 << 36
ODD: Final = 1 << 60
MOST_KEYS: Final = 4000  # per line; more would overflow into the next count

WEIGHED_BYTES: Final = 128 << 10  # weighed together

_COLON, _QUOTE, _SPACE = 0x3A, 0x22, 0x20


def _table() -> Int64s:
    weight = np.full(256, KEY, np.int64)
    weight[: _SPACE + 1] = ODD
    weight[ord("n")] = KEY + NULL
    weight[ord("{")] = KEY + OBJECT
    weight[_QUOTE] = KEY + STRING
    weight[[ord(char) for char in "NIi"]] = ODD  # NaN and Infinity
    return weight


WEIGHT: Final = _table()


def weigh(block: Bytes, starts: Int64s, ends: Int64s) -> Int64s:
    """Return the weight of each line ``block[starts[i]:ends[i]]``; lines must rise and not overlap.

    Works on as many lines at a time as the processor's cache holds with all that is found in them.
    """
    found = np.zeros(len(starts), np.int64)
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + WEIGHED_BYTES)))
        found[first:last] = _weighed(block, starts[first:last], ends[first:last])
        first = last
    return found


def _weighed(block: Bytes, starts: Int64s, ends: Int64s) -> Int64s:
    places, weights = _keys(block, int(starts[0]), int(ends[-1]))
    odd = places[weights >= ODD]
    total = np.zeros(len(weights) + 1, np.int64)
    np.cumsum(weights & ~ODD if len(odd) else weights, out=total[1:])
    first, last = np.searchsorted(places, starts), np.searchsorted(places, ends)
    found = total[last] - total[first]
    if len(odd):
        lines = np.searchsorted(ends, odd, side="right")
        found[lines[lines < len(found)]] = ODD
    found[last - first > MOST_KEYS] = ODD
    return found


def weigh_values(texts: Array) -> Int64s:
    """Return the weight of each JSON text as a value alone, keys inside not counted; null weighs 0."""
    own, present, _, _ = _first_bytes(texts)
    return np.where(present, WEIGHT[own], 0)


def weigh_texts(texts: Array) -> Int64s:
    """Return the weight of each JSON text as the value of one key: its own kind and all keys inside; null weighs 0."""
    own, present, block, offsets = _first_bytes(texts)
    inner = weigh(block[: offsets[-1]], offsets[:-1], offsets[1:])
    return np.where(present, WEIGHT[own] + inner, 0)


def brackets(texts: Array) -> Int64s:
    """Return how many objects and arrays open in each JSON text, strings included: a bound for its depth."""
    _, _, block, offsets = _first_bytes(texts)
    opening = np.flatnonzero((block[: offsets[-1]] | 0x20) == ord("{"))  # "[" differs from "{" by that bit
    return np.diff(np.searchsorted(opening, offsets))


def unsure_numbers(texts: Array) -> tuple[Mask, Mask]:
    """Return per JSON text whether it may hold a number that is no integer, and whether it may hold NaN or Infinity.

    Looks at bytes, not at JSON, so strings can raise either needlessly, but nothing is missed.
    """
    raw_offsets, block = texts_of(texts)
    offsets = raw_offsets.astype(np.int64)
    inside = block[offsets[0] : offsets[-1]]
    offsets -= offsets[0]
    fraction, unreal = np.zeros(len(texts), bool), np.zeros(len(texts), bool)
    if not len(inside):
        return fraction, unreal
    for mark in b".eE":
        at = np.flatnonzero(inside == mark)
        at = at[(inside[np.maximum(at - 1, 0)] - ord("0")) <= 9]  # bytes wrap round below "0"
        fraction[np.searchsorted(offsets, at, side="right") - 1] = True
    # Values of keys have been weighed; what is left are members of arrays and values that stand alone.
    before = np.flatnonzero((inside == ord(",")) | (inside == ord("[")))
    at = np.concatenate([offsets[:-1][offsets[:-1] < len(inside)], np.minimum(before + 1, len(inside) - 1)])
    at = np.minimum(at + (inside[at] == ord("-")), len(inside) - 1)
    first = inside[at]
    null = (first == ord("n")) & (inside[np.minimum(at + 1, len(inside) - 1)] == ord("u"))
    bad = at[((first == ord("n")) & ~null) | (first == ord("N")) | (first == ord("I")) | (first == ord("i"))]
    unreal[np.searchsorted(offsets, bad, side="right") - 1] = True
    return fraction, unreal


def first_bytes(texts: Array) -> Bytes:
    """Return the first byte of each text, 0 where it is null or empty."""
    own, present, _, _ = _first_bytes(texts)
    return np.where(present, own, np.uint8(0))


def _first_bytes(texts: Array) -> tuple[Bytes, Mask, Bytes, Int64s]:
    """First byte per text, where there is one, all bytes, and the offsets of the texts in them."""
    raw_offsets, block = texts_of(texts)
    offsets = raw_offsets.astype(np.int64)
    own = block[np.minimum(offsets[:-1], len(block) - 1)]
    return own, offsets[1:] > offsets[:-1], block, offsets


def _keys(block: Bytes, begin: int, end: int) -> tuple[Int64s, Int64s]:
    """Positions of the colons that end a key between two places, and the weight of the value after each."""
    begin = max(begin, 1)  # what comes first has no key before it
    colon, before = block[begin:end] == _COLON, block[begin - 1 : end - 1]
    colons = np.flatnonzero(colon & (before == _QUOTE)) + begin
    at = np.minimum(colons + 1, len(block) - 1)
    value = block[at]
    spaced = value == _SPACE
    if spaced.any():
        at = np.minimum(at + spaced, len(block) - 1)
        value = block[at]
    weight = WEIGHT[value]
    nulls = np.flatnonzero(value == ord("n"))
    if len(nulls):  # DuckDB takes "nan" for a number
        weight[nulls[block[np.minimum(at[nulls] + 1, len(block) - 1)] != ord("u")]] = ODD
    minus = np.flatnonzero(value == ord("-"))
    if len(minus):
        weight[minus[block[np.minimum(at[minus] + 1, len(block) - 1)] > ord("9")]] = ODD
    odd = np.flatnonzero(colon & (before <= _SPACE)) + begin
    if len(odd):  # white space before a colon matters only after a key's closing quote
        further = block[np.maximum(odd - 2, 0)]
        odd = odd[(further == _QUOTE) | (further <= _SPACE)]
        colons = np.concatenate([colons, odd])
        weight = np.concatenate([weight, np.full(len(odd), ODD, np.int64)])
        order = np.argsort(colons, kind="stable")
        colons, weight = colons[order], weight[order]
    return colons, weight
