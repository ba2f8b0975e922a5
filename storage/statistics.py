"""The dashboard's figures: totals, counts by word, rankings, the period before and a series, from one planner."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import orjson

from parsers.moments import rfc3339
from parsers.vocabulary import CATEGORIES, LEVELS
from storage import pages
from storage.buckets import grid, step_of
from storage.filters import Term
from storage.material import Material
from storage.planner import Planner
from storage.query import Filter, StatisticsQuery
from storage.risky import riskiest
from storage.rolled import DIMENSIONS
from storage.rollups import HOUR_US, RISK_BANDS
from storage.rows import RowCache
from storage.scope import view
from storage.sheets import Sheets
from storage.snapshot import Snapshot

CRITICAL_EVENTS = 10  # at most, as in the original
CRITICAL = "critical"
ERROR_LEVELS = ("error", CRITICAL)


def statistics(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    query: StatisticsQuery,
    cache: RowCache | None = None,
    sheets: Sheets | None = None,
    *,
    roll: bool = True,
) -> dict[str, Any]:
    """Return the answer of `/events/statistics`, less ``success``. The filter's range must have both ends.

    ``sheets`` are those of earlier answers. With ``roll`` False everything is read from rows; the numbers are the same.
    """
    return _Statistics(
        cursor, snapshot, query, cache, Planner(Material(cursor, snapshot, roll=roll, sheets=sheets))
    ).answer()


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
        answer: dict[str, Any] = {"timeRange": time_range(self._start_us, self._end_us)}
        for part, compute in (
            ("counts", self._counts),
            ("users", self._users),
            ("countries", self._countries),
            ("addresses", self._addresses),
            ("entities", self._entities),
            ("risk", self._risk),
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
        users = self._planner.ranked("users", self._filter, self._scope, self._query.top)
        return {
            "totals": {"users": users.distinct},
            "topUsers": [
                {
                    "username": item.name if item.name is not None else item.key,
                    "userId": None if item.name is not None and item.key == f"name:{item.name}" else item.key,
                    "eventCount": item.events,
                }
                for item in users.top
            ],
        }

    def _countries(self) -> dict[str, Any]:
        top = self._planner.ranked("countries", self._filter, self._scope, MAX_COUNTRIES).top
        return {"byCountry": {item.key: item.events for item in top}}

    def _addresses(self) -> dict[str, Any]:
        top = self._planner.ranked("addresses", self._filter, self._scope, self._query.top).top
        return {"topIps": [{"ip": item.key, "eventCount": item.events} for item in top]}

    def _entities(self) -> dict[str, Any]:
        top = self._planner.ranked("entities", self._filter, self._scope, self._query.top).top
        return {
            "topEntities": [{"type": item.name, "id": item.key, "eventCount": item.events} for item in top]
        }

    def _risk(self) -> dict[str, Any]:
        top = self._query.top
        return riskiest(self._planner, self._cursor, self._snapshot, self._filter, self._scope, top)

    def _critical(self) -> dict[str, Any]:
        levels = [term for term in self._filter.terms if term.field == "level"]
        wanted = {term.value for term in levels if not term.exclude} or {CRITICAL}
        if CRITICAL not in wanted - {term.value for term in levels if term.exclude}:
            return {"criticalEvents": []}
        others = tuple(term for term in self._filter.terms if term.field != "level")
        critical = replace(self._filter, terms=(*others, Term("level", CRITICAL)))
        narrowed = self._where_they_are(critical)
        if narrowed is None:
            return {"criticalEvents": []}
        self._planner.show_hot()
        seen = view(self._snapshot, narrowed, self._scope)
        found = pages.find(self._cursor, seen, narrowed, self._scope, limit=CRITICAL_EVENTS)
        texts = pages.fetch(self._cursor, found, self._snapshot.hot, self._cache)
        return {"criticalEvents": [orjson.loads(text) for text in texts]}

    def _where_they_are(self, critical: Filter) -> Filter | None:
        """Narrow the range to where the newest critical events are, if roll-ups can tell; None: there are none."""
        if not self._planner.answers(critical):
            return critical
        starts = grid(self._start_us, self._end_us, step_of(self._end_us - self._start_us + 1), "UTC")
        counts = sum(
            self._planner.series(critical, self._scope, (), starts, part="critical").values(),
            np.zeros(len(starts), np.int64),
        )
        found = np.flatnonzero(counts)
        if not len(found):
            return None
        newer = np.cumsum(counts[::-1])[::-1]  # events from each start on
        enough = np.flatnonzero(newer >= min(CRITICAL_EVENTS, newer[0]))
        first, last = int(enough[-1]), int(found[-1])
        end = starts[last + 1] - 1 if last + 1 < len(starts) else self._end_us
        return replace(critical, start_us=max(self._start_us, starts[first]), end_us=min(self._end_us, end))

    def _previous(self) -> dict[str, Any]:
        length = self._end_us - self._start_us + 1
        earlier = replace(self._filter, start_us=self._start_us - length, end_us=self._start_us - 1)
        rows = self._planner.counts(earlier, self._scope, ("level",), part="previous")
        levels = _filled({level: events for level, events in rows if level is not None}, LEVELS)
        total = sum(events for _, events in rows)
        users = self._planner.distinct("users", earlier, self._scope, part="previousUsers")
        return {
            "previous": {
                "timeRange": time_range(self._start_us - length, self._start_us - 1),
                "totals": {"events": total, "users": users},
                "errorRate": error_rate(levels, total),
                "byLevel": levels,
            }
        }

    def _series(self) -> dict[str, Any]:
        step = step_of(self._end_us - self._start_us + 1)
        starts = grid(self._start_us, self._end_us, step, self._query.timezone)
        found = self._planner.series(self._filter, self._scope, ("level",), starts)
        lines = {
            level: found[(level,)].tolist() if (level,) in found else [0] * len(starts) for level in LEVELS
        }
        return {
            "series": [
                {
                    "start": rfc3339(start),
                    "total": sum(counts),
                    "byLevel": dict(zip(lines, counts, strict=True)),
                }
                for start, *counts in zip(starts, *lines.values(), strict=True)
            ],
            "seriesSeconds": step // 1_000_000,
        }


MAX_COUNTRIES = 300  # more than there are; a line may carry any text


def error_rate(levels: dict[str, int], total: int) -> float:
    """Return the share of errors and critical events in percent, one decimal; 0 when there are no events."""
    return round(100 * sum(levels.get(level, 0) for level in ERROR_LEVELS) / total, 1) if total else 0.0


def time_range(start_us: int, end_us: int) -> dict[str, Any]:
    """Return a range as answers have it."""
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
