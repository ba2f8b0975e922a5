"""The risk of users, addresses and things: what was found about each in a range, as one score with its contributions.

Two kinds of things contribute (`parsers.entityrisk` says how they add up): alerts about the entity, with the points of
their level, but for those that a person resolved; and its events of at least LEAST_EVENT_POINTS. Who an alert is about is
what its rule groups by. For lists of the riskiest, events are counted by roll-ups; nothing else is read of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from parsers.entityrisk import (
    DAYS,
    LEAST_EVENT_POINTS,
    MOST_POINTS,
    SHOWN,
    added,
    band,
    scores,
)
from parsers.moments import rfc3339
from parsers.sigma.rule import SCORES
from storage import sql
from storage.alerted import Alerted, alerted
from storage.coded import encode
from storage.filters import Bind, Term, quote
from storage.planner import Planner
from storage.query import Filter, Scope
from storage.rollups import DAY_US, NAME_PREFIX, RISKY_ADDRESSES, RISKY_USERS, Family
from storage.scope import View
from storage.snapshot import Snapshot

MOST_ALERTS = 10_000  # newest ones that are looked at, as many as detection remembers


@dataclass(frozen=True, slots=True)
class _Part:
    """A contribution, or ``count`` equal ones: what it is called, and where it stands among those of equal points."""

    points: int
    count: int
    order: tuple[int, str]
    said: dict[str, Any]


def riskiest(
    planner: Planner,
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    wanted: Filter,
    scope: Scope,
    top: int,
) -> dict[str, Any]:
    """Return the ``top`` users and addresses of the highest scores; the filter's range must have both ends.

    Alerts count when the filter is nothing but a range, and for who sees all tenants.
    """
    found: list[Alerted] = []
    if not wanted.names and _sees_alerts(scope):
        planner.show_hot()
        found = _alerts(cursor, snapshot, wanted)
    return {
        "riskyUsers": [
            {"username": name or key.removeprefix(NAME_PREFIX), "userId": _id_of(key), **said}
            for key, name, said in _top(
                planner, RISKY_USERS, found, lambda alert: alert.user, wanted, scope, top
            )
        ],
        "riskyAddresses": [
            {"ip": key, **said}
            for key, _, said in _top(
                planner, RISKY_ADDRESSES, found, lambda alert: alert.groups.get("ip"), wanted, scope, top
            )
        ],
    }


def risk_of(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    seen: Callable[[Filter], View],
    subject: Filter,
    scope: Scope,
    end_us: int,
) -> dict[str, Any]:
    """Return the risk of one user, address or thing over the DAYS days before a time, each contribution by its name.

    ``subject`` says who or what it is; ``seen`` gives the view of a filter. The cursor must have the hot rows.
    """
    start_us = end_us - DAYS * DAY_US
    wanted = replace(subject, start_us=start_us, end_us=end_us, min_risk=LEAST_EVENT_POINTS)
    parts: list[_Part] = []
    if _sees_alerts(scope):
        range_ = Filter(start_us=start_us, end_us=end_us)
        parts += [_of_alert(alert) for alert in _alerts(cursor, snapshot, range_) if _about(alert, subject)]
    look = seen(wanted)
    if not look.empty:
        parts += _events(cursor, look, wanted, scope)
    return {
        **_said(parts),
        "timeRange": {"start": rfc3339(max(0, start_us)), "end": rfc3339(end_us)},
    }


def _sees_alerts(scope: Scope) -> bool:
    """Alerts belong to no tenant, and are about the application's events."""
    return scope.tenant is None and scope.internal != "only"


def _alerts(cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, wanted: Filter) -> list[Alerted]:
    assert wanted.start_us is not None
    assert wanted.end_us is not None
    every = alerted(cursor, snapshot, MOST_ALERTS, wanted.start_us, wanted.end_us)
    return [alert for alert in every if SCORES.get(alert.level) and not alert.dismissed]


def _about(alert: Alerted, subject: Filter) -> bool:
    """Say whether an alert is about a subject: its groups name it, and nothing that contradicts it."""
    terms = [term for term in subject.terms if term.field in alert.groups]
    named = any(term.field != "entity_type" for term in terms)
    return (
        subject.expression is None and named and all(_holds(term, alert.groups[term.field]) for term in terms)
    )


def _holds(term: Term, value: str) -> bool:
    if term.field != "ip":
        return str(term.value) == value
    try:  # a filter's address is a network of one
        return ipaddress.ip_address(value) in ipaddress.ip_network(str(term.value))
    except ValueError:
        return False


