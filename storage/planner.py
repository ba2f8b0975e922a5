"""Counts from roll-ups where they can answer, from rows where they cannot; both always give the same numbers.

A family of roll-ups answers a filter that lies inside its dimensions. Each file is then used in one of three ways:
wholly inside the range, its roll-up counts as it is; across an edge of the range, whole buckets of its roll-up count
and the pieces outside them are read from its rows; without a roll-up (hot rows, an older snapshot), its rows are read.

Families that keep heavy keys only can still prove a list of the top keys: a key that a file left out occurs there at
most so often. Where the proof fails for some keys, just the files that hide them are read; where it fails for keys
that nobody knows, all rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from storage import rolled, sql
from storage.filters import Bind
from storage.pruning import note_rolled
from storage.query import Filter, Scope
from storage.rollups import (
    ADDRESSES,
    COUNTRIES,
    COUNTS,
    ENTITIES,
    LEVELS,
    TOTALS,
    USAGE,
    USERS,
    Family,
)
from storage.scope import View, inside, path_of, view
from storage.snapshot import File, Snapshot

ROLL_UP = "roll-up"
SCAN = "scan"
MIXED = "roll-up and scan"
MAX_CANDIDATES = 256  # keys whose place among the top is in doubt; when more are, all rows are read

# Families for counts by words, and for lists of keys: the first whose dimensions hold the filter answers.
WORDS = (LEVELS, COUNTS)
RANKINGS: dict[str, tuple[Family, ...]] = {
    "users": (USERS, USAGE),
    "countries": (COUNTRIES,),
    "addresses": (ADDRESSES,),
    "entities": (ENTITIES,),
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A key with its name and how many events it has."""

    key: str
    name: str | None
    events: int


@dataclass(slots=True)
class Used:
    """What an answer took: by which means each part, and the files that counted by roll-up or had to be read."""

    parts: dict[str, str] = field(default_factory=dict)
    summed: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)

    def note(self, part: str, parts: rolled.Parts) -> None:
        """Remember how a part was answered."""
        self.summed.update(path for sums in parts.sums for path in sums.paths)
        self.read.update(path for rows in parts.rows for path in rows.paths())
        read = any(rows.files for rows in parts.rows)
        self.parts[part] = (MIXED if read else ROLL_UP) if parts.sums or not parts.rows else SCAN

    def summary(self) -> dict[str, Any]:
        """Return the answer's ``plan``: what answered in all and by part, and how many files each way."""
        answers = set(self.parts.values())
        return {
            "answeredBy": answers.pop() if len(answers) == 1 else MIXED if answers else SCAN,
            "parts": dict(self.parts),
            "filesByRollUp": len(self.summed),
            "filesScanned": len(self.read),
        }


