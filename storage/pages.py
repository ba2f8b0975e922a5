"""Newest-first pages: walk from the newest end in slices of time, stop when the page is full, then fetch its rows.

Positions come first, from a few narrow columns; whole rows are fetched by file and row number in a second statement.
As one statement DuckDB would decompress every column of everything the condition touches.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb

from storage import sql
from storage.errors import QueryError
from storage.query import Filter, Scope, fingerprint
from storage.render import EVENT_JSON
from storage.scope import View
from storage.snapshot import File, Hot

FIRST_SLICE_ROWS = (
    4_096  # rows the first slice is expected to hold: what one DuckDB scan reads at no extra cost
)
SLICE_GROWTH = 16  # each further slice is so much larger: a rare value is found in few statements
_CURSOR = struct.Struct(">BqqQ8s")  # version, time_us, seq, snapshot, check
_CURSOR_VERSION = 1
_CHECK_BYTES = 8


class CursorError(QueryError):
    """A cursor is damaged, or belongs to another list."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ended: the next one begins behind (time, seq), in the same snapshot."""

    time_us: int
    seq: int
    snapshot: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a row lies: ``file`` is an absolute path and ``row`` its number there, or both are None for a hot row."""

    time_us: int
    seq: int
    file: str | None
    row: int | None

    @property
    def number(self) -> int:
        """What finds the row in its file, or among the hot ones."""
        return self.seq if self.row is None else self.row


def encode(mark: Mark, wanted: Filter, scope: Scope) -> str:
    """Return an opaque cursor. It works only with the same filter and scope."""
    check = _check(mark, wanted, scope)
    packed = _CURSOR.pack(_CURSOR_VERSION, mark.time_us, mark.seq, mark.snapshot, check)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(cursor: str, wanted: Filter, scope: Scope) -> Mark:
    """Return what `encode` was given. Raises CursorError for anything else."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, time_us, seq, snapshot, check = _CURSOR.unpack(packed)
    except (binascii.Error, ValueError, struct.error):
        raise CursorError(
            "the cursor cannot be read", hint="take it from `next` of a page, unchanged"
        ) from None
    mark = Mark(time_us, seq, snapshot)
    if version != _CURSOR_VERSION or check != _check(mark, wanted, scope):
        raise CursorError(
            "the cursor belongs to another list",
            hint="keep the filter while you page, or begin without a cursor",
        )
    return mark


def _check(mark: Mark, wanted: Filter, scope: Scope) -> bytes:
    text = fingerprint(mark.time_us, mark.seq, mark.snapshot, wanted, scope.tenant, scope.internal)
    return hashlib.blake2b(text.encode(), digest_size=_CHECK_BYTES).digest()


def find(
    cursor: duckdb.DuckDBPyConnection,
    view: View,
    wanted: Filter,
    scope: Scope,
    *,
    limit: int,
    skip: int = 0,
    after: tuple[int, int] | None = None,
) -> list[Position]:
    """Return the positions of ``limit`` matching rows, newest first, after skipping ``skip``.

    ``after`` is (time_us, seq) of the last row already seen. The cursor must have the view's hot rows.
    """
    found: list[Position] = []
    if after is not None:
        view = view.between(view.start_us, after[0] if view.end_us is None else min(after[0], view.end_us))
    for part in _slices(view, wanted, limit + skip):
        if skip:
            rows = int(sql.count(part, wanted, scope, after=after).rows(cursor)[0][0])
            if rows <= skip:
                skip -= rows
                continue
        statement = sql.positions(part, wanted, scope, limit=limit - len(found), offset=skip, after=after)
        found += [Position(*row) for row in statement.rows(cursor)]
        skip = 0
        if len(found) >= limit:
            break
    return found


def _slices(view: View, wanted: Filter, rows: int) -> Iterator[View]:
    """Cut a view into slices of time, newest first, for a page of ``rows`` rows: small at first, then ever larger."""
    if wanted.selective:  # bloom filters and statistics prune better than time does
        return iter(() if view.empty else (view,))
    return slices(view, max(FIRST_SLICE_ROWS, 2 * rows), growth=SLICE_GROWTH)


def slices(view: View, rows: int, *, growth: int = 1) -> Iterator[View]:
    """Cut a view into slices of time, newest first, together exactly the view, each expected to hold ``rows`` rows.

    Each slice is expected to hold ``growth`` times as many as the one before it.
    """
    if view.empty:
        return
    low, end = view.span()
    while end >= low:
        start = _slice_start(view, end, rows)
        if start <= low:
            yield view.between(view.start_us, end)
            return
        part = view.between(start, end)
        if not part.empty:
            yield part
        end = start - 1
        rows *= growth


def _slice_start(view: View, end_us: int, rows: int) -> int:
    """Return a time such that about ``rows`` rows lie between it and ``end_us``, judging by the files' bounds."""
    parts: list[File | Hot] = sorted(
        (part for part in (*view.files, *view.hot) if part.min_time_us <= end_us),
        key=lambda part: part.max_time_us,
        reverse=True,
    )
    start = end_us
    expected = 0.0
    for part in parts:
        top = min(part.max_time_us, end_us)
        length = part.max_time_us - part.min_time_us + 1
        density = _rows(part) / length
        here = density * (top - part.min_time_us + 1)
        if expected + here >= rows:
            return min(start, top - int((rows - expected) / density))
        expected += here
        start = min(start, part.min_time_us)
    return start


def _rows(part: File | Hot) -> int:
    return part.rows if isinstance(part, File) else part.table.num_rows


def fetch(
    cursor: duckdb.DuckDBPyConnection, positions: Sequence[Position], expression: str = EVENT_JSON
) -> list[str]:
    """Return the expression for each position, in order. The cursor must have the view's hot rows."""
    by_file: dict[str | None, list[int]] = {}
    for position in positions:
        by_file.setdefault(position.file, []).append(position.number)
    texts: dict[tuple[str | None, int], str] = {}
    for path, numbers in by_file.items():
        statement = (
            sql.hot_rows(numbers, expression) if path is None else sql.by_position(path, numbers, expression)
        )
        texts.update(((path, number), text) for number, text in statement.rows(cursor))
    return [texts[position.file, position.number] for position in positions]
