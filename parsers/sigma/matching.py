"""What a Sigma rule looks for in one event, as a tree of frozen values: tests of fields under all, any and not.

Sigma's own rules: texts compare in any case unless ``cased``, `*` and `?` are wildcards, a number equals a number, and
an event without the field fails every test but that for its absence. Nothing is ever unknown: not is plain negation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Target:
    """Where a test looks: a column, or a member of one that holds JSON; ``name`` is the field as the rule has it.

    With several ``places``, the first that has a value counts (a field of the line that has no column may lie in
    `extra` or in `metadata`).
    """

    name: str
    places: tuple[tuple[str, tuple[str, ...]], ...]  # column, keys below it

    @property
    def column(self) -> str | None:
        """The column, if it is one and nothing deeper."""
        (first, *more) = self.places
        return first[0] if not more and not first[1] else None


ANY = "*"
ONE = "?"
Pattern: TypeAlias = tuple[tuple[str, bool], ...]
"""Pieces of a text: each with whether it is a wildcard (`ANY` or `ONE`) and no plain text."""

TestKind = Literal["text", "number", "compare", "regex", "network", "null", "exists", "field", "part"]


@dataclass(frozen=True, slots=True)
class Test:
    """One test of one field. What ``value`` is follows from ``kind``.

    text: a `Pattern`; number: the number; compare: (sign, number); regex: (expression, flags); network: CIDR;
    null and exists: whether it must be so; field: (the other target, "" or "starts" or "ends"); part: (part of a time,
    number).
    """

    target: Target
    kind: TestKind
    value: object
    cased: bool = False


@dataclass(frozen=True, slots=True)
class Keyword:
    """A text that occurs anywhere in the event, in any case."""

    pattern: Pattern


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds."""

    parts: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds."""

    parts: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """The part does not hold."""

    part: Match


Match: TypeAlias = Test | Keyword | All | Some | Without


def tests(match: Match) -> Iterator[Test | Keyword]:
    """Yield every test of a tree."""
    waiting = [match]
    while waiting:
        found = waiting.pop()
        if isinstance(found, Test | Keyword):
            yield found
        elif isinstance(found, Without):
            waiting.append(found.part)
        else:
            waiting.extend(found.parts)
