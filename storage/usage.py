"""One user's figures, in the original's shape (`/events/stats`)."""

from __future__ import annotations

from typing import Any

import duckdb

from storage import sql
from storage.filters import quote
from storage.query import Filter, Scope
from storage.rollups import DAY_US, HOUR_US
from storage.scope import view
from storage.snapshot import Snapshot

HOURS_A_DAY = 24


def user_stats(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, wanted: Filter, scope: Scope
) -> dict[str, Any]:
    """Return counts of the filter's events by category, action, UTC day and UTC hour, sessions and devices."""
    sql.register(cursor, snapshot.hot)
    seen = view(snapshot, wanted, scope)
    sums: dict[str, dict[str, int]] = {}
    time = f"epoch_us({quote('timestamp')})"
    for name, expression in (
        ("category", quote("category")),
        ("action", quote("action")),
        ("day", f"strftime(make_timestamp({time} // {DAY_US} * {DAY_US}), '%Y-%m-%d')"),
        ("hour", f"CAST({time} // {HOUR_US} % {HOURS_A_DAY} AS VARCHAR)"),
    ):
        rows = sql.grouped(seen, wanted, scope, expression, "count(*)").rows(cursor)
        sums[name] = dict(sorted((str(word), int(count)) for word, count in rows if word is not None))
    unique = f"count(*), count(DISTINCT {quote('session_id')}), count(DISTINCT coalesce({quote('device')}, {quote('user_agent')}))"
    total, sessions, devices = sql.grouped(seen, wanted, scope, None, unique).rows(cursor)[0]
    return {
        "total_events": total,
        "events_by_category": sums["category"],
        "events_by_action": sums["action"],
        "events_by_day": sums["day"],
        "unique_sessions": sessions,
        "unique_devices": devices,
        "most_active_hours": dict(sorted(sums["hour"].items(), key=lambda item: (-item[1], int(item[0])))),
        "recent_activity_count": total,
    }
