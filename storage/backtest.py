"""Rules over what is archived: how often each would have fired, on what, and how long that took to find out."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from parsers.expression import Expression
from parsers.moments import rfc3339
from parsers.sigma.episodes import quiet_us
from parsers.sigma.rule import Rule
from storage import sql
from storage.buckets import MAX_BUCKETS, MONTH_US, grid, step_of
from storage.correlating import Plan, reach_us
from storage.courtesy import step_aside
from storage.filters import Bind
from storage.query import Filter, Scope
from storage.scope import View, view
from storage.snapshot import Snapshot

# Turned into values of Python together: that needs the interpreter without a break, a hundred thousand of them for longer
# than anybody should wait for an answer.
ROWS_AT_ONCE = 1_000
EXAMPLES = 20  # anchors shown of each rule, the newest
MOST_GROUPS = 10  # groups shown of each rule, those at which it fired most often


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a rule fired: the event, its group, and the counted value if there is one."""

    event_id: str
    at_us: int
    seq: int
    groups: tuple[str, ...]
    value: float | None

    def to_json(self) -> dict[str, Any]:
        """Return it as the API and the command line show it."""
        return {
            "eventId": self.event_id,
            "timestamp": rfc3339(self.at_us),
            "seq": self.seq,
            "group": list(self.groups),
            "value": self.value,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule would have done: anchors, and the episodes that these make; ``seconds`` to find out.

    ``series`` holds the start of each bucket (microseconds) with the anchors in it, zeros included; ``top`` the groups
    with most anchors.
    """

    rule: Rule
    anchors: int
    episodes: int
    groups: int
    first_us: int | None
    last_us: int | None
    examples: tuple[Anchor, ...]
    seconds: float
    series: tuple[tuple[int, int], ...] = ()
    step_us: int = 0
    top: tuple[tuple[tuple[str, ...], int], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as the API and the command line show it."""
        return {
            "id": self.rule.id,
            "title": self.rule.title,
            "level": self.rule.level,
            "author": self.rule.author,
            "fired": self.anchors,
            "episodes": self.episodes,
            "groups": self.groups,
            "first": None if self.first_us is None else rfc3339(self.first_us),
            "last": None if self.last_us is None else rfc3339(self.last_us),
            "group_by": list(self.rule.grouped_by),
            "top": [{"group": list(group), "fired": fired} for group, fired in self.top],
            "series": [{"start": rfc3339(start), "fired": fired} for start, fired in self.series],
            "series_seconds": self.step_us // 1_000_000,
            "examples": [anchor.to_json() for anchor in self.examples],
            "seconds": round(self.seconds, 3),
        }


def backtest(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    rule: Rule,
    rules: Mapping[str, Rule],
    routes: Mapping[str, Expression],
    *,
    start_us: int,
    end_us: int,
    scope: Scope | None = None,
) -> Outcome:
    """Return what a rule would have done between two times, both inclusive.

    Events before the range count for windows that reach into it, as they would have in the stream.
    """
    began = time.monotonic()
    # Each rule says itself whether it is about the daemon's own events.
    asked = replace(scope or Scope(), internal="include")
    found = anchors_of(cursor, snapshot, rule, rules, routes, start_us=start_us, end_us=end_us, scope=asked)
    times = [anchor[0] for anchor in found]
    step_us, series = _series(times, start_us, end_us)
    return Outcome(
        rule=rule,
        anchors=len(found),
        episodes=_episodes(found, quiet_us(rule)),
        groups=len({anchor[2] for anchor in found}),
        first_us=times[0] if times else None,
        last_us=times[-1] if times else None,
        examples=_examples(cursor, view(snapshot, Filter(), asked), found[-EXAMPLES:], asked)
        if found
        else (),
        seconds=time.monotonic() - began,
        series=series,
        step_us=step_us,
        top=tuple(Counter(anchor[2] for anchor in found).most_common(MOST_GROUPS)),
    )


def _series(times: Sequence[int], start_us: int, end_us: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Return the width of the buckets of a range, as calendars in UTC have them, and how many of the times lie in each.

    Of a range that is too long for buckets the part that has anything is divided; ``times`` rise.
    """
    if end_us - start_us > MAX_BUCKETS * MONTH_US:
        start_us, end_us = (times[0], times[-1]) if times else (end_us, end_us)
    step_us = step_of(end_us - start_us)
    if end_us - start_us > MAX_BUCKETS * step_us:
        return step_us, ()
    starts = grid(start_us, end_us, step_us, "UTC")
    counts = Counter(bisect_right(starts, at) - 1 for at in times)
    return step_us, tuple((start, counts[place]) for place, start in enumerate(starts))


Row = tuple[int, int, tuple[str, ...], float | None]
"""An anchor: time in microseconds, seq, group, value."""


def anchors_of(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    rule: Rule,
    rules: Mapping[str, Rule],
    routes: Mapping[str, Expression],
    *,
    start_us: int,
    end_us: int,
    scope: Scope | None = None,
) -> list[Row]:
    """Return the anchors of a rule between two times, both inclusive, in their order."""
    asked = replace(scope or Scope(), internal="include")
    wanted = Filter(start_us=start_us - reach_us(rule, rules), end_us=end_us)
    seen = view(snapshot, wanted, asked)
    if seen.empty:
        return []
    plan = Plan(rules, routes)
    sql.register(cursor, snapshot.hot)
    from_item = sql.source(seen, plan.bind)
    condition = sql.where(seen, wanted, asked, plan.bind)
    text = plan.anchors(rule, f"(SELECT * FROM {from_item} WHERE {condition})")
    low, high = plan.bind(start_us), plan.bind(end_us)
    cursor.execute(
        f"SELECT * FROM ({text}) WHERE at_us BETWEEN {low} AND {high} ORDER BY at_us, seq", plan.bind.values
    )
    anchors: list[Row] = []
    while rows := cursor.fetchmany(ROWS_AT_ONCE):
        anchors += [
            (at_us, seq, tuple(groups), None if value is None else float(value))
            for at_us, seq, groups, value in rows
        ]
        step_aside()
    return anchors


def _episodes(anchors: Sequence[Row], quiet_us: int) -> int:
    """Return how many alerts the anchors would have made: a group's anchors belong together until it is quiet."""
    last: dict[tuple[str, ...], int] = {}
    found = 0
    for at_us, _, groups, _ in anchors:
        before = last.get(groups)
        found += before is None or at_us - before > quiet_us
        last[groups] = at_us
    return found


def _examples(
    cursor: duckdb.DuckDBPyConnection, seen: View, anchors: Sequence[Row], scope: Scope
) -> tuple[Anchor, ...]:
    bind = Bind()
    from_item = sql.source(seen, bind)
    places = ", ".join(bind(anchor[1]) for anchor in anchors)
    times = [anchor[0] for anchor in anchors]
    condition = sql.where(seen.between(min(times), max(times)), Filter(), scope, bind)
    rows = cursor.execute(
        f"SELECT seq, event_id FROM {from_item} WHERE {condition} AND seq IN ({places})", bind.values
    ).fetchall()
    ids = dict(rows)
    return tuple(
        Anchor(ids[seq], at_us, seq, groups, value) for at_us, seq, groups, value in anchors if seq in ids
    )
