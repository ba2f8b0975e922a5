"""The events behind an alert: exactly those of the windows at whose end its rule fired.

An anchor is one event, but a correlation fires because of all that its rules matched in the window that ends there. They
are looked up when somebody asks: the archive has them, and where they lie follows from the rule, the group and the time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from parsers.expression import Expression
from parsers.moments import rfc3339
from parsers.sigma.rule import Rule
from storage import sql
from storage.correlating import Plan, reach_us
from storage.filters import Bind
from storage.query import Filter, Scope
from storage.scope import view
from storage.snapshot import Snapshot

MOST_EVENTS = 1_000  # of one alert, the newest

Groups = tuple[str, ...]
Source = Callable[[Bind], str]
"""Gives the FROM item of the events, and binds what it needs."""


@dataclass(frozen=True, slots=True)
class Behind:
    """An event behind an alert: which rules it matched, and whether the alert's own rule fired there."""

    event_id: str
    at_us: int
    seq: int
    rules: tuple[str, ...]
    fired: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "eventId": self.event_id,
            "timestamp": rfc3339(self.at_us),
            "seq": self.seq,
            "rules": list(self.rules),
            "fired": self.fired,
        }


@dataclass(frozen=True, slots=True)
class Matched:
    """Rows by seq: their times, and the rules (ids) that they matched."""

    times: dict[int, int]
    rules: dict[int, set[str]]

    def add(self, seq: int, at_us: int, rule: str) -> None:
        """Note that a row matched a rule."""
        self.times[seq] = at_us
        self.rules.setdefault(seq, set()).add(rule)


class Windows:
    """Finds what lay in the windows of anchors. The same answers as the plan that found the anchors."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        rules: Mapping[str, Rule],
        routes: Mapping[str, Expression],
        source: Source,
    ) -> None:
        self._cursor = cursor
        self._rules = rules
        self._routes = routes
        self._source = source

    def anchors(self, rule: Rule, start_us: int, end_us: int) -> list[tuple[int, int, Groups]]:
        """Return where a rule fired between two times: time, seq, group."""
        plan = Plan(self._rules, self._routes)
        text = plan.anchors(rule, self._source(plan.bind))
        return self._rows(plan, f"SELECT at_us, seq, groups FROM ({text})", start_us, end_us)

    def behind(
        self, rule: Rule, groups: Groups, anchors: Collection[tuple[int, int]], found: Matched
    ) -> None:
        """Add every plain match in the windows of a rule's anchors (time, seq) of one group."""
        how = rule.correlation
        if how is None or not anchors:
            for at_us, seq in anchors:
                found.add(seq, at_us, rule.id)
            return
        ends = sorted({at_us for at_us, _ in anchors})
        plan = Plan(self._rules, self._routes)
        text = plan.members(rule, self._source(plan.bind))
        rows = self._rows(plan, f"SELECT * FROM ({text})", ends[0] - how.span_us, ends[-1])
        inside: dict[str, set[tuple[int, int]]] = {}
        for at_us, seq, own, number in rows:
            place = bisect_left(ends, at_us)  # the first window that ends here or later
            if own == groups and place < len(ends) and ends[place] - how.span_us <= at_us:
                inside.setdefault(how.rules[number], set()).add((at_us, seq))
        for identity, members in inside.items():
            member = self._rules[identity]
            if member.correlation is None:
                self.behind(member, (), members, found)
                continue
            # A correlation inside has groups of its own.
            times = [at_us for at_us, _ in members]
            by_group: dict[Groups, set[tuple[int, int]]] = {}
            for at_us, seq, own in self.anchors(member, min(times), max(times)):
                if (at_us, seq) in members:
                    by_group.setdefault(own, set()).add((at_us, seq))
            for own, theirs in by_group.items():
                self.behind(member, own, theirs, found)

    def _rows(self, plan: Plan, text: str, start_us: int, end_us: int) -> list[tuple[Any, ...]]:
        low, high = plan.bind(start_us), plan.bind(end_us)
        rows = self._cursor.execute(
            f"SELECT * FROM ({text}) WHERE at_us BETWEEN {low} AND {high}", plan.bind.values
        ).fetchall()
        return [(at_us, seq, tuple(groups), *rest) for at_us, seq, groups, *rest in rows]


def evidence(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    rule: Rule,
    rules: Mapping[str, Rule],
    routes: Mapping[str, Expression],
    groups: Groups,
    *,
    start_us: int,
    end_us: int,
) -> list[Behind]:
    """Return the events because of which a rule fired for a group between two times, oldest first, at most MOST_EVENTS."""
    scope = Scope(internal="include")  # each rule says itself whether it is about the daemon's own events
    wanted = Filter(start_us=start_us - reach_us(rule, rules), end_us=end_us)
    seen = view(snapshot, wanted, scope)
    if seen.empty:
        return []
    sql.register(cursor, snapshot.hot)

    def source(bind: Bind) -> str:
        from_item = sql.source(seen, bind)
        return f"(SELECT * FROM {from_item} WHERE {sql.where(seen, wanted, scope, bind)})"

    windows = Windows(cursor, rules, routes, source)
    anchors = {(at_us, seq) for at_us, seq, own in windows.anchors(rule, start_us, end_us) if own == groups}
    found = Matched({}, {})
    windows.behind(rule, groups, anchors, found)
    newest = sorted(found.times, key=lambda seq: (found.times[seq], seq))[-MOST_EVENTS:]
    return _named(cursor, source, newest, found, {seq for _, seq in anchors})


def _named(
    cursor: duckdb.DuckDBPyConnection, source: Source, seqs: Sequence[int], found: Matched, fired: set[int]
) -> list[Behind]:
    bind = Bind()
    rows = cursor.execute(
        f"SELECT seq, event_id FROM {source(bind)} WHERE seq IN (SELECT unnest({bind(list(seqs))}))",
        bind.values,
    ).fetchall()
    ids = dict(rows)
    return [
        Behind(ids[seq], found.times[seq], seq, tuple(sorted(found.rules[seq])), seq in fired)
        for seq in seqs
        if seq in ids
    ]
