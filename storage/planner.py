"""Counts from roll-ups where they can answer, from rows where they cannot; both always give the same numbers.

A family of roll-ups answers a filter that lies inside its dimensions. Then each file is used in one of three ways:
wholly inside the range, its roll-up counts as it is; across an edge of the range, its whole buckets count and the
pieces outside them are read from its rows; without a roll-up (hot rows, an older snapshot), its rows are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb

from storage import sql
from storage.query import Filter, Scope
from storage.rollups import KEYED, QUARTER_US
from storage.scope import View, inside, path_of, view
from storage.snapshot import File, Snapshot

ROLL_UP = "roll-up"
SCAN = "scan"
MIXED = "roll-up and scan"
MAX_CANDIDATES = 256  # keys whose place among the top is in doubt; more of them are counted from the rows

# Filters that each family's dimensions can answer.
DIMENSIONS = {
    "counts": frozenset({"level", "category", "action", "outcome", "risk"}),
    **{family.name: frozenset({"level", "category", "outcome"}) for family in KEYED},
}
WIDTH_US = {"counts": QUARTER_US, **{family.name: family.quarters * QUARTER_US for family in KEYED}}
COMPLETE = frozenset(family.name for family in KEYED if not family.heavy)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A key with its name and how many events it has."""

    key: str
    name: str | None
    events: int


@dataclass(slots=True)
class Used:
    """What answering took: how many files by roll-up, and how many files and rows had to be read."""

    parts: dict[str, str] = field(default_factory=dict)
    rolled: set[str] = field(default_factory=set)
    scanned: set[str] = field(default_factory=set)

    def note(self, part: str, plan: Plan) -> None:
        """Remember how a part was answered."""
        self.rolled.update(file.path for file in (*plan.whole, *plan.across))
        self.scanned.update(file.path for file in plan.rows.files)
        name = SCAN if not plan.rolls else ROLL_UP
        known = self.parts.get(part)
        self.parts[part] = name if known in {None, name} else MIXED

    def summary(self) -> dict[str, object]:
        """Return the answer's ``plan``: what answered, by part, and how many files each way."""
        answers = set(self.parts.values())
        return {
            "answeredBy": answers.pop() if len(answers) == 1 else MIXED if answers else SCAN,
            "parts": dict(self.parts),
            "filesByRollUp": len(self.rolled),
            "filesScanned": len(self.scanned),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """How one family counts one range: files by whole roll-up, by whole buckets ``[low, high)`` of it, and by rows."""

    whole: tuple[File, ...]  # roll-up files
    across: tuple[File, ...]  # roll-up files
    low_us: int | None
    high_us: int | None
    rows: View  # files whose rows are read from end to end of the range, and the hot rows
    edges: tuple[View, ...]  # pieces of the ``across`` files outside their whole buckets

    @property
    def rolls(self) -> bool:
        """True when any roll-up is used."""
        return bool(self.whole or self.across)


def plan(
    snapshot: Snapshot,
    family: str,
    wanted: Filter,
    scope: Scope,
    *,
    seq: int | None = None,
    roll: bool = True,
) -> Plan:
    """Decide how to count; with ``roll`` False everything is read from rows."""
    seen = view(snapshot, wanted, scope, seq)
    width = WIDTH_US[family]
    low = None if seen.start_us is None else -(-seen.start_us // width) * width
    high = None if seen.end_us is None else (seen.end_us + 1) // width * width
    if not roll or not wanted.names <= DIMENSIONS[family]:
        return Plan((), (), None, None, seen, ())
    sums = {file.covers: file for file in snapshot.rollups}
    whole: list[File] = []
    across: list[File] = []
    cut: list[File] = []
    rows: list[File] = []
    for file in seen.files:
        rollup = sums.get(file.path)
        if rollup is None or file.max_seq > seen.seq:
            rows.append(file)
        elif inside(file, seen.start_us, seen.end_us):
            whole.append(rollup)
        elif low is None or high is None or low < high:
            across.append(rollup)
            cut.append(file)
        else:
            rows.append(file)
    edges: list[View] = []
    if cut:
        straddling = seen.only(cut, hot=False)
        if low is not None and seen.start_us is not None and seen.start_us < low:
            edges.append(straddling.between(seen.start_us, low - 1))
        if high is not None and seen.end_us is not None and high <= seen.end_us:
            edges.append(straddling.between(high, seen.end_us))
    return Plan(
        tuple(whole),
        tuple(across),
        low,
        high,
        seen.only(rows, hot=True),
        tuple(edge for edge in edges if edge.files),
    )


class Planner:
    """Counts for one answer, on one cursor, over one snapshot. ``used`` says afterwards what it took."""

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
        keys: Sequence[sql.Key],
        *,
        part: str = "counts",
        roll: bool = True,
    ) -> list[tuple[Any, ...]]:
        """Return (key values…, events) for each combination of ``keys`` that occurs."""
        relation, bind = self._cells("counts", wanted, scope, keys, part, roll=roll)
        return sql.Statement(f"SELECT * FROM {relation}", bind.values).rows(self._cursor)

    def ranked(self, family: str, wanted: Filter, scope: Scope, top: int) -> tuple[list[Ranked], int]:
        """Return the ``top`` keys with most events (ties by key), and how many keys there are.

        The number of keys is exact for complete families (users, countries) and otherwise of no meaning.
        """
        complete = family in COMPLETE
        relation, bind = self._cells(family, wanted, scope, sql.KEYED_BY[family].keys, family, roll=complete)
        return self._top(family, relation, bind, top)

    def distinct(self, family: str, wanted: Filter, scope: Scope, *, part: str) -> int:
        """Return how many keys of a complete family occur."""
        relation, bind = self._cells(family, wanted, scope, sql.KEYED_BY[family].keys[:1], part)
        return int(sql.Statement(f"SELECT count(*) FROM {relation}", bind.values).rows(self._cursor)[0][0])

    def _cells(
        self,
        family: str,
        wanted: Filter,
        scope: Scope,
        keys: Sequence[sql.Key],
        part: str,
        *,
        roll: bool = True,
    ) -> tuple[str, sql.Bind]:
        chosen = plan(self._snapshot, family, wanted, scope, seq=self._seq, roll=roll and self._roll)
        self.used.note(part, chosen)
        return sql.cells(family, wanted, scope, keys, self._rolled(chosen), _rows(chosen))

    def _rolled(self, chosen: Plan) -> list[sql.Rolled]:
        root = self._snapshot.root
        parts: list[sql.Rolled] = []
        if chosen.whole:
            parts.append(sql.Rolled([path_of(root, file) for file in chosen.whole]))
        if chosen.across:
            paths = [path_of(root, file) for file in chosen.across]
            parts.append(sql.Rolled(paths, chosen.low_us, chosen.high_us))
        return parts

    def _top(self, family: str, relation: str, bind: sql.Bind, top: int) -> tuple[list[Ranked], int]:
        # A user may have had several names: the greatest stands for all, as in any order of reading.
        group = "key, name" if family == "entities" else "key"
        name = "name" if family == "entities" else "max(name)"
        text = (
            f"SELECT key, {name}, CAST(sum(events) AS BIGINT) AS n, count(*) OVER () FROM {relation} "
            f"GROUP BY {group} ORDER BY n DESC, key, 2 LIMIT {bind(top)}"
        )
        rows = sql.Statement(text, bind.values).rows(self._cursor)
        return [Ranked(*row[:3]) for row in rows], int(rows[0][3]) if rows else 0


def _rows(chosen: Plan) -> list[View]:
    return [view for view in (chosen.rows, *chosen.edges) if not view.empty]
