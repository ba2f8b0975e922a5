"""The archive's questions and answers: what the web and the command line call. Blocking work runs in the engine."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import duckdb

from parsers.expression import Expression
from parsers.fields import Field
from parsers.moments import rfc3339
from parsers.sigma.rule import Rule
from storage import counting, cursors, facets, pages, sql
from storage.backtest import Outcome, backtest
from storage.context import Context, ContextQuery, context
from storage.engine import Engine, Piece
from storage.errors import DeadlineError, MaskedError, QueryError
from storage.evidence import Behind, evidence
from storage.explaining import cost
from storage.export import Format, pieces
from storage.facets import FacetQuery
from storage.filters import Term
from storage.masking import Mask
from storage.material import Material
from storage.packing import packed
from storage.planner import Planner
from storage.profile import ProfileQuery, profile
from storage.query import ExportQuery, Filter, ListQuery, RejectQuery, Scope, StatisticsQuery, fingerprint
from storage.rare import Rare
from storage.rejects import RejectPage, reject_page
from storage.rows import RowCache
from storage.scope import view
from storage.sieve import Sieve
from storage.snapshot import Snapshot
from storage.statistics import statistics
from storage.suggesting import seen_keys, seen_values
from storage.treatments import HIDDEN, hidden_from
from storage.trends import TrendQuery, trends
from storage.usage import user_stats
from storage.warming import warm

OBSERVED_FIELDS = ("level", "category", "action", "outcome")
LEAST_SECONDS = 0.05  # what a facet gets although others used the time up: roll-ups need less
MAX_DUPLICATES = 10_000  # more lines with one id than that are counted as so many


@dataclass(frozen=True, slots=True)
class Page:
    """Rows (each the JSON text of one Event), how many match in all, and where the next page begins.

    ``total`` is exact unless ``total_is_estimate``; ``snapshot`` is the seq up to which was looked.
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
    """Answers over the newest snapshot. ``snapshots`` gives it; it is called from the event loop.

    ``mask`` is what scopes below auditor see through.
    """

    def __init__(self, engine: Engine, snapshots: Callable[[], Snapshot], mask: Mask | None = None) -> None:
        self._engine = engine
        self._snapshots = snapshots
        self.mask = mask or Mask()
        self._rows = RowCache()
        self._counts = counting.FileCounts()
        self._sieve = Sieve()
        self._rare = Rare(self._sieve, self._rows)

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

    async def warm(self) -> None:
        """Read what the first questions would have to read of every file, in the background. May be cancelled."""
        await warm(self._engine, self.snapshot(), self._sieve)

    async def page(self, query: ListQuery) -> Page:
        """Return one page of events, newest first, and the total.

        Raises `cursors.CursorError` for a cursor of another list and DeadlineError when finding the rows takes too
        long; a total that takes too long is estimated instead.
        """
        snapshot = self.snapshot()
        mark = cursors.decode(query.cursor, query.filter, query.scope) if query.cursor else None
        limit_seq = mark.snapshot if mark else query.snapshot
        seq = snapshot.seq if limit_seq is None else min(limit_seq, snapshot.seq)
        skip = 0 if mark else ((query.page or 1) - 1) * query.limit
        after = (mark.time_us, mark.seq) if mark else None

        def find(cursor: duckdb.DuckDBPyConnection) -> tuple[list[pages.Position], list[str], int | None]:
            asked = query.filter, query.scope
            few = self._rare.find(cursor, snapshot, *asked, seq=seq)
            if few is not None:
                found = pages.behind(few, after)[skip : skip + query.limit + 1]
            else:
                seen = view(snapshot, *asked, seq)
                sql.show(cursor, snapshot.hot)
                narrow = self._sieve.over(snapshot, *asked)
                found = pages.find(
                    cursor, seen, *asked, limit=query.limit + 1, skip=skip, after=after, narrow=narrow
                )
            texts = pages.fetch(cursor, found[: query.limit], snapshot.hot, self._rows)
            return found, self._shown(texts, query.scope), None if few is None else len(few)

        found, rows, total = await self._engine.run(find)
        following = None
        if len(found) > query.limit:
            last = found[query.limit - 1]
            end = cursors.Mark(last.time_us, last.seq, seq)
            following = cursors.encode(end, query.filter, query.scope)
        if following is None and mark is None and (rows or not skip):  # the last page says how many there are
            return Page(rows, skip + len(rows), False, None, seq, {})
        if not query.count:
            return Page(rows, skip + len(rows), True, following, seq, {})
        if total is not None:
            return Page(rows, total, False, following, seq, {})
        total, estimate, plan = await self._total(query, snapshot, seq)
        if estimate and rows:
            total = max(total, skip + len(rows))
        return Page(rows, total, estimate, following, seq, plan)

    def _shown(self, texts: list[str], scope: Scope) -> list[str]:
        """Return rows as a scope may see them."""
        return self.mask.rows(texts) if hidden_from(scope) else texts

    async def _total(
        self, query: ListQuery, snapshot: Snapshot, seq: int
    ) -> tuple[int, bool, dict[str, Any]]:
        """Return a list's total, whether it is an estimate, and the plan."""
        tally = counting.Tally()
        seconds = self._engine.options.count_seconds

        def count(cursor: duckdb.DuckDBPyConnection) -> tuple[int, dict[str, Any]]:
            narrow = self._sieve.over(snapshot, query.filter, query.scope)
            return counting.total(
                *(cursor, snapshot, query.filter, query.scope, self._counts, tally),
                seq=seq,
                narrow=narrow,
                sheets=self._engine.sheets,
                within=seconds,
            )

        try:
            total, plan = await self._engine.run(count, deadline=seconds)
        except (DeadlineError, counting.TooManyError):
            return tally.estimate, True, {}
        return total, False, plan

    async def event(self, event_id: str, scope: Scope | None = None) -> EventAnswer | None:
        """Return the first event with this id (the one with the lowest seq), or None."""
        snapshot = self.snapshot()
        asked = scope or Scope(internal="include")
        wanted = Filter(terms=(Term("event_id", event_id),))

        def find(cursor: duckdb.DuckDBPyConnection) -> EventAnswer | None:
            found = self._rare.find(cursor, snapshot, wanted, asked)
            if found is None:
                sql.show(cursor, snapshot.hot)
                narrow = self._sieve.over(snapshot, wanted, asked)
                seen = view(snapshot, wanted, asked)
                found = pages.find(cursor, seen, wanted, asked, limit=MAX_DUPLICATES, narrow=narrow)
            if not found:
                return None
            first = min(found, key=lambda position: position.seq)
            texts = pages.fetch(cursor, [first], snapshot.hot, self._rows)
            return EventAnswer(self._shown(texts, asked)[0], len(found) - 1)

        return await self._engine.run(find)

    async def context(self, query: ContextQuery) -> Context | None:
        """Return what lies around an event; None when no event has the id."""
        snapshot = self.snapshot()
        around = partial(
            context,
            snapshot=snapshot,
            query=query,
            sieve=self._sieve,
            rare=self._rare,
            cache=self._rows,
            mask=self.mask,
        )
        return await self._engine.run(around)

    async def profile(self, query: ProfileQuery) -> dict[str, Any] | None:
        """Return the figures of one user or thing; None for what was never seen."""
        snapshot = self._ranged(query.filter)
        of = partial(
            profile,
            snapshot=snapshot,
            query=query,
            sieve=self._sieve,
            cache=self._rows,
            mask=self.mask,
            sheets=self._engine.sheets,
        )
        return await self._engine.run(of, place="statistics")

    async def count(self, query: ExportQuery) -> int:
        """Return how many events an export will hold."""
        snapshot = self.snapshot()

        def count(cursor: duckdb.DuckDBPyConnection) -> int:
            tally = counting.Tally()
            narrow = self._sieve.over(snapshot, query.filter, query.scope)
            return counting.total(
                *(cursor, snapshot, query.filter, query.scope, self._counts, tally),
                seq=query.snapshot,
                narrow=narrow,
                sheets=self._engine.sheets,
            )[0]

        total = await self._engine.run(count, place="statistics")
        return total if query.limit is None else min(total, query.limit)

    async def statistics(self, query: StatisticsQuery) -> dict[str, Any]:
        """Return the figures of `/events/statistics`. The filter's range must have both ends."""
        snapshot = self._ranged(query.filter)

        def figures(cursor: duckdb.DuckDBPyConnection) -> dict[str, Any]:
            answer = statistics(cursor, snapshot, query, self._rows, self._engine.sheets)
            return self.mask.figures(answer) if hidden_from(query.scope) else answer

        return await self._engine.run(figures, place="statistics")

    async def trends(self, query: TrendQuery) -> dict[str, Any]:
        """Return the buckets of `/events/trends`. The filter's range must have both ends."""
        snapshot = self._ranged(query.filter)
        return await self._engine.run(
            lambda cursor: trends(cursor, snapshot, query, self._engine.sheets), place="statistics"
        )

    async def facets(self, query: FacetQuery) -> dict[str, facets.Facet]:
        """Return the facets of `/events/facets`; what takes longer than the engine's ``facet_seconds`` timed out."""
        snapshot = self._ranged(query.filter)
        facets.check_masked(query)
        found: dict[str, facets.Facet] = {}
        ends = time.monotonic() + self._engine.options.facet_seconds
        for job in facets.jobs(query):
            work = partial(facets.answer, snapshot=snapshot, query=query, job=job, sheets=self._engine.sheets)
            try:
                remaining = max(LEAST_SECONDS, ends - time.monotonic())
                found |= await self._engine.run(work, deadline=remaining, place="statistics")
            except DeadlineError:
                self._engine.observer.count("facets_timed_out", len(job.fields))
                found |= dict.fromkeys(job.fields, facets.Facet(timed_out=True))
        return {field: facets.masked(field, found[field], query.scope, self.mask) for field in query.fields}

    def _ranged(self, wanted: Filter) -> Snapshot:
        """Return the newest snapshot for a question about a range."""
        if wanted.start_us is None or wanted.end_us is None:
            raise QueryError("figures need a range", hint="give both its start and its end")
        return self.snapshot()

    async def user_stats(self, wanted: Filter, scope: Scope | None = None) -> dict[str, Any]:
        """Return the figures of `/events/stats` for the events of a filter (a user and a range of days)."""
        snapshot = self.snapshot()
        asked = scope or Scope()
        return await self._engine.run(
            lambda cursor: user_stats(cursor, snapshot, wanted, asked), place="statistics"
        )

    async def cost(self, wanted: Filter, scope: Scope) -> dict[str, Any]:
        """Return what a question would read, without reading it."""
        snapshot = self.snapshot()
        return await self._engine.run(lambda _cursor: cost(snapshot, wanted, scope, self._sieve))

    async def seen_values(
        self, field: Field, path: tuple[str, ...], prefix: str, scope: Scope
    ) -> list[tuple[str, int]]:
        """Return values of a field that begin with a text, the most frequent of the newest events first.

        Has a short deadline of its own. Raises MaskedError for a scope that does not see the field.
        """
        snapshot = self.snapshot()
        return await self._engine.run(
            lambda cursor: seen_values(cursor, snapshot, field, path, prefix, scope),
            deadline=self._engine.options.suggest_seconds,
        )

    async def seen_keys(
        self, field: Field, path: tuple[str, ...], prefix: str, scope: Scope
    ) -> list[tuple[str, int]]:
        """Return keys of the object at a path of a JSON field, as `seen_values` returns values."""
        snapshot = self.snapshot()
        return await self._engine.run(
            lambda cursor: seen_keys(cursor, snapshot, field, path, prefix, scope),
            deadline=self._engine.options.suggest_seconds,
        )

    async def observed(self, field: str, scope: Scope | None = None) -> list[str]:
        """Return the words that occur in ``level``, ``category``, ``action`` or ``outcome``, in order."""
        if field not in OBSERVED_FIELDS:
            raise QueryError(f"words of {field!r} are not kept", hint=f"one of {', '.join(OBSERVED_FIELDS)}")
        snapshot = self.snapshot()

        def words(cursor: duckdb.DuckDBPyConnection) -> list[str]:
            rows = Planner(Material(cursor, snapshot, sheets=self._engine.sheets)).counts(
                Filter(), scope or Scope(), (field,)
            )
            return sorted(word for word, _ in rows if word is not None)

        return await self._engine.run(words, place="statistics")

    async def rejects(self, query: RejectQuery) -> RejectPage:
        """Return a page of lines that could not be parsed, newest first."""
        snapshot = self.snapshot()
        found = await self._engine.run(lambda cursor: reject_page(cursor, snapshot, query))
        if not hidden_from(query.scope):
            return found
        # Nobody understood these lines, so nothing says where in them a person is.
        return replace(found, rows=[row | {"raw": HIDDEN} for row in found.rows])

    async def backtest(
        self,
        rule: Rule,
        rules: Mapping[str, Rule],
        routes: Mapping[str, Expression],
        *,
        start_us: int,
        end_us: int,
    ) -> Outcome:
        """Return what a rule would have done between two times. Raises DeadlineError when that takes too long."""
        snapshot = self.snapshot()
        return await self._engine.run(
            lambda cursor: backtest(cursor, snapshot, rule, rules, routes, start_us=start_us, end_us=end_us),
            deadline=self._engine.options.rules_seconds,
            place="rules",
        )

    async def evidence(
        self,
        rule: Rule,
        rules: Mapping[str, Rule],
        routes: Mapping[str, Expression],
        groups: tuple[str, ...],
        *,
        start_us: int,
        end_us: int,
    ) -> list[Behind]:
        """Return the events because of which a rule fired for a group. Raises DeadlineError when that takes too long."""
        snapshot = self.snapshot()
        return await self._engine.run(
            lambda cursor: evidence(
                cursor, snapshot, rule, rules, routes, groups, start_us=start_us, end_us=end_us
            ),
            deadline=self._engine.options.rules_seconds,
            place="rules",
        )

    async def totals(self) -> dict[str, Any]:
        """Return events (without the daemon's own), rows (with them), bytes of committed files, oldest and newest."""
        snapshot = self.snapshot()
        events = await self._engine.run(
            lambda cursor: Planner(Material(cursor, snapshot, sheets=self._engine.sheets)).total(
                Filter(), Scope()
            ),
            place="statistics",
        )
        parts = view(snapshot, Filter(), Scope(internal="include")).parts
        return {
            "events": events,
            "rows": sum(file.rows for file in snapshot.events)
            + sum(batch.table.num_rows for batch in snapshot.hot),
            "bytes": sum(file.bytes for file in (*snapshot.events, *snapshot.rollups, *snapshot.rejects)),
            "oldest": rfc3339(min(part.min_time_us for part in parts)) if parts else None,
            "newest": rfc3339(max(part.max_time_us for part in parts)) if parts else None,
        }

    def export(
        self, query: ExportQuery, form: Format, packing: str | None = None
    ) -> AsyncGenerator[Piece, None]:
        """Yield the body of an export piece by piece, at flat memory; an error rises in the middle of it.

        ``packing`` names how it is compressed (`storage.packing.PACKINGS`). Raises MaskedError for a scope that sees
        anything masked: whole exports are for those who see it all.
        """
        if hidden_from(query.scope):
            raise MaskedError("an export shows every value", hint="the role auditor may export")
        snapshot = self.snapshot()
        return self._engine.stream(lambda cursor: packed(pieces(cursor, snapshot, query, form), packing))
