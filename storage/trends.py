"""Events, or distinct users, over time: zero-filled buckets as a calendar has them, and the hours of the week."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import duckdb
import numpy as np

from parsers.moments import EPOCH, rfc3339
from parsers.vocabulary import LEVELS
from storage.buckets import MAX_BUCKETS, MONTH_US, STEPS, ends, grid, step_of
from storage.filters import FilterError
from storage.material import Material
from storage.planner import Planner
from storage.query import Filter, Scope
from storage.rollups import HOUR_US, RISK_BANDS
from storage.sheets import Sheets
from storage.snapshot import Snapshot
from storage.statistics import time_range

Of = Literal["events", "users"]
BY = ("level", "category", "action", "outcome", "risk")
ALWAYS_THERE = {"level": LEVELS, "risk": RISK_BANDS}  # words with a line of their own, even without an event
MAX_LINES = 20  # words with a line of their own; the others together are `other`
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOURS_A_DAY = 24
MAX_HEATMAP_US = 10 * 366 * HOURS_A_DAY * HOUR_US  # each of its hours is a bucket


@dataclass(frozen=True, slots=True)
class TrendQuery:
    """What is counted over the filter's range, which must have both ends.

    ``step_us`` is one of `storage.buckets.STEPS_US`, None chooses one. ``by`` splits events by a word. With
    ``previous`` the period of the same length before comes too, with ``heatmap`` the events by weekday and hour.
    """

    filter: Filter
    scope: Scope = field(default_factory=Scope)
    step_us: int | None = None
    by: str | None = None
    of: Of = "events"
    timezone: str = "UTC"
    previous: bool = False
    heatmap: bool = False


def trends(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    query: TrendQuery,
    sheets: Sheets | None = None,
    *,
    roll: bool = True,
) -> dict[str, Any]:
    """Return the answer of `/events/trends`, less ``success``. Raises FilterError for more than MAX_BUCKETS buckets.

    With ``roll`` False everything is read from rows; the numbers are the same.
    """
    return _Trends(query, Planner(Material(cursor, snapshot, roll=roll, sheets=sheets))).answer()


class _Trends:
    """One answer in the making."""

    def __init__(self, query: TrendQuery, planner: Planner) -> None:
        assert query.filter.start_us is not None
        assert query.filter.end_us is not None
        self._start_us = query.filter.start_us
        self._end_us = query.filter.end_us
        self._query = query
        self._planner = planner
        self._step_us = query.step_us or step_of(self._end_us - self._start_us + 1)

    def answer(self) -> dict[str, Any]:
        query = self._query
        step = self._step_us
        answer: dict[str, Any] = {
            **self._period(query.filter, "trend"),
            "interval": next(name for name, us in STEPS.items() if us == step),
            "intervalSeconds": None if step == MONTH_US else step // 1_000_000,
            "timezone": query.timezone,
            "of": query.of,
            "by": query.by,
        }
        if query.previous:
            length = self._end_us - self._start_us + 1
            earlier = replace(query.filter, start_us=self._start_us - length, end_us=self._start_us - 1)
            answer["previous"] = self._period(earlier, "previous")
        if query.heatmap:
            answer["heatmap"] = self._heatmap()
        return answer | {"plan": self._planner.used.summary()}

    def _period(self, wanted: Filter, part: str) -> dict[str, Any]:
        """Return the range, the total and the buckets of a filter."""
        assert wanted.start_us is not None
        assert wanted.end_us is not None
        if (wanted.end_us - wanted.start_us) // self._step_us > MAX_BUCKETS:
            raise _too_many()
        starts = grid(wanted.start_us, wanted.end_us, self._step_us, self._query.timezone)
        if len(starts) > MAX_BUCKETS:
            raise _too_many()
        buckets: list[dict[str, Any]] = [
            {
                "start": rfc3339(start),
                "end": rfc3339(end),
                "partial": start < wanted.start_us or end - 1 > wanted.end_us,
            }
            for start, end in zip(starts, ends(starts, self._step_us, self._query.timezone), strict=True)
        ]
        if self._query.of == "users":
            total = self._planner.distinct("users", wanted, self._query.scope, part=f"{part}Total")
            counts = self._planner.distinct_in("users", wanted, self._query.scope, starts, part=part)
            for bucket, users in zip(buckets, counts, strict=True):
                bucket["users"] = users
            return {
                "timeRange": time_range(wanted.start_us, wanted.end_us),
                "users": total,
                "buckets": buckets,
            }
        total = self._split(wanted, starts, buckets, part)
        return {"timeRange": time_range(wanted.start_us, wanted.end_us), "events": total, "buckets": buckets}

    def _split(self, wanted: Filter, starts: list[int], buckets: list[dict[str, Any]], part: str) -> int:
        """Give each bucket its events, in all and by word; return how many there are."""
        by = self._query.by
        words = () if by is None else (by,)
        found = self._planner.series(wanted, self._query.scope, words, starts, part=part)
        lines = {words[0] if words else None: counts for words, counts in found.items()}
        nothing = np.zeros(len(starts), np.int64)
        totals = sum(lines.values(), nothing)
        for bucket, total in zip(buckets, totals.tolist(), strict=True):
            bucket["events"] = total
        if by is None:
            return int(totals.sum())
        missing = lines.pop(None, None)
        always = ALWAYS_THERE.get(by, ())
        seen = sorted(
            (word for word in lines if word not in always), key=lambda word: (-lines[word].sum(), word or "")
        )
        shown = [*always, *seen[: max(0, MAX_LINES - len(always))]]
        other = sum((lines[word] for word in lines if word not in shown), nothing)
        columns = [lines.get(word, nothing).tolist() for word in shown]
        for place, bucket in enumerate(buckets):
            bucket["by"] = {word: column[place] for word, column in zip(shown, columns, strict=True)}
            if other.any():
                bucket["other"] = int(other[place])
            if missing is not None:
                bucket["missing"] = int(missing[place])
        return int(totals.sum())

    def _heatmap(self) -> dict[str, Any]:
        """Return the events of each hour of the week, as clocks in the time zone show it."""
        if self._end_us - self._start_us > MAX_HEATMAP_US:
            raise FilterError("heatmap", "more than ten years", "narrow the range")
        starts = grid(self._start_us, self._end_us, HOUR_US, self._query.timezone)
        found = self._planner.series(self._query.filter, self._query.scope, (), starts, part="heatmap")
        zone = ZoneInfo(self._query.timezone)
        cells = [[0] * HOURS_A_DAY for _ in WEEKDAYS]
        for at, events in zip(
            starts, sum(found.values(), np.zeros(len(starts), np.int64)).tolist(), strict=True
        ):
            if events:
                moment = (EPOCH + timedelta(microseconds=at)).astimezone(zone)
                cells[moment.weekday()][moment.hour] += events
        return {"weekdays": list(WEEKDAYS), "events": cells}


def _too_many() -> FilterError:
    return FilterError(
        "interval", f"more than {MAX_BUCKETS} buckets", "take a longer interval or auto, or narrow the range"
    )
