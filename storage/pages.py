"""Newest-first pages: walk from the newest end in slices of time, stop when the page is full, then fetch its rows.

Positions come first, from a few narrow columns; whole rows are fetched by file and row number in a second statement.
As one statement DuckDB would decompress every column of everything the condition touches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from storage import sql
from storage.query import Filter, Scope
from storage.render import event_texts
from storage.rows import RowCache
from storage.scope import View
from storage.sieve import Narrow
from storage.snapshot import File, Hot

FIRST_SLICE_ROWS = 4_096  # rows the first slice is expected to hold; reading fewer costs DuckDB no less
# The same with a filter: a statement more costs as much as reading so many rows of the few columns that a filter needs.
FIRST_FILTERED_ROWS = 24_576
SLICE_GROWTH = (
    16  # how much larger the next slice is when nothing was found: a rare value takes few statements
)
SLICE_MARGIN = 1.5  # when some were found, the next slice should hold the missing ones and a half more


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


def find(
    cursor: duckdb.DuckDBPyConnection,
    view: View,
    wanted: Filter,
    scope: Scope,
    *,
    limit: int,
    skip: int = 0,
    after: sql.Key | None = None,
    narrow: Narrow | None = None,
) -> list[Position]:
    """Return the positions of ``limit`` matching rows, newest first, after skipping ``skip``.

    ``after`` is (time_us, seq) of the last row already seen. The cursor must have the snapshot's hot rows. ``narrow``
    leaves out what cannot match: slice by slice, so that a page that is soon full looks at few files.
    """
    found: list[Position] = []
    if after is not None:
        view = view.between(view.start_us, after[0] if view.end_us is None else min(after[0], view.end_us))
    if view.empty:
        return found
    if narrow is not None and wanted.selective:
        view = narrow.view(view)
        if view.empty:
            return found
    low, end = view.span()
    expected = max(FIRST_FILTERED_ROWS if wanted.names else FIRST_SLICE_ROWS, 2 * (limit + skip))
    while end >= low and len(found) < limit:
        # Bloom filters and statistics prune a rare id better than slices of time do.
        start = low if wanted.selective else slice_start(view, end, expected)
        part = view.between(view.start_us if start <= low else start, end)
        end = start - 1
        if narrow is not None:
            part = _tightened(narrow.view(part))
        if part.empty:
            expected *= SLICE_GROWTH
            continue
        missing = limit - len(found)
        statement = sql.positions(part, wanted, scope, limit=missing, offset=skip, after=after)
        rows = statement.rows(cursor)
        if rows:
            skip = 0
        elif skip:
            skip -= int(sql.count(part, wanted, scope, after=after).rows(cursor)[0][0])
        found += located(part, rows)
        expected = _next_slice(expected, len(rows), limit - len(found))
    return found


def behind(positions: Sequence[Position], after: sql.Key | None) -> list[Position]:
    """Return the positions, newest first, that come behind (time_us, seq) in a list; all of them without it."""
    return [position for position in positions if after is None or (position.time_us, position.seq) < after]


def _tightened(part: View) -> View:
    """Return the part with its times as near as its files and rows allow: statistics then exclude more row groups."""
    return part if part.empty else part.between(*part.span())


def located(part: View, rows: Sequence[tuple[int, int, int | None, int | None]]) -> Iterator[Position]:
    """Yield the positions that the rows of `sql.positions` tell of."""
    paths = part.paths()
    for time_us, seq, place, row in rows:
        yield Position(time_us, seq, None if place is None else paths[place], row)


def _next_slice(expected: int, found: int, missing: int) -> int:
    """Return how many rows the next slice should hold, judging by what the last one gave."""
    most = expected * SLICE_GROWTH
    return min(most, max(expected, int(expected / found * missing * SLICE_MARGIN))) if found else most


def slices(view: View, rows: int) -> Iterator[View]:
    """Cut a view into slices of time, newest first, together exactly the view, each of about ``rows`` rows."""
    if view.empty:
        return
    low, end = view.span()
    while end >= low:
        start = slice_start(view, end, rows)
        part = view.between(view.start_us if start <= low else start, end)
        if not part.empty:
            yield part
        end = start - 1


def slice_start(view: View, end_us: int, rows: int) -> int:
    """Return a time such that about ``rows`` rows lie between it and ``end_us``, judging by the files' bounds."""
    parts: list[File | Hot] = sorted(
        (part for part in view.parts if part.min_time_us <= end_us),
        key=lambda part: part.max_time_us,
        reverse=True,
    )
    start = end_us
    expected = 0.0
    for part in parts:
        top = min(part.max_time_us, end_us)
        density = _rows(part) / (part.max_time_us - part.min_time_us + 1)
        here = density * (top - part.min_time_us + 1)
        if expected + here >= rows:
            return min(start, top - int((rows - expected) / density))
        expected += here
        start = min(start, part.min_time_us)
    return start


def _rows(part: File | Hot) -> int:
    return part.rows if isinstance(part, File) else part.table.num_rows


def fetch(
    cursor: duckdb.DuckDBPyConnection,
    positions: Sequence[Position],
    hot: Sequence[Hot],
    cache: RowCache | None = None,
) -> list[str]:
    """Return the JSON text of the Event at each position, in order; ``hot`` are the snapshot's batches."""
    texts: dict[tuple[str | None, int], str] = {}
    missing: dict[str, list[int]] = {}
    warm: list[int] = []
    for position in positions:
        place = position.file, position.number
        if position.file is None:
            warm.append(position.seq)
        elif cache and (text := cache.get(place)) is not None:
            texts[place] = text
        else:
            missing.setdefault(position.file, []).append(position.number)
    for seq, text in _hot_texts(hot, warm):
        texts[None, seq] = text
    for path, numbers in missing.items():
        table = sql.by_row(path, numbers).table(cursor)
        rows: list[int] = table[sql.ROW].to_numpy().tolist()
        for number, text in zip(rows, event_texts(table), strict=True):
            texts[path, number] = text
            if cache:
                cache.put((path, number), text)
    return [texts[position.file, position.number] for position in positions]


def _hot_texts(hot: Sequence[Hot], seqs: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield seq and text of hot rows. A batch rises in seq, so each row is found by bisection, without a query."""
    for batch in hot:
        mine = [seq for seq in seqs if batch.min_seq <= seq <= batch.max_seq]
        if mine:
            rows = np.searchsorted(batch.table["seq"].to_numpy(), mine)
            yield from zip(mine, event_texts(batch.table.take(pa.array(rows, pa.int64()))), strict=True)
