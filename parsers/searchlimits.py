"""How long, how many terms and how deep a search may be: of people's, and of those that we printed ourselves."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CHARS = 8_000  # of a search; as many as the whole query string of a request may have
MAX_TERMS = 200  # comparisons, each value of a list counted
MAX_DEPTH = 32  # brackets in brackets
MAX_KEYS = 16  # names between dots


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, how many terms and how deep a search may be."""

    chars: int
    terms: int
    depth: int


PEOPLE = Limits(MAX_CHARS, MAX_TERMS, MAX_DEPTH)
# What was accepted once and printed by ourselves: longer names, backslashes and brackets that its writer did not need.
OURS = Limits(8 * MAX_CHARS, 2 * MAX_TERMS, 3 * MAX_DEPTH)
