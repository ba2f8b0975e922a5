"""One user or one thing over time: since when it is known, what it does, when, from where, and how risky that was.

Figures come from `storage.statistics` and `storage.trends`, so they are those of the lists with the same filter. Files
that cannot hold anything of the subject are left out before any figure is counted; the rows of the others are read once
(`storage.gathered`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import orjson

from parsers.moments import rfc3339
from storage import pages, sql
from storage.filters import Bind, quote
from storage.gathered import Gathered, gathered
from storage.later import later
from storage.masking import Mask
from storage.query import Filter, Scope, StatisticsQuery, searched
from storage.risky import risk_of
from storage.rows import RowCache
from storage.scope import View, view
from storage.sheets import Sheets
from storage.sieve import Sieve
from storage.snapshot import Snapshot
from storage.sql import Statement
from storage.statistics import statistics
from storage.treatments import hidden_from
from storage.trends import TrendQuery, trends

HIGH_EVENTS = 10  # newest ones of high risk
HIGH = searched("risk:high", now_us=0).expression
_FIGURES = {
    "events": ("totals", "errorRate", "byLevel", "byCategory", "byAction", "byOutcome"),
    "places": ("byCountry", "topIps", "topEntities", "topUsers"),
}


@dataclass(frozen=True, slots=True)
class ProfileQuery:
    """Whose profile: ``subject`` alone says who or what, ``filter`` also which range; it must have both ends."""

    subject: Filter
    filter: Filter
    scope: Scope = field(default_factory=Scope)
    timezone: str = "UTC"
    top: int = 10


def profile(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    query: ProfileQuery,
    *,
    sieve: Sieve,
    cache: RowCache,
    mask: Mask,
    sheets: Sheets | None = None,
) -> dict[str, Any] | None:
    """Return the profile as the API has it, or None for what was never seen. One call, one deadline."""
    return _Profile(cursor, snapshot, query, sieve, cache, mask).answer(sheets)


class _Profile:
    """One answer in the making."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        query: ProfileQuery,
        sieve: Sieve,
        cache: RowCache,
        mask: Mask,
    ) -> None:
        self._cursor = cursor
        self._query = query
        self._scope = query.scope
        self._cache = cache
        self._mask = mask
        self._hidden = hidden_from(query.scope)
        self._whole = snapshot
        # What figures are counted from, and which rows of it: the subject's own, once they are gathered.
        self._wanted = query.filter
        self._gathered: Gathered | None = None
        self._narrow = sieve.over(snapshot, query.subject, query.scope)
        seen = view(snapshot, query.subject, query.scope)
        held = {file.path for file in self._narrow.view(seen).files}
        # What cannot hold anything of the subject is as if it were not there.
        self._snapshot = replace(
            snapshot, events=tuple(file for file in snapshot.events if file.path in held)
        )
        self._counted = self._snapshot

    def answer(self, sheets: Sheets | None) -> dict[str, Any] | None:
        """Compute every part."""
        query = self._query
        sql.show(self._cursor, self._snapshot.hot)
        known = self._known()
        if known is None:
            return None
        entity = self._entity_risk()  # first: its rows are not only those that will be gathered
        read = self._gather()
        asked = StatisticsQuery(
            filter=self._wanted,
            scope=self._scope,
            parts=frozenset({"counts", "users", "countries", "addresses", "entities"}),
            top=query.top,
            timezone=query.timezone,
        )
        if self._gathered is not None:
            sheets = None  # those of files and batches know nothing of gathered rows
        figures = statistics(
            self._cursor, self._counted, asked, self._cache, sheets, roll=self._gathered is None
        )
        if self._hidden:
            figures = self._mask.figures(figures)
        course = trends(
            self._cursor,
            self._counted,
            TrendQuery(
                filter=self._wanted,
                scope=self._scope,
                by="level",
                timezone=query.timezone,
                heatmap=True,
            ),
            sheets,
            roll=self._gathered is None,
        )
        return {
            **known,
            "timeRange": figures["timeRange"],
            **{name: figures[name] for names in _FIGURES.values() for name in names},
            "devices": self._devices(),
            "risk": {**self._risk(figures["byRiskBand"]), "entity": entity},
            "series": course["buckets"],
            "interval": course["interval"],
            "heatmap": course["heatmap"],
            "plan": figures["plan"] | ({"filesScanned": read} if self._gathered is not None else {}),
        }

    def _gather(self) -> int:
        """Read the subject's rows in the range, if they are not too many; return from how many files."""
        query = self._query
        seen = view(self._snapshot, query.filter, self._scope)
        self._gathered = gathered(self._cursor, seen, query.filter, self._scope)
        if self._gathered is not None:
            self._counted = replace(self._snapshot, events=(), rollups=(), hot=(self._gathered.rows,))
            self._wanted = Filter(start_us=query.filter.start_us, end_us=query.filter.end_us)
            sql.register(self._cursor, self._counted.hot)
        return len(seen.files)

    def _known(self) -> dict[str, str] | None:
        """Return when the subject was first and last seen at all."""
        subject = self._query.subject
        seen = view(self._snapshot, subject, self._scope)
        newest = pages.find(self._cursor, seen, subject, self._scope, limit=1, narrow=self._narrow)
        if not newest:
            return None
        before = seen.span()[0] - 1
        oldest = later(
            self._cursor, seen, subject, self._scope, limit=1, after=(before, 0), narrow=self._narrow
        )
        return {"firstSeen": rfc3339(oldest[0].time_us), "lastSeen": rfc3339(newest[0].time_us)}

    def _devices(self) -> list[dict[str, Any]] | None:
        """Return the user agents with most events; None for who may not see them."""
        if "user_agent" in self._hidden:
            return None
        bind, seen = Bind(), self._seen()
        agent = quote("user_agent")
        from_item = sql.source(seen, bind)
        condition = sql.where(seen, self._wanted, self._scope, bind)
        statement = Statement(
            f"SELECT {agent}, count(*) AS n FROM {from_item} WHERE {condition} AND {agent} IS NOT NULL "
            f"GROUP BY 1 ORDER BY n DESC, 1 LIMIT {bind(self._query.top)}",
            bind.values,
        )
        return [{"userAgent": name, "eventCount": events} for name, events in statement.rows(self._cursor)]

    def _risk(self, bands: dict[str, int]) -> dict[str, Any]:
        """Return mean and greatest score, events by band, and the newest of high risk."""
        score = quote("risk_score")
        statement = sql.grouped(self._seen(), self._wanted, self._scope, None, f"avg({score}), max({score})")
        mean, most = statement.rows(self._cursor)[0]
        wanted = self._wanted.narrowed(HIGH)
        seen = view(self._counted, wanted, self._scope)
        narrow = self._narrow if self._gathered is None else None
        found = pages.find(self._cursor, seen, wanted, self._scope, limit=HIGH_EVENTS, narrow=narrow)
        if self._gathered is not None:
            found = [self._gathered.position(position.time_us, position.seq) for position in found]
        texts = pages.fetch(self._cursor, found, self._snapshot.hot, self._cache)
        if self._hidden:
            texts = self._mask.rows(texts)
        return {
            "mean": None if mean is None else round(mean, 1),
            "max": most,
            "byBand": bands,
            "high": [orjson.loads(text) for text in texts],
        }

    def _entity_risk(self) -> dict[str, Any]:
        """Return how risky the subject is by all that was found about it lately, whatever the filter says besides."""
        end_us = self._query.filter.end_us
        assert end_us is not None
        sql.show(self._cursor, self._whole.hot)
        return risk_of(
            self._cursor,
            self._whole,
            lambda wanted: self._narrow.view(view(self._snapshot, wanted, self._scope)),
            self._query.subject,
            self._scope,
            end_us,
        )

    def _seen(self) -> View:
        return view(self._counted, self._wanted, self._scope)
