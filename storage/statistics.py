"""The dashboard's figures: totals, counts by word, rankings, the period before and a series, from one planner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import orjson

from parsers.vocabulary import CATEGORIES, LEVELS
from storage import pages
from storage.filters import Term
from storage.planner import Planner
from storage.query import StatisticsQuery
from storage.render import rfc3339
from storage.rolled import DIMENSIONS
from storage.rollups import QUARTER_US, RISK_BANDS
from storage.rows import RowCache
from storage.scope import view
from storage.snapshot import Snapshot

CRITICAL_EVENTS = 10  # at most, as in the original
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_POINTS = 180  # bars that a chart of a dashboard still tells apart
# Steps of a series. From a quarter of an hour on, roll-ups answer; a day or more is a calendar day of the time zone.
STEPS_US = (
    MINUTE_US,
    5 * MINUTE_US,
    QUARTER_US,
    HOUR_US,
    3 * HOUR_US,
    6 * HOUR_US,
    12 * HOUR_US,
    DAY_US,
    7 * DAY_US,
)
CRITICAL = "critical"
ERROR_LEVELS = ("error", CRITICAL)


def statistics(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    query: StatisticsQuery,
    cache: RowCache | None = None,
    *,
    roll: bool = True,
) -> dict[str, Any]:
    """Return the answer of `/events/statistics`, less ``success``. The filter's range must have both ends.

    With ``roll`` False everything is read from rows; the numbers are the same.
    """
    return _Statistics(cursor, snapshot, query, cache, Planner(cursor, snapshot, roll=roll)).answer()


class _Statistics:
    """One answer in the making."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        query: StatisticsQuery,
        cache: RowCache | None,
        planner: Planner,
    ) -> None:
        self._cursor = cursor
        self._snapshot = snapshot
        self._query = query
        self._filter = query.filter
        self._scope = query.scope
        assert query.filter.start_us is not None
        assert query.filter.end_us is not None
        self._start_us = query.filter.start_us
        self._end_us = query.filter.end_us
        self._planner = planner
        self._cache = cache

    def answer(self) -> dict[str, Any]:
        """Compute every part that was asked for."""
        answer: dict[str, Any] = {"timeRange": _range(self._start_us, self._end_us)}
        for part, compute in (
            ("counts", self._counts),
            ("users", self._users),
            ("countries", self._countries),
            ("addresses", self._addresses),
            ("entities", self._entities),
            ("critical", self._critical),
            ("previous", self._previous),
            ("series", self._series),
        ):
            if part in self._query.parts:
                for name, value in compute().items():
                    if name in answer and isinstance(value, dict):
                        answer[name] |= value
                    else:
                        answer[name] = value
        return answer | {"plan": self._planner.used.summary()}

    def _counts(self) -> dict[str, Any]:
        names = tuple(DIMENSIONS)
        rows = self._planner.counts(self._filter, self._scope, names)
        sums: dict[str, dict[str, int]] = {name: {} for name in names}
        for *words, events in rows:
            for name, word in zip(names, words, strict=True):
                if word is not None:
                    sums[name][word] = sums[name].get(word, 0) + events
        total = sum(row[-1] for row in rows)
        levels = _filled(sums["level"], LEVELS)
        return {
            "totals": {"events": total},
            "errorRate": error_rate(levels, total),
            "byLevel": levels,
            "byCategory": _filled(sums["category"], CATEGORIES),
            "byAction": _ordered(sums["action"]),
            "byOutcome": _ordered(sums["outcome"]),
            "byRiskBand": _filled(sums["risk"], RISK_BANDS),
        }

    def _users(self) -> dict[str, Any]:
        top, users = self._planner.ranked("users", self._filter, self._scope, self._query.top)
        return {
            "totals": {"users": users},
            "topUsers": [
                {
                    "username": item.name if item.name is not None else item.key,
                    "userId": None if item.name is not None and item.key == f"name:{item.name}" else item.key,
                    "eventCount": item.events,
                }
                for item in top
            ],
        }

    def _countries(self) -> dict[str, Any]:
        top, _ = self._planner.ranked("countries", self._filter, self._scope, MAX_COUNTRIES)
        return {"byCountry": {item.key: item.events for item in top}}

    def _addresses(self) -> dict[str, Any]:
        top, _ = self._planner.ranked("addresses", self._filter, self._scope, self._query.top)
        return {"topIps": [{"ip": item.key, "eventCount": item.events} for item in top]}

    def _entities(self) -> dict[str, Any]:
        top, _ = self._planner.ranked("entities", self._filter, self._scope, self._query.top)
        return {
            "topEntities": [{"type": item.name, "id": item.key, "eventCount": item.events} for item in top]
        }

    def _critical(self) -> dict[str, Any]:
        levels = [term for term in self._filter.terms if term.field == "level"]
        wanted = {term.value for term in levels if not term.exclude} or {CRITICAL}
        if CRITICAL not in wanted - {term.value for term in levels if term.exclude}:
            return {"criticalEvents": []}
        others = tuple(term for term in self._filter.terms if term.field != "level")
        critical = replace(self._filter, terms=(*others, Term("level", CRITICAL)))
        seen = view(self._snapshot, critical, self._scope)
        found = pages.find(self._cursor, seen, critical, self._scope, limit=CRITICAL_EVENTS)
        texts = pages.fetch(self._cursor, found, self._snapshot.hot, self._cache)
        return {"criticalEvents": [orjson.loads(text) for text in texts]}

    def _previous(self) -> dict[str, Any]:
        length = self._end_us - self._start_us + 1
        earlier = replace(self._filter, start_us=self._start_us - length, end_us=self._start_us - 1)
        rows = self._planner.counts(earlier, self._scope, ("level",), part="previous")
        levels = _filled({level: events for level, events in rows if level is not None}, LEVELS)
        total = sum(events for _, events in rows)
        users = self._planner.distinct("users", earlier, self._scope, part="previousUsers")
        return {
            "previous": {
                "timeRange": _range(self._start_us - length, self._start_us - 1),
                "totals": {"events": total, "users": users},
                "errorRate": error_rate(levels, total),
                "byLevel": levels,
            }
        }

    def _series(self) -> dict[str, Any]:
        step = step_of(self._end_us - self._start_us + 1)
        fine = min(step, QUARTER_US)
        rows = self._planner.counts(self._filter, self._scope, ("level",), step_us=fine, part="series")
        starts = grid(self._start_us, self._end_us, step, self._query.timezone)
        points = [dict.fromkeys(LEVELS, 0) for _ in starts]
        position = 0
        for at, level, events in sorted(rows, key=lambda row: row[0]):
            while position + 1 < len(starts) and starts[position + 1] <= at:
                position += 1
            points[position][level] = points[position].get(level, 0) + events
        return {
            "series": [
                {"start": rfc3339(start), "total": sum(levels.values()), "byLevel": levels}
                for start, levels in zip(starts, points, strict=True)
            ],
            "seriesSeconds": step // 1_000_000,
        }


