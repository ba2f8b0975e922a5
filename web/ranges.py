"""Parts of a body: which bytes a request wants (RFC 9110, section 14), and whether they are of the body it knows."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass

REMEMBERED_LENGTHS = 1_024  # a tag and a number each

_RANGE = re.compile(r"bytes\s*=\s*(?:([0-9]{1,15})\s*-\s*([0-9]{1,15})?|-\s*([0-9]{1,15}))\s*")
_TAG = re.compile(r'"([0-9]{1,16})\.([0-9]{1,16})\.([0-9a-f]{16})"')


@dataclass(frozen=True, slots=True)
class Tag:
    """What a body depends on: the seq up to which was looked, how many drops there were, and the question."""

    seq: int
    drops: int
    question: str  # 16 hex digits

    def __str__(self) -> str:
        return f'"{self.seq}.{self.drops}.{self.question}"'

    @classmethod
    def read(cls, text: str) -> Tag | None:
        """Read a strong entity tag back; None if it is none of ours."""
        found = _TAG.fullmatch(text.strip())
        return cls(int(found[1]), int(found[2]), found[3]) if found else None


@dataclass(frozen=True, slots=True)
class Range:
    """One range: from ``first`` to ``last`` (None: to the end), or the last ``suffix`` bytes."""

    first: int | None
    last: int | None = None
    suffix: int | None = None

    @classmethod
    def read(cls, text: str) -> Range | None:
        """Read a Range header; None where it may be left unheeded: another unit, several ranges, or nonsense."""
        found = _RANGE.fullmatch(text.strip())
        if found is None:
            return None
        first, last, suffix = (None if part is None else int(part) for part in found.groups())
        if first is not None and last is not None and last < first:
            return None
        return cls(first, last, suffix)

    def within(self, length: int) -> tuple[int, int] | None:
        """Return the first and last byte of a body that long; None when it has none of them."""
        if self.first is None:
            wanted = self.suffix or 0
            return (max(0, length - wanted), length - 1) if wanted and length else None
        if self.first >= length:
            return None
        return self.first, length - 1 if self.last is None else min(self.last, length - 1)


class Lengths:
    """How long bodies are that were made before, by their tags; the oldest is forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, int] = OrderedDict()

    def get(self, tag: Tag) -> int | None:
        """Return the length in bytes if it is known."""
        return self._known.get(str(tag))

    def put(self, tag: Tag, length: int) -> None:
        """Remember a length."""
        self._known[str(tag)] = length
        if len(self._known) > REMEMBERED_LENGTHS:
            self._known.popitem(last=False)
