"""Archives that live for a while, and random questions about them: roll-ups and scans must give the same figures.

An archive takes rows in, commits, folds, seals and drops; what it decoded of roll-ups stays, as in a daemon. Files of
an earlier release, without the newer families, lie between the others.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from storage import facets, rollups
from storage.buckets import MAX_BUCKETS, STEPS
from storage.facets import FacetQuery, Job
from storage.filters import FilterError
from storage.material import Material
from storage.plan import RANKINGS
from storage.planner import Planner
from storage.query import STATISTICS_PARTS, Filter, Scope, StatisticsQuery
from storage.rolled import DIMENSIONS
from storage.rollups import FAMILIES
from storage.sheets import Sheets
from storage.snapshot import Snapshot
from storage.statistics import statistics
from storage.trends import BY, TrendQuery, trends
from tests.storage.samples import (
    DAY_US,
    EPOCH,
    HOUR_US,
    MINUTE_US,
    Pair,
    Row,
    filled,
    oracle,
    snapshot,
    write_events,
)

QUARTER_US = 15 * MINUTE_US
DAYS = 6
QUESTIONS = 20  # of one archive in one state
STATES = 5  # of one archive
ZONES = ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana")
# Ranges of days in which clocks are changed (Berlin and Havana, Lord Howe), and one of ordinary days.
BEGINS = tuple(
    (day - EPOCH) // timedelta(microseconds=1)
    for day in (
        EPOCH.replace(year=2026, month=m, day=d) for m, d in ((3, 26), (10, 22), (4, 2), (10, 30), (6, 28))
    )
)
WORDS: dict[str, list[Any]] = {
    "level": ["debug", "info", "warning", "error", "critical"],
    "category": [None, "security", "api", "billing", "workflow"],
    "action": [None, "login", "paid"],
    "outcome": [None, "success", "failure"],
    "risk_score": [None, 0, 30, 31, 70, 71, 100],
    "user_id": [None, "1", "2", "3", "4"],
    "username": [None, "ann", "ben"],
    "country_code": [None, "DE", "US"],
    "ip": [None, *(f"10.0.0.{n}" for n in range(12))],
    "entity_type": [None, "project", "file"],
    "entity_id": [None, *(str(n) for n in range(9))],
    "tenant": [None, None, "t1"],
    "internal": [False, False, False, True],
    "method": [None, "GET", "POST"],
    "status_code": [None, 200, 404, 500],
    "server": [None, "a", "b", "c", "d"],
    "tags": [None, [], ["x"], ["x", "y"], ["y", "y"]],
    "metadata": [None, '{"browser": "chrome"}', '{"browser": "safari", "n": 1}', "{}"],
}
VALUES = {
    "level": ["error", "!debug", "critical", "info"],
    "category": ["security", "!billing", "nothing"],
    "outcome": ["failure", "!success"],
    "action": ["login", "!paid"],
    "risk": ["high", "!low", "medium"],
    "user_id": ["1", "!2"],
    "username": ["ann", "!ben"],
    "country": ["DE"],
    "status_code": ["404", "!200"],
}
SEARCHES = (
    "level:error OR category:api",
    "NOT outcome:failure level:info",
    "risk:>70",
    "risk:>50 OR action:login",
    "level:error (category:security OR NOT action:paid)",
    "category:sec*",
    "user.name:ann OR level:critical",
)
FACETS = (*BY, *facets.RANKED, "tag", "entity_id", "metadata.browser", "user_id")


class Living:
    """One archive in a folder, by a random generator: the same seed makes the same life."""

    def __init__(self, root: Path, random: Random) -> None:
        self._root = root
        self._random = random
        self._begin_us = random.choice(BEGINS)
        self._files = 0
        self._seq = 1
        self._live: list[tuple[Pair, list[Row]]] = []
        self._sealed: list[tuple[Pair, list[Row]]] = []
        self._hot: list[list[Row]] = []
        self._drops = 0
        self.sheets = Sheets(random.choice([0, 1, 48]))

    @property
    def rows(self) -> list[Row]:
        """Every row that is there."""
        return [row for _, rows in (*self._live, *self._sealed) for row in rows] + [
            r for rows in self._hot for r in rows
        ]

    def snapshot(self) -> Snapshot:
        """Return what a query sees now."""
        pairs = [pair for pair, _ in (*self._live, *self._sealed)]
        return snapshot(self._root, pairs, self._hot, drops=self._drops)

    def live(self) -> None:
        """Let something happen."""
        random = self._random
        for _ in range(random.randint(1, 4)):
            self._take()
            random.choice([self._commit, self._commit, self._fold, self._seal, self._drop, self._take])()

    def time(self) -> int:
        """Return a time within the archive's days, often on the edge of a bucket."""
        random = self._random
        quarter = self._begin_us + random.randrange(DAYS * 96) * QUARTER_US
        hour = self._begin_us + random.randrange(DAYS * 24) * HOUR_US
        day = self._begin_us + random.randrange(DAYS) * DAY_US
        inside = self._begin_us + random.randrange(DAYS * DAY_US)
        return random.choice([quarter, quarter - 1, hour, day, day - 1, inside, inside])

    def _take(self) -> None:
        random = self._random
        near = self.time()
        spread = random.choice([HOUR_US, DAY_US, DAYS * DAY_US])
        made = [
            {
                **{name: random.choice(words) for name, words in WORDS.items()},
                "time_us": min(
                    max(near + random.randrange(-spread, spread), 1), self._begin_us + DAYS * DAY_US
                ),
            }
            for _ in range(random.randint(1, 25))
        ]
        rows = filled(made, first_seq=self._seq)
        self._seq += len(rows)
        self._hot.append(rows)

    def _written(self, rows: list[Row], day: str | None = None) -> tuple[Pair, list[Row]]:
        self._files += 1
        pair = write_events(self._root, rows, f"f{self._files}", day=day)
        if self._random.random() < 0.25:
            path = self._root / pair[1].path
            newer = pa.array([family.name for family in FAMILIES.values() if family.marked])
            pq.write_table(
                pq.read_table(path, partitioning=None).filter(~pc.field("family").isin(newer)), path
            )
        return pair, rows

    def _commit(self) -> None:
        rows = [row for batch in self._hot for row in batch]
        if rows:
            self._live.append(self._written(rows))
        self._hot = []

    def _fold(self) -> None:
        if len(self._live) > 1:
            folded = [row for _, rows in self._live for row in rows]
            self._live = [self._written(folded)]

    def _seal(self) -> None:
        days: dict[tuple[str, bool], list[Row]] = {}
        for _, rows in self._live:
            for row in rows:
                day = (EPOCH + timedelta(microseconds=row["time_us"])).strftime("%Y-%m-%d")
                days.setdefault((day, row["internal"]), []).append(row)
        self._sealed += [self._written(rows, day) for (day, _), rows in sorted(days.items())]
        self._live = []

    def _drop(self) -> None:
        if self._sealed and self._random.random() < 0.5:
            day = min(pair[0].day or "" for pair, _ in self._sealed)
            self._sealed = [(pair, rows) for pair, rows in self._sealed if pair[0].day != day]
            self._drops += 1