MAX_COUNTRIES = 300  # more than there are; a line may carry any text


def step_of(length_us: int) -> int:
    """Return the least step that cuts a range into at most MAX_POINTS."""
    return next((step for step in STEPS_US if length_us <= step * MAX_POINTS), STEPS_US[-1])


def grid(start_us: int, end_us: int, step_us: int, timezone: str) -> list[int]:
    """Return the starts of the buckets that cover a range, aligned to midnight in a time zone, rising.

    Steps below a day are counted from the zone's midnight on; on a day of 23 or 25 hours the last bucket of the day
    is shorter or one more. All starts lie on the quarter hours that roll-ups have.
    """
    zone = ZoneInfo(timezone)
    day = (EPOCH + timedelta(microseconds=start_us)).astimezone(zone).date()
    starts: list[int] = []
    days = max(1, step_us // DAY_US)
    if days > 1:
        day -= timedelta(days=day.weekday())
    while True:
        midnight, following = (_midnight(part, zone) for part in (day, day + timedelta(days=days)))
        for at in range(midnight, following, min(step_us, following - midnight)):
            if at > end_us:
                return starts
            if at + step_us > start_us or not starts:
                starts = [at] if at <= start_us else [*starts, at]
        day += timedelta(days=days)


def _midnight(day: Any, zone: ZoneInfo) -> int:
    moment = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
    return (moment - EPOCH) // timedelta(microseconds=1)


def error_rate(levels: dict[str, int], total: int) -> float:
    """Return the share of errors and critical events in percent, one decimal; 0 when there are no events."""
    return round(100 * sum(levels.get(level, 0) for level in ERROR_LEVELS) / total, 1) if total else 0.0


def _range(start_us: int, end_us: int) -> dict[str, Any]:
    hours = (end_us - start_us) / HOUR_US
    return {
        "start": rfc3339(start_us),
        "end": rfc3339(end_us),
        "hours": int(hours) if hours == int(hours) else round(hours, 3),
    }


def _filled(sums: dict[str, int], known: Iterable[str]) -> dict[str, int]:
    """Return counts with every known word, zero or not, then the unknown ones that occur, most frequent first."""
    words = list(known)
    return {word: sums.get(word, 0) for word in words} | _ordered(
        {word: count for word, count in sums.items() if word not in words}
    )


def _ordered(sums: dict[str, int]) -> dict[str, int]:
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))
