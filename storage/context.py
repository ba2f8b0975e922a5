"""What lies around one event: by time, and what shares its correlation id, its session or its user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import duckdb
import orjson

from storage import pages, sql
from storage.filters import Term
from storage.later import later
from storage.masking import Mask
from storage.query import Filter, Scope
from storage.rare import Rare
from storage.rows import RowCache
from storage.scope import view
from storage.sieve import Sieve
from storage.snapshot import Snapshot
from storage.treatments import hidden_from

By = Literal["time", "correlation", "session", "user"]
GROUPS: tuple[By, ...] = ("time", "correlation", "session", "user")
MAX_DUPLICATES = 10_000  # of one id are looked at to find the first

Event = dict[str, Any]

# What an event has in common with the others of a group: the fields to look at, the first that it has counts.
_SHARED: dict[By, tuple[tuple[str, Callable[[Event], Any]], ...]] = {
    "time": (),
    "correlation": (("correlation_id", lambda event: event["correlationId"]),),
    "session": (("session_id", lambda event: event["sessionId"]),),
    "user": (
        ("user_id", lambda event: (event["user"] or {}).get("id")),
        ("username", lambda event: (event["user"] or {}).get("username")),
    ),
}


@dataclass(frozen=True, slots=True)
class ContextQuery:
    """Which event, how many older and newer ones of each group, and which groups."""

    event_id: str
    scope: Scope
    before: int = 10
    after: int = 10
    by: Sequence[By] = GROUPS


@dataclass(frozen=True, slots=True)
class Group:
    """Events around one, newest first, as JSON texts; ``at`` is its own place among them.

    ``value`` is what they share; None where the event has no such thing, and then there are no rows. ``older`` and
    ``newer`` say whether there are more.
    """

    by: By
    field: str | None = None
    value: Any = None
    rows: tuple[str, ...] = ()
    at: int | None = None
    older: bool = False
    newer: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """One event as JSON text, and the groups around it."""

    event: str
    groups: list[Group] = field(default_factory=list)


def context(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    query: ContextQuery,
    *,
    sieve: Sieve,
    rare: Rare,
    cache: RowCache,
    mask: Mask,
) -> Context | None:
    """Return what lies around the first event with this id; None when there is none. One call, one deadline."""
    sql.show(cursor, snapshot.hot)
    wanted = Filter(terms=(Term("event_id", query.event_id),))
    anywhere = replace(query.scope, internal="include")
    same = rare.find(cursor, snapshot, wanted, anywhere)
    if same is None:
        seen = view(snapshot, wanted, anywhere)
        narrow = sieve.over(snapshot, wanted, anywhere)
        same = pages.find(cursor, seen, wanted, anywhere, limit=MAX_DUPLICATES, narrow=narrow)
    if not same:
        return None
    first = min(same, key=lambda position: position.seq)
    text = pages.fetch(cursor, [first], snapshot.hot, cache)[0]
    event = orjson.loads(text)
    shown = mask.rows([text])[0] if hidden_from(query.scope) else text
    found = Context(shown)
    for by in query.by:
        around = _Around(cursor, snapshot, query, first, sieve, rare, cache)
        group = around.group(by, event, orjson.loads(shown))
        if hidden_from(query.scope):
            group = replace(group, rows=tuple(mask.rows(list(group.rows))))
        found.groups.append(group)
    return found


@dataclass(frozen=True, slots=True)
class _Around:
    """Looks around one row."""

    cursor: duckdb.DuckDBPyConnection
    snapshot: Snapshot
    query: ContextQuery
    first: pages.Position
    sieve: Sieve
    rare: Rare
    cache: RowCache

    def group(self, by: By, event: Event, shown: Event) -> Group:
        """Return the events of a group. Values come from ``event``; ``shown`` is how the caller sees it."""
        scope = replace(self.query.scope, internal="include" if event["internal"] else "exclude")
        if not _SHARED[by]:
            return self._group(Group(by), Filter(), scope)
        for name, of in _SHARED[by]:
            value = of(event)
            if value not in {None, ""}:
                term = Term(name, str(value))
                # Who may see the event may see what belongs to it; the value itself stays masked.
                scope = replace(scope, granted=(*scope.granted, term))
                return self._group(Group(by, name, of(shown)), Filter(terms=(term,)), scope)
        return Group(by)

    def _group(self, group: Group, wanted: Filter, scope: Scope) -> Group:
        query, first = self.query, self.first
        older, newer = self._beside(wanted, scope)
        kept = [*reversed(newer[: query.after]), first, *older[: query.before]]
        return replace(
            group,
            rows=tuple(pages.fetch(self.cursor, kept, self.snapshot.hot, self.cache)),
            at=min(len(newer), query.after),
            older=len(older) > query.before,
            newer=len(newer) > query.after,
        )

    def _beside(self, wanted: Filter, scope: Scope) -> tuple[list[pages.Position], list[pages.Position]]:
        """Return the rows right before the first, newest first, and right after it, oldest first; one more each."""
        query = self.query
        key = (self.first.time_us, self.first.seq)
        few = self.rare.find(self.cursor, self.snapshot, wanted, scope)
        if few is not None:
            newer = [position for position in reversed(few) if (position.time_us, position.seq) > key]
            return pages.behind(few, key)[: query.before + 1], newer[: query.after + 1]
        seen = view(self.snapshot, wanted, scope)
        narrow = self.sieve.over(self.snapshot, wanted, scope)
        return (
            pages.find(self.cursor, seen, wanted, scope, limit=query.before + 1, after=key, narrow=narrow),
            later(self.cursor, seen, wanted, scope, limit=query.after + 1, after=key, narrow=narrow),
        )