def _of_alert(alert: Alerted) -> _Part:
    said = {
        "kind": "alert",
        "id": alert.id,
        "title": alert.title,
        "level": alert.level,
        "at": rfc3339(alert.opened_us),
    }
    return _Part(SCORES[alert.level], 1, (0, alert.id), said)


def _events(cursor: duckdb.DuckDBPyConnection, look: View, wanted: Filter, scope: Scope) -> list[_Part]:
    """Return the riskiest events one by one, and how many more there are by their points."""
    bind = Bind()
    score, from_item = quote("risk_score"), sql.source(look, bind)
    condition = sql.where(look, wanted, scope, bind)
    rows = cursor.execute(
        f"SELECT least({score}, {MOST_POINTS}), event_id, epoch_us({sql.TIME}), seq, "
        f"list_transform(risk_reasons, lambda r: r.reason), count(*) OVER (PARTITION BY least({score}, {MOST_POINTS})) "
        f"FROM {from_item} WHERE {condition} "
        f"QUALIFY row_number() OVER (PARTITION BY least({score}, {MOST_POINTS}) "
        f"ORDER BY {sql.TIME} DESC, seq DESC) <= {bind(SHOWN)} "
        f"ORDER BY 1 DESC, 3 DESC, 4 DESC",
        bind.values,
    ).fetchall()
    parts: list[_Part] = []
    left: dict[int, int] = {}
    for place, (points, event_id, at_us, _, reasons, count) in enumerate(rows):
        left.setdefault(points, count)
        if place < SHOWN:
            left[points] -= 1
            said = {"kind": "event", "id": event_id, "at": rfc3339(at_us), "reasons": reasons or []}
            parts.append(_Part(points, 1, (1, f"{place:04}"), said))
    return parts + [
        _Part(points, count, (2, ""), {"kind": "events"}) for points, count in left.items() if count
    ]


def _top(
    planner: Planner,
    family: Family,
    alerts: Sequence[Alerted],
    key_of: Callable[[Alerted], str | None],
    wanted: Filter,
    scope: Scope,
    top: int,
) -> Iterable[tuple[str, str | None, dict[str, Any]]]:
    """Yield the key, the name and what is said of the entities with the highest scores, ties by key."""
    found = planner.scored(family, wanted, scope)
    about = [(key, alert) for alert in alerts if (key := key_of(alert))]
    column = encode(pa.chunked_array([found.keys, pa.array([key for key, _ in about], pa.string())]))
    whose = np.asarray(column.codes, np.int64)
    pairs = len(found.keys)
    owners = np.concatenate([whose[found.subjects], whose[pairs:]])
    points = np.concatenate([found.points, np.array([SCORES[alert.level] for _, alert in about], np.int64)])
    counts = np.concatenate([found.events, np.ones(len(about), np.int64)])
    all_scores = np.round(scores(owners, points, counts, column.size), 1)
    least = max(0.1, float(np.partition(all_scores, -top)[-top])) if len(all_scores) > top else 0.1
    best = sorted(
        (-float(all_scores[number]), column.words[number].as_py(), number)
        for number in np.flatnonzero(all_scores >= least).tolist()
    )[:top]
    for _, key, number in best:
        parts = [_of_alert(alert) for name, alert in about if name == key]
        # Of these events alone: a roll-up knows the key by names from other days and tenants as well.
        names: set[str] = set()
        events: dict[int, int] = {}
        for row in np.flatnonzero(owners[: len(found.points)] == number).tolist():
            score = int(found.points[row])
            events[score] = events.get(score, 0) + int(found.events[row])
            names |= {found.names[int(found.subjects[row])].as_py()} - {None}
        parts += [_Part(score, count, (2, ""), {"kind": "events"}) for score, count in events.items()]
        # A user may have had several names, and the greatest stands for all of them, as in other rankings.
        yield key, max(names, default=None), _said(parts)


def _said(parts: Sequence[_Part]) -> dict[str, Any]:
    """Return score, band and the heaviest contributions with what each adds."""
    ranked = sorted(parts, key=lambda part: (-part.points, part.order))
    adds = added([(part.points, part.count) for part in ranked])
    score = round(min(float(MOST_POINTS), sum(adds)), 1)
    return {
        "riskScore": score,
        "riskBand": band(score),
        "contributing": sum(part.count for part in parts),
        "contributions": [
            {**part.said, "points": part.points, "count": part.count, "adds": round(share, 1)}
            for part, share in zip(ranked[:SHOWN], adds, strict=False)
        ],
    }


def _id_of(key: str) -> str | None:
    """Return the user's id of a key; None for one that only has a name."""
    return None if key.startswith(NAME_PREFIX) else key