def plan(
    snapshot: Snapshot,
    wanted: Filter,
    scope: Scope,
    *,
    whole: Family | None,
    across: Family | None,
    seq: int | None = None,
) -> rolled.Parts:
    """Decide how to count: by which family for files inside the range and for files across its edges.

    Without a family everything is read from rows. ``seq`` limits what is seen to an earlier snapshot.
    """
    seen = view(snapshot, wanted, scope, seq)
    if whole is None or across is None:
        return rolled.Parts((), () if seen.empty else (seen,))
    start, end, width = seen.start_us, seen.end_us, across.width_us
    low = None if start is None else -(-start // width) * width
    high = None if end is None else (end + 1) // width * width
    sums = {file.covers: path_of(snapshot.root, file) for file in snapshot.rollups}
    by_whole: list[str] = []
    by_bucket: list[str] = []
    cut: list[File] = []
    read: list[File] = []
    for file in seen.files:
        path = sums.get(file.path)
        if path is None or file.max_seq > seen.seq:
            read.append(file)
        elif inside(file, start, end):
            by_whole.append(path)
            note_rolled([path_of(snapshot.root, file)])
        elif _has_whole_bucket(file, low, high, width):
            by_bucket.append(path)
            note_rolled([path_of(snapshot.root, file)])
            cut.append(file)
        else:
            read.append(file)
    rows = [seen.only(read, hot=True)]
    straddling = seen.only(cut, hot=False)
    if start is not None and low is not None and start < low:
        rows.append(straddling.between(start, low - 1))
    if end is not None and high is not None and high <= end:
        rows.append(straddling.between(high, end))
    parts: list[rolled.Sums] = []
    if by_whole:
        parts.append(rolled.Sums(whole, tuple(by_whole)))
    if by_bucket:
        parts.append(rolled.Sums(across, tuple(by_bucket), low, high))
    return rolled.Parts(tuple(parts), tuple(part for part in rows if not part.empty))


def planned_count(snapshot: Snapshot, wanted: Filter, scope: Scope) -> dict[str, Any]:
    """Return the ``plan`` of a count before anything is read."""
    family = _first(WORDS, wanted.names)
    used = Used()
    used.note("count", plan(snapshot, wanted, scope, whole=TOTALS if family else None, across=family))
    return used.summary()


def _has_whole_bucket(file: File, low: int | None, high: int | None, width: int) -> bool:
    """Say whether any bucket with rows of a file lies in ``[low, high)``; otherwise its roll-up is of no use."""
    first = file.min_time_us // width * width
    last = file.max_time_us // width * width
    if low is not None:
        first = max(first, low)
    if high is not None:
        last = min(last, high - width)
    return first <= last


class Planner:
    """Counts for one answer, on one cursor, over one snapshot. ``used`` says afterwards what it took.

    ``seq`` limits what is seen to an earlier snapshot; with ``roll`` False everything is read from rows.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        *,
        seq: int | None = None,
        roll: bool = True,
    ) -> None:
        self._cursor = cursor
        self._snapshot = snapshot
        self._seq = seq
        self._roll = roll
        self.used = Used()
        sql.register(cursor, snapshot.hot)

    def counts(
        self,
        wanted: Filter,
        scope: Scope,
        words: Sequence[str] = (),
        *,
        step_us: int | None = None,
        part: str = "counts",
    ) -> list[tuple[Any, ...]]:
        """Return (bucket if ``step_us`` is given, words…, events) for each combination that occurs.

        ``words`` are names of `rolled.DIMENSIONS`. Steps that are no multiple of the roll-ups' are read from rows.
        Without words and step, one row holds the total.
        """
        family = _first(WORDS, wanted.names | set(words))
        whole = family
        by = [rolled.DIMENSIONS[word] for word in words]
        if step_us is not None:
            by.insert(0, rolled.bucket(step_us))
            if family is not None and step_us % family.width_us:
                family = whole = None
        elif family is not None:
            whole = TOTALS  # fewer rows, and a file inside the range needs no buckets
        parts = self._plan(wanted, scope, whole, family, part)
        return rolled.cells(parts, wanted, scope, by).rows(self._cursor)

    def total(self, wanted: Filter, scope: Scope, *, part: str = "total") -> int:
        """Return how many events match."""
        return int(self.counts(wanted, scope, part=part)[0][0])

    @staticmethod
    def answers(wanted: Filter) -> bool:
        """Say whether roll-ups can count this filter."""
        return _first(WORDS, wanted.names) is not None

    def distinct(self, ranking: str, wanted: Filter, scope: Scope, *, part: str) -> int:
        """Return how many keys of a complete ranking (users, countries) occur."""
        family = _first(RANKINGS[ranking], wanted.names)
        keyed = RANKINGS[ranking][0]
        bind = Bind()
        parts = self._plan(wanted, scope, family, family, part)
        relation = rolled.union(parts, wanted, scope, rolled.key_and_name(keyed)[:1], bind, keyed=keyed)
        text = f"SELECT count(DISTINCT key) FROM {relation}"
        return int(sql.Statement(text, bind.values).rows(self._cursor)[0][0])

    def ranked(self, ranking: str, wanted: Filter, scope: Scope, top: int) -> tuple[list[Ranked], int | None]:
        """Return the ``top`` keys with most events (ties by key), and how many keys there are.

        The number of keys is None for rankings whose roll-ups keep heavy keys only.
        """
        family = _first(RANKINGS[ranking], wanted.names)
        keyed = RANKINGS[ranking][0]
        parts = self._plan(wanted, scope, family, family, ranking)
        if keyed.heavy:
            return self._heavy(ranking, keyed, parts, wanted, scope, top), None
        return self._top(keyed, parts, wanted, scope, top)

    def _plan(
        self, wanted: Filter, scope: Scope, whole: Family | None, across: Family | None, part: str
    ) -> rolled.Parts:
        if not self._roll:
            whole = across = None
        parts = plan(self._snapshot, wanted, scope, whole=whole, across=across, seq=self._seq)
        self.used.note(part, parts)
        return parts

    def _top(
        self, keyed: Family, parts: rolled.Parts, wanted: Filter, scope: Scope, top: int
    ) -> tuple[list[Ranked], int]:
        bind = Bind()
        relation = rolled.union(parts, wanted, scope, rolled.key_and_name(keyed), bind, keyed=keyed)
        # A user may have had several names: the greatest stands for all of them. An entity is its id and type.
        group, name = ("key, name", "name") if keyed.heavy else ("key", "max(name)")
        text = (
            f"SELECT key, {name}, CAST(sum(events) AS BIGINT) AS n, count(*) OVER () FROM {relation} "
            f"GROUP BY {group} ORDER BY n DESC, key, 2 NULLS FIRST LIMIT {bind(top)}"
        )
        rows = sql.Statement(text, bind.values).rows(self._cursor)
        return [Ranked(*row[:3]) for row in rows], int(rows[0][3]) if rows else 0

    def _heavy(
        self, ranking: str, keyed: Family, parts: rolled.Parts, wanted: Filter, scope: Scope, top: int
    ) -> list[Ranked]:
        at_most = [self._bounds(sums) for sums in parts.sums]
        hidden = sum(sum(limits) for limits in at_most)
        if not hidden:
            return self._top(keyed, parts, wanted, scope, top)[0]
        known = rolled.heavy(parts, at_most, keyed, wanted, scope).table(self._cursor)
        doubtful = _doubtful(known, hidden, top)
        if doubtful is None:  # a key that no roll-up names might be among the top
            parts = self._plan(wanted, scope, None, None, ranking)
        elif doubtful:
            seen = view(self._snapshot, wanted, scope, self._seq)
            parts = self._reveal(parts, at_most, doubtful, seen)
            self.used.note(ranking, parts)
        else:
            return _best(known, top)
        return self._top(keyed, parts, wanted, scope, top)[0]

    def _bounds(self, sums: rolled.Sums) -> list[int]:
        limits = [0] * len(sums.paths)
        for place, at_most in rolled.bounds(sums).rows(self._cursor):
            limits[place] = at_most
        return limits

    def _reveal(
        self,
        parts: rolled.Parts,
        at_most: Sequence[Sequence[int]],
        keys: set[tuple[str, str | None]],
        seen: View,
    ) -> rolled.Parts:
        """Return parts that read the rows of every file which hides one of the keys, and sum the rest as before."""
        covers = {path_of(self._snapshot.root, file): file.covers for file in self._snapshot.rollups}
        texts = sorted({key for key, _ in keys})
        sums: list[rolled.Sums] = []
        hiding: set[str | None] = set()
        for part, limits in zip(parts.sums, at_most, strict=True):
            has: dict[int, set[tuple[str, str | None]]] = {}
            for place, key, name in rolled.having(part, texts).rows(self._cursor):
                has.setdefault(place, set()).add((key, name))
            hides = [bool(limit) and not keys <= has.get(place, set()) for place, limit in enumerate(limits)]
            hiding.update(covers[path] for path, hid in zip(part.paths, hides, strict=True) if hid)
            paths = tuple(path for path, hid in zip(part.paths, hides, strict=True) if not hid)
            if paths:
                sums.append(rolled.Sums(part.family, paths, part.low_us, part.high_us))
        # What is read whole is no longer read at the edges of the range as well.
        rows = [
            part.only([file for file in part.files if file.path not in hiding], hot=bool(part.hot))
            for part in parts.rows
        ]
        rows.append(seen.only([file for file in seen.files if file.path in hiding], hot=False))
        return rolled.Parts(tuple(sums), tuple(part for part in rows if not part.empty))


def _first(families: Sequence[Family], names: frozenset[str] | set[str]) -> Family | None:
    """Return the first family whose dimensions hold all of the names."""
    return next((family for family in families if names <= set(family.dimensions)), None)


def _best(known: pa.Table, top: int) -> list[Ranked]:
    """Return the keys with most events, ties by key."""
    events = known["events"].to_numpy()
    least = max(1, int(np.partition(events, -top)[-top])) if len(events) > top else 1
    rows = np.flatnonzero(events >= least).tolist()
    keys, names = known["key"], known["name"]
    found = [Ranked(keys[row].as_py(), names[row].as_py(), int(events[row])) for row in rows]
    return sorted(found, key=lambda item: (-item.events, item.key, item.name or ""))[:top]


def _doubtful(known: pa.Table, hidden: int, top: int) -> set[tuple[str, str | None]] | None:
    """Return the keys that may belong to the top, if any of them is not fully known; None when nobody can tell.

    ``hidden`` bounds the events of a key that no roll-up has.
    """
    events = known["events"].to_numpy()
    if len(events) < top:
        return None
    most = events + hidden - known["known"].to_numpy()
    least = int(np.partition(events, -top)[-top])
    if hidden >= least:
        return None
    chosen = np.flatnonzero(most >= least)
    if np.array_equal(most[chosen], events[chosen]):
        return set()
    if len(chosen) > MAX_CANDIDATES:
        return None
    keys, names = known["key"], known["name"]
    return {(keys[row].as_py(), names[row].as_py()) for row in chosen.tolist()}
