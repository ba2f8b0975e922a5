"""How to count: which roll-ups and which rows an answer takes, decided before anything is read.

A family of roll-ups answers a filter that lies inside its dimensions. Each file is then used in one of three ways:
wholly inside the range, its roll-up counts as it is; across an edge of the range, whole buckets of its roll-up count
and the pieces outside them are read from its rows; without a roll-up (hot rows, an older snapshot), its rows are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from storage import rolled
from storage.pruning import note_rolled
from storage.query import Filter, Scope
from storage.rollups import (
    ADDRESSES,
    COUNTRIES,
    COUNTS,
    ENTITIES,
    FEW,
    HAS_ADDRESS,
    HOURS,
    LEVELS,
    TOTALS,
    USAGE,
    USERS,
    Family,
)
from storage.scope import View, inside, path_of, view
from storage.sheets import Sheets
from storage.snapshot import File, Snapshot

ROLL_UP = "roll-up"
SCAN = "scan"
MIXED = "roll-up and scan"

# Families for counts by words, and for lists of keys: the first whose dimensions hold the filter answers.
WORDS = (LEVELS, COUNTS)
RANKINGS: dict[str, tuple[Family, ...]] = {
    "users": (USERS, USAGE),
    "countries": (COUNTRIES,),
    "addresses": (ADDRESSES,),
    "entities": (ENTITIES,),
    "has_address": (HAS_ADDRESS,),
    **{column: (family,) for column, family in FEW.items()},
}
HOURLY: dict[str, tuple[Family, ...]] = {"users": (HOURS,)}  # for sets of less than a day


def family_for(families: Sequence[Family], names: frozenset[str] | set[str]) -> Family | None:
    """Return the first family whose dimensions hold all of the names."""
    return next((family for family in families if names <= set(family.dimensions)), None)


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
        summed = parts.sums or parts.hot or not parts.rows
        self.parts[part] = (MIXED if read else ROLL_UP) if summed else SCAN

    def note_read(self, part: str, rows: View) -> None:
        """Remember that a part looked into rows as well."""
        self.read.update(rows.paths())
        self.parts[part] = MIXED

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
    sheets: Sheets | None = None,
) -> rolled.Parts:
    """Decide how to count: by which family for files inside the range and for files across its edges.

    Without a family everything is read from rows. ``seq`` limits what is seen to an earlier snapshot. With ``sheets``,
    hot batches inside the range count by sheets of theirs, and files without the family are found out and read.
    """
    seen = view(snapshot, wanted, scope, seq)
    if whole is None or across is None:
        return rolled.Parts((), () if seen.empty else (seen,))
    start, end, width = seen.start_us, seen.end_us, across.width_us
    low = None if start is None else -(-start // width) * width
    high = None if end is None else (end + 1) // width * width
    sums = {file.covers: file for file in snapshot.rollups}
    by_whole: list[File] = []
    by_bucket: list[File] = []
    cut: list[File] = []
    read: list[File] = []
    for file in seen.files:
        sum_of = sums.get(file.path)
        if sum_of is None or file.max_seq > seen.seq or not _has(sheets, snapshot.root, sum_of, whole):
            read.append(file)
        elif inside(file, start, end):
            by_whole.append(sum_of)
            note_rolled([path_of(snapshot.root, file)])
        elif _has_whole_bucket(file, low, high, width):
            by_bucket.append(sum_of)
            note_rolled([path_of(snapshot.root, file)])
            cut.append(file)
        else:
            read.append(file)
    hot = seen.hot
    if sheets is None or not all(inside(batch, start, end) and batch.max_seq <= seen.seq for batch in hot):
        hot = ()
    rows = [seen.only(read, hot=not hot)]
    straddling = seen.only(cut, hot=False)
    if start is not None and low is not None and start < low:
        rows.append(straddling.between(start, low - 1))
    if end is not None and high is not None and high <= end:
        rows.append(straddling.between(high, end))
    parts: list[rolled.Sums] = []
    if by_whole:
        parts.append(rolled.Sums(whole, snapshot.root, tuple(by_whole)))
    if by_bucket:
        parts.append(rolled.Sums(across, snapshot.root, tuple(by_bucket), low, high))
    return rolled.Parts(tuple(parts), tuple(part for part in rows if not part.empty), hot, whole)


def planned_count(snapshot: Snapshot, wanted: Filter, scope: Scope) -> dict[str, Any]:
    """Return the ``plan`` of a count before anything is read."""
    family = family_for(WORDS, wanted.names)
    used = Used()
    used.note("count", plan(snapshot, wanted, scope, whole=TOTALS if family else None, across=family))
    return used.summary()


def _has(sheets: Sheets | None, root: str, file: File, family: Family) -> bool:
    """Say whether a roll-up has a family; those that every release wrote need no look."""
    return not family.marked or (sheets is not None and sheets.of_file(root, file, family).there)


def _has_whole_bucket(file: File, low: int | None, high: int | None, width: int) -> bool:
    """Say whether any bucket with rows of a file lies in ``[low, high)``; otherwise its roll-up is of no use."""
    first = file.min_time_us // width * width
    last = file.max_time_us // width * width
    if low is not None:
        first = max(first, low)
    if high is not None:
        last = min(last, high - width)
    return first <= last
