"""The archive's questions and answers: what the web and the command line call. Blocking work runs in the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import duckdb

from storage import pages, sql
from storage.engine import Engine
from storage.errors import DeadlineError, QueryError
from storage.export import Format, pieces
from storage.filters import Term
from storage.planner import Planner
from storage.query import ExportQuery, Filter, ListQuery, RejectQuery, Scope, StatisticsQuery, fingerprint
from storage.rejects import RejectPage, reject_page
from storage.scope import view
from storage.snapshot import Snapshot
from storage.statistics import rfc3339, statistics
from storage.usage import user_stats

OBSERVED_FIELDS = ("level", "category", "action", "outcome")


@dataclass(frozen=True, slots=True)
class Page:
    """Rows (each the JSON text of one Event), how many match in all, and where the next page begins.

    ``total`` is a lower bound when ``total_is_estimate``; ``snapshot`` is the seq up to which was looked.
    """

    rows: list[str]
    total: int
    total_is_estimate: bool
    next: str | None
    snapshot: int
    plan: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """The first event with an id as JSON text, and how many more lines carry the same id."""

    json: str
    duplicates: int


class Queries:
    """Answers over the newest snapshot. ``snapshots`` gives it; it is called from the event loop."""

    def __init__(self, engine: Engine, snapshots: Callable[[], Snapshot]) -> None:
        self._engine = engine
        self._snapshots = snapshots

    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        return self._snapshots()

    def version(
        self, query: ListQuery | StatisticsQuery | ExportQuery, snapshot: Snapshot | None = None
    ) -> str:
        """Return what an answer depends on: the query, the highest seq it can see, and what was dropped.

        The daemon's own events change it only for a scope that sees them; sealing never does.
        """
        seen = snapshot or self.snapshot()
        highest = {
            "exclude": seen.seq_external,
            "only": seen.seq_internal,
            "include": max(seen.seq_external, seen.seq_internal),
        }[query.scope.internal]
        return f"{highest}.{seen.drops}.{fingerprint(query)}"

    async def page(self, query: ListQuery) -> Page:
        """Return one page of events, newest first, and the total.

        Raises `pages.CursorError` for a cursor of another list, DeadlineError when the rows themselves take too long;
        a total that takes too long is estimated instead.
        """
        snapshot = self.snapshot()
        mark = pages.decode(query.cursor, query.filter, query.scope) if query.cursor else None
        wanted_seq = mark.snapshot if mark else query.snapshot
        seq = snapshot.seq if wanted_seq is None else min(wanted_seq, snapshot.seq)
        seen = view(snapshot, query.filter, query.scope, seq)
        skip = 0 if mark else ((query.page or 1) - 1) * query.limit

        def find(cursor: duckdb.DuckDBPyConnection) -> tuple[list[pages.Position], list[str]]:
            sql.register(cursor, snapshot.hot)
            after = (mark.time_us, mark.seq) if mark else None
            found = pages.find(
                cursor, seen, query.filter, query.scope, limit=query.limit + 1, skip=skip, after=after
            )
            return found, pages.fetch(cursor, found[: query.limit])

        found, rows = await self._engine.run(find)
        following = None
        if len(found) > query.limit:
            last = found[query.limit - 1]
            mark = pages.Mark(last.time_us, last.seq, seq)
            following = pages.encode(mark, query.filter, query.scope)
        total, estimate, plan = len(rows), True, {}
        if query.count:
            total, estimate, plan = await self._total(query, snapshot, seq, at_least=skip + len(rows))
        return Page(rows, total, estimate, following, seq, plan)

    async def _total(
        self, query: ListQuery, snapshot: Snapshot, seq: int, *, at_least: int
    ) -> tuple[int, bool, dict[str, Any]]:
        def total(cursor: duckdb.DuckDBPyConnection) -> tuple[int, dict[str, Any]]:
            planner = Planner(cursor, snapshot, seq=seq)
            rows = planner.counts(query.filter, query.scope, (sql.DIMENSIONS["level"],), part="total")
            return sum(row[-1] for row in rows), planner.used.summary()

        try:
            count, plan = await self._engine.run(total, deadline=self._engine.options.count_seconds)
        except DeadlineError:
            return at_least, True, {}
        return count, False, plan

    async def event(self, event_id: str, scope: Scope | None = None) -> EventAnswer | None:
        """Return the first event with this id, or None."""
        snapshot = self.snapshot()
        asked = scope or Scope(internal="include")
        wanted = Filter(terms=(Term("event_id", event_id),))
        seen = view(snapshot, wanted, asked)

        def find(cursor: duckdb.DuckDBPyConnection) -> EventAnswer | None:
            sql.register(cursor, snapshot.hot)
            found = pages.find(cursor, seen, wanted, asked, limit=MAX_DUPLICATES)
            if not found:
                return None
            first = min(found, key=lambda position: position.seq)
            return EventAnswer(pages.fetch(cursor, [first])[0], len(found) - 1)

        return await self._engine.run(find)

    async def count(self, query: ExportQuery) -> int:
        """Return how many events an export will hold."""
        snapshot = self.snapshot()

        def total(cursor: duckdb.DuckDBPyConnection) -> int:
            planner = Planner(cursor, snapshot, seq=query.snapshot)
            rows = planner.counts(query.filter, query.scope, (sql.DIMENSIONS["level"],))
            return sum(row[-1] for row in rows)

        count = await self._engine.run(total, place="statistics")
        return count if query.limit is None else min(count, query.limit)

    async def statistics(self, query: StatisticsQuery) -> dict[str, Any]:
        """Return the figures of `/events/statistics`. The filter's range must have both ends."""
        snapshot = self.snapshot()
        return await self._engine.run(lambda cursor: statistics(cursor, snapshot, query), place="statistics")

    async def user_stats(self, wanted: Filter, scope: Scope | None = None) -> dict[str, Any]:
        """Return the figures of `/events/stats` for the events of a filter (a user and a range of days)."""
        snapshot = self.snapshot()
        asked = scope or Scope()
        return await self._engine.run(
            lambda cursor: user_stats(cursor, snapshot, wanted, asked), place="statistics"
        )

    async def observed(self, field: str, scope: Scope | None = None) -> list[str]:
        """Return the words that occur in ``level``, ``category``, ``action`` or ``outcome``, in order."""
        if field not in OBSERVED_FIELDS:
            raise QueryError(f"words of {field!r} are not kept", hint=f"one of {', '.join(OBSERVED_FIELDS)}")
        snapshot = self.snapshot()

        def words(cursor: duckdb.DuckDBPyConnection) -> list[str]:
            planner = Planner(cursor, snapshot)
            rows = planner.counts(Filter(), scope or Scope(), (sql.DIMENSIONS[field],))
            return sorted(word for word, _ in rows if word is not None)

        return await self._engine.run(words, place="statistics")

    async def rejects(self, query: RejectQuery) -> RejectPage:
        """Return a page of lines that could not be parsed, newest first."""
        snapshot = self.snapshot()
        return await self._engine.run(lambda cursor: reject_page(cursor, snapshot, query))

    async def totals(self) -> dict[str, Any]:
        """Return events (without the daemon's own), rows (with them), bytes of committed files, oldest and newest."""
        snapshot = self.snapshot()

        def total(cursor: duckdb.DuckDBPyConnection) -> int:
            rows = Planner(cursor, snapshot).counts(Filter(), Scope(), (sql.DIMENSIONS["level"],))
            return sum(row[-1] for row in rows)

        parts = (*snapshot.events, *snapshot.hot)
        return {
            "events": await self._engine.run(total, place="statistics"),
            "rows": sum(file.rows for file in snapshot.events)
            + sum(hot.table.num_rows for hot in snapshot.hot),
            "bytes": sum(file.bytes for file in (*snapshot.events, *snapshot.rollups, *snapshot.rejects)),
            "oldest": rfc3339(min(part.min_time_us for part in parts)) if parts else None,
            "newest": rfc3339(max(part.max_time_us for part in parts)) if parts else None,
        }

    def export(self, query: ExportQuery, form: Format) -> AsyncIterator[bytes]:
        """Yield the body of an export piece by piece, at flat memory; an error rises in the middle of it."""
        snapshot = self.snapshot()
        return self._engine.stream(lambda cursor: pieces(cursor, snapshot, query, form))


MAX_DUPLICATES = 10_000  # more lines with one id than that are counted as so many
