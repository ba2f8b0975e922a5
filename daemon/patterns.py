"""Which names count: a root's include and exclude patterns as two expressions, and the date a name holds."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime

from parsers.decoding import plain_name

_DATE = re.compile(rb"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)")
_MICROSECONDS = 1_000_000
_GLOB_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


class Patterns:
    """Include and exclude patterns. One without a slash is about the name, one with a slash about the whole path."""

    def __init__(self, include: Sequence[str], exclude: Sequence[str]) -> None:
        self._include = _Side(include)
        self._exclude = _Side(exclude)

    def match(self, relative: bytes) -> bool:
        """Return whether a file counts, by its path below the root; a compressed one also without its last ending."""
        if self._exclude.hits(relative):
            return False
        if self._include.hits(relative):
            return True
        plain = plain_name(relative)
        return plain != relative and self._include.hits(plain) and not self._exclude.hits(plain)


class _Side:
    """Some patterns, as one expression about names and one about paths."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._names = _any_of([pattern for pattern in patterns if "/" not in pattern])
        self._paths = _any_of([pattern.lstrip("/") for pattern in patterns if "/" in pattern])

    def hits(self, relative: bytes) -> bool:
        name = relative[relative.rfind(b"/") + 1 :]
        return bool(
            (self._names and self._names.fullmatch(name))
            or (self._paths and self._paths.fullmatch(relative))
        )  # fmt: skip


def _any_of(patterns: Sequence[str]) -> re.Pattern[bytes] | None:
    if not patterns:
        return None
    return re.compile("|".join(f"(?:{_expression(p)})" for p in patterns).encode(), re.DOTALL)


def _expression(pattern: str) -> str:
    """Translate a glob: ``*`` and ``?`` stay within a folder, ``**/`` is any number of folders."""
    meaning = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts: list[str] = []
    for token in _GLOB_TOKENS.findall(pattern):
        if token in meaning:
            parts.append(meaning[token])
        elif token.startswith("[") and len(token) > 1:
            body = token[1:-1].replace("\\", r"\\")
            parts.append(f"[^{body[1:]}]" if body.startswith("!") else f"[{body}]")
        else:
            parts.append(re.escape(token))
    return "".join(parts)


def literally(name: str) -> str:
    """Return the pattern that fits one name only."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def file_date_us(path: bytes) -> int | None:
    """Return the start of the UTC day that a file's name holds, in microseconds since 1970; None without a date."""
    match = _DATE.search(os.path.basename(path))
    if match is None:
        return None
    try:
        day = date(*(int(part) for part in match.groups()))
    except ValueError:
        return None  # the 31st of February
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * _MICROSECONDS
