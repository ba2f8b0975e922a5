"""Pages in the other direction: the matching rows right after a place in time, oldest first."""

from __future__ import annotations

import duckdb

from storage import sql
from storage.pages import Position, located
from storage.query import Filter, Scope
from storage.scope import View
from storage.sieve import Narrow

FIRST_SLICE_US = 10_000_000  # ten seconds, of a busy application some thousand events
SLICE_GROWTH = 16


def later(
    cursor: duckdb.DuckDBPyConnection,
    view: View,
    wanted: Filter,
    scope: Scope,
    *,
    limit: int,
    after: sql.Key,
    narrow: Narrow,
) -> list[Position]:
    """Return the positions of the first ``limit`` matching rows after ``after`` (time_us, seq), oldest first.

    Slices of time grow until the rows are found; where no file or batch has anything, the walk jumps to the next one.
    """
    found: list[Position] = []
    view = narrow.view(view.between(after[0], view.end_us))
    if view.empty:
        return found
    start, high = view.span()
    width = FIRST_SLICE_US
    while start <= high and len(found) < limit:
        end = high if wanted.selective else min(high, start + width)
        part = view.between(start, end)
        if part.empty:
            start = min(each.min_time_us for each in view.parts if each.min_time_us > end)
            continue
        statement = sql.soonest(part, wanted, scope, limit=limit - len(found), after=after)
        found += located(part, statement.rows(cursor))
        start = end + 1
        width *= SLICE_GROWTH
    return found