def filter_of(archive: Living, random: Random) -> Filter:
    """Return a random filter, mostly one that roll-ups can answer."""
    names = random.sample(["level", "category", "outcome", *VALUES], random.choice([0, 0, 1, 1, 2]))
    values = {name: [random.choice(VALUES[name])] for name in names}
    start, end = sorted((archive.time(), archive.time()))
    return Filter.of(
        values,
        start_us=start,
        end_us=end,
        min_risk=random.choice([None, None, None, 31, 50]),
        search=random.choice([None] * 9 + ["an"]),
        q=random.choice([None, None, *SEARCHES]) if random.random() < 0.3 else None,
    )


HEAVY = ("addresses", "entities")
Question = Callable[[bool], Any]


def questions(
    archive: Living, cursor: duckdb.DuckDBPyConnection, random: Random
) -> Iterator[tuple[str, Question]]:
    """Yield random questions: what is asked, and a function that answers it, from roll-ups or from rows."""
    snap = archive.snapshot()
    for _ in range(QUESTIONS):
        wanted = filter_of(archive, random)
        scope = Scope(
            tenant=random.choice([None, None, "t1"]), internal=random.choice(["exclude", "include", "only"])
        )
        name, make = random.choice(_KINDS)
        question = make(archive, cursor, snap, wanted, scope, random)
        yield f"{name} {question[0]} of {wanted} for {scope}", question[1]


def _counts(
    archive: Living, cursor: Any, snap: Snapshot, wanted: Filter, scope: Scope, random: Random
) -> Any:
    words = random.sample(list(DIMENSIONS), random.randint(0, 3))
    rows = oracle(archive.rows, wanted, scope) if wanted.expression is None else None

    def ask(roll: bool) -> Any:
        planner = Planner(Material(cursor, snap, roll=roll, sheets=archive.sheets))
        found = planner.counts(wanted, scope, words)
        assert rows is None or sum(row[-1] for row in found) == len(rows), "Python counts otherwise"
        return sorted(found, key=repr)

    return words, ask


def _earlier(
    archive: Living, cursor: Any, snap: Snapshot, wanted: Filter, scope: Scope, random: Random
) -> Any:
    seq = random.randint(0, snap.seq + 1)
    return seq, lambda roll: Planner(Material(cursor, snap, seq=seq, roll=roll, sheets=archive.sheets)).total(
        wanted, scope
    )


def _ranking(
    archive: Living, cursor: Any, snap: Snapshot, wanted: Filter, scope: Scope, random: Random
) -> Any:
    ranking, top = random.choice([*RANKINGS, *HEAVY * 6]), random.randint(1, 5)
    if ranking in HEAVY:  # their roll-ups answer without a filter only, and have more to prove
        wanted = Filter(start_us=wanted.start_us, end_us=wanted.end_us)
    named = ranking == "users" and random.random() < 0.5

    def ask(roll: bool) -> Any:
        planner = Planner(Material(cursor, snap, roll=roll, sheets=archive.sheets))
        found = planner.ranked(ranking, wanted, scope, top, by_name=named)
        if named:
            return [(item.key, item.events) for item in found.top], found.distinct, found.present
        return found

    return f"{ranking} {top} {named}", ask


def _trend(archive: Living, cursor: Any, snap: Snapshot, wanted: Filter, scope: Scope, random: Random) -> Any:
    length = (wanted.end_us or 0) - (wanted.start_us or 0)
    step = random.choice([None, *(us for us in STEPS.values() if length // us < MAX_BUCKETS - 2)])
    of: Literal["events", "users"] = random.choice(("events", "users"))
    query = TrendQuery(
        wanted,
        scope,
        step_us=step,
        by=random.choice([None, *BY]) if of == "events" else None,
        of=of,
        timezone=random.choice(ZONES),
        previous=random.random() < 0.3,
        heatmap=random.random() < 0.2,
    )

    def ask(roll: bool) -> Any:
        try:
            return _without_plan(trends(cursor, snap, query, archive.sheets, roll=roll))
        except FilterError as error:
            return str(error)

    return query, ask


def _statistics(
    archive: Living, cursor: Any, snap: Snapshot, wanted: Filter, scope: Scope, random: Random
) -> Any:
    parts = frozenset(random.sample(STATISTICS_PARTS, random.randint(1, 3)))
    query = StatisticsQuery(
        wanted, scope, parts=parts, top=random.randint(1, 5), timezone=random.choice(ZONES)
    )
    return query, lambda roll: _without_plan(statistics(cursor, snap, query, None, archive.sheets, roll=roll))


def _facet(archive: Living, cursor: Any, snap: Snapshot, wanted: Filter, scope: Scope, random: Random) -> Any:
    fields = tuple(random.sample(FACETS, random.randint(1, 3)))
    query = FacetQuery(fields, wanted, scope, top=random.randint(1, 4), exclude_own=random.random() < 0.5)

    def ask(roll: bool) -> Any:
        found: dict[str, Any] = {}
        for job in facets.jobs(query):
            # From rows: by the one scan that counts several fields at once.
            jobs = [job] if roll else [Job((field,), job.filter, rolled=False) for field in job.fields]
            for part in jobs:
                found |= facets.answer(cursor, snap, query, part, archive.sheets)
        return {
            field: replace(facet, answered_by="", distinct=None if field == "ip" else facet.distinct)
            for field, facet in sorted(found.items())
        }

    return query, ask


_KINDS: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("counts", _counts),
    ("total at", _earlier),
    ("ranking", _ranking),
    ("ranking", _ranking),
    ("trend", _trend),
    ("trend", _trend),
    ("statistics", _statistics),
    ("facets", _facet),
)


def _without_plan(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "plan"}


def differences(
    cursor: duckdb.DuckDBPyConnection, seed: int, *, states: int = STATES
) -> Iterator[tuple[str, Any, Any]]:
    """Live one life; yield for each question what was asked, and both answers (equal, if all is well)."""
    random = Random(seed)
    with _few_keys(random), tempfile.TemporaryDirectory() as folder:
        archive = Living(Path(folder), random)
        for _ in range(states):
            archive.live()
            for asked, answer in questions(archive, cursor, random):
                yield f"seed {seed}: {asked}", answer(True), answer(False)


@contextmanager
def _few_keys(random: Random) -> Iterator[None]:
    """Let files keep so few keys that something is left out, in half of the lives."""
    with pytest.MonkeyPatch.context() as patch:
        if random.random() < 0.5:
            patch.setattr(rollups, "HEAVY_KEYS", 3)
            patch.setattr(rollups, "FEW_KEYS", 3)
            patch.setattr("storage.sheet.MERGED_KEYS", 4)
        yield
