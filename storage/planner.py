"""Counts from roll-ups where they can answer, from rows where they cannot; both always give the same numbers.

A family of roll-ups answers a filter that lies inside its dimensions. Each file is then used in one of three ways:
wholly inside the range, its roll-up counts as it is; across an edge of the range, whole buckets of its roll-up count
and the pieces outside them are read from its rows; without a roll-up (hot rows, an older snapshot), its rows are read.

Families that keep heavy keys only can still prove a list of the top keys: a key that a file left out occurs there at
most so often. Where the proof fails for some keys, just the files that hide them are read; where it fails for keys
that nobody knows, all rows are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.entityrisk import LEAST_EVENT_POINTS
from storage import rolled, sql
from storage.coded import Codes, Flags, Ints, encode
from storage.combinations import Places
from storage.filters import Bind
from storage.pruning import note_rolled
from storage.query import Filter, Scope
from storage.rollups import (
    ADDRESSES,
    COUNTRIES,
    COUNTS,
    DAY_US,
    ENTITIES,
    FEW,
    HAS_ADDRESS,
    HOUR_US,
    HOURS,
    LEVELS,
    QUARTER_US,
    TOTALS,
    USAGE,
    USERS,
    Family,
)
from storage.scope import View, inside, path_of, view
from storage.sheets import Sheet, Sheets, filter_key, unite
from storage.snapshot import File, Snapshot

ROLL_UP = "roll-up"
SCAN = "scan"
MIXED = "roll-up and scan"
MOST_UNITED = 64  # files whose heavy keys are united one by one, some 4,000 keys each
MAX_CANDIDATES = 256  # keys whose place among the top is in doubt; when more are, all rows are read

Pair = tuple[str, str | None]
"""A key and its name."""

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


@dataclass(frozen=True, slots=True)
class Ranked:
    """A key with its name and how many events it has."""

    key: str
    name: str | None
    events: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """The keys with most events, how many keys there are, and how many events have one.

    The last two are None for rankings whose roll-ups keep heavy keys only.
    """

    top: list[Ranked]
    distinct: int | None = None
    present: int | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """Risky events: row by row ``events`` of a score of ``points`` belong to the (key, name) of the number ``subjects``."""

    keys: Any
    names: Any
    subjects: Ints
    points: Ints
    events: Ints


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


def _has(sheets: Sheets | None, root: str, file: File, family: Family) -> bool:
    """Say whether a roll-up has a family; those that every release wrote need no look."""
    return not family.marked or (sheets is not None and sheets.of_file(root, file, family).there)


def planned_count(snapshot: Snapshot, wanted: Filter, scope: Scope) -> dict[str, Any]:
    """Return the ``plan`` of a count before anything is read."""
    family = family_for(WORDS, wanted.names)
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

    ``seq`` limits what is seen to an earlier snapshot; with ``roll`` False everything is read from rows. ``sheets``
    are those that earlier answers left; without them roll-ups are read anew.
    """

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        snapshot: Snapshot,
        *,
        seq: int | None = None,
        roll: bool = True,
        sheets: Sheets | None = None,
    ) -> None:
        self._cursor = cursor
        self._snapshot = snapshot
        self._seq = seq
        self._roll = roll
        self._sheets = sheets or Sheets()
        self._registered = False
        self.used = Used()

    def counts(
        self, wanted: Filter, scope: Scope, words: Sequence[str] = (), *, part: str = "counts"
    ) -> list[tuple[Any, ...]]:
        """Return (words…, events) for each combination that occurs; without words one row, the total.

        ``words`` are names of `rolled.DIMENSIONS`.
        """
        family = family_for(WORDS, wanted.names | set(words))
        # Totals have fewer rows, and a file inside the range needs no buckets.
        parts = self._plan(wanted, scope, None if family is None else TOTALS, family, part)
        cells = self._cells(parts, wanted, scope, words, None, 0)
        if not words:
            return [(int(sum(sums[0] for sums in cells.values())),)]
        return [(*group, int(sums[0])) for group, sums in cells.items() if sums[0]]

    def series(
        self,
        wanted: Filter,
        scope: Scope,
        words: Sequence[str],
        starts: Sequence[int],
        *,
        part: str = "series",
    ) -> dict[tuple[Any, ...], Ints]:
        """Return how many events each combination of words has from each start (rising, microseconds) to the next.

        The first start must not be later than the range; the last bucket ends with it.
        """
        grain = grain_of(starts)
        family = family_for(WORDS, wanted.names | set(words))
        if grain % QUARTER_US:
            family = None
        whole = TOTALS if family is not None and not grain % DAY_US else family
        parts = self._plan(wanted, scope, whole, family, part)
        return self._cells(parts, wanted, scope, words, np.array(starts, np.int64), grain)

    def total(self, wanted: Filter, scope: Scope, *, part: str = "total") -> int:
        """Return how many events match."""
        return int(self.counts(wanted, scope, part=part)[0][0])

    @staticmethod
    def answers(wanted: Filter) -> bool:
        """Say whether roll-ups can count this filter."""
        return family_for(WORDS, wanted.names) is not None

    def distinct(self, ranking: str, wanted: Filter, scope: Scope, *, part: str) -> int:
        """Return how many keys of a complete ranking (users, countries) occur."""
        family = family_for(RANKINGS[ranking], wanted.names)
        parts = self._plan(wanted, scope, family, family, part)
        found, _ = self._keyed(RANKINGS[ranking][0], parts, wanted, scope)
        return len(_by_key(found)[0])

    def distinct_in(
        self, ranking: str, wanted: Filter, scope: Scope, starts: Sequence[int], *, part: str
    ) -> list[int]:
        """Return how many keys of a complete ranking occur from each start (rising, microseconds) to the next."""
        grain = grain_of(starts)
        family = family_for(RANKINGS[ranking], wanted.names)
        if grain % DAY_US:
            family = family_for(HOURLY.get(ranking, ()), wanted.names) if not grain % HOUR_US else None
        parts = self._plan(wanted, scope, family, family, part)
        sets = _Sets(starts)
        for sheet, _, places, keys in self._hot_keys(parts, wanted, scope):
            sets.add(sheet.keys.take(pa.array(keys)), places.astype(np.int64) * QUARTER_US)
        if parts.rows:
            by = [rolled.bucket(grain), rolled.key_and_name(RANKINGS[ranking][0])[0]]
            found = self._table(
                rolled.cells(rolled.Parts((), parts.rows), wanted, scope, by, keyed=RANKINGS[ranking][0])
            )
            sets.add(found["key"].combine_chunks(), found["bucket"].to_numpy())
        counts: list[int] = []
        for place, (low, high) in enumerate(sets.ranges):
            pieces = [
                (
                    sums.family,
                    sums.root,
                    file,
                    *_narrower(file, max_of(low, sums.low_us), min_of(high, sums.high_us)),
                )
                for sums in parts.sums
                for file in sums.files
                if file.max_time_us >= low and (high is None or file.min_time_us < high)
            ]
            more = sets.keys[place]
            if more or not pieces:
                counts.append(self._distinct(pieces, more, wanted, scope))
                continue
            key = (
                filter_key(wanted, scope),
                *((p[0].name, p[1], p[2].path, p[2].sha256, *p[3:]) for p in pieces),
            )
            counts.append(self._sheets.number(key, partial(self._distinct, pieces, (), wanted, scope)))
        return counts

    def ranked(
        self, ranking: str, wanted: Filter, scope: Scope, top: int, *, by_name: bool = False
    ) -> Ranking:
        """Return the ``top`` keys with most events, ties by key. With ``by_name`` names are ranked instead."""
        family = family_for(RANKINGS[ranking], wanted.names)
        keyed = RANKINGS[ranking][0]
        parts = self._plan(wanted, scope, family, family, ranking)
        found, hidden = self._keyed(keyed, parts, wanted, scope)
        if keyed.heavy:
            return Ranking(self._heavy(ranking, keyed, parts, found, hidden, wanted, scope, top))
        if by_name:
            found = found.at(np.flatnonzero(pc.is_valid(found.names).to_numpy(zero_copy_only=False)))
            found = replace(found, keys=found.names)
        keys, events = _by_key(found)
        best = _best(keys, pa.nulls(len(keys), pa.string()), events, top)
        named = [replace(item, name=_name_of(found, item.key)) for item in best]
        return Ranking(named, len(keys), int(events.sum()))

    def scored(self, family: Family, wanted: Filter, scope: Scope) -> Scored:
        """Return the risky events of each user or address, by score; ``family`` is one of the risky ones."""
        rolls = None if wanted.names else family  # its words are scores, which no filter knows
        parts = self._plan(wanted, scope, rolls, rolls, family.name)
        found: list[tuple[Any, Any, Places, Ints, Ints]] = []
        for rolling, sheet, low, high in self._pieces(parts):
            mask = sheet.mask(self._chosen(rolling, wanted, scope), low, high)
            groups, words = self._sheets.combinations(rolling).grouped(rolling.dimensions)
            points = np.array([int(score) for (score,) in words], np.int64)
            assert sheet.subjects is not None
            about = sheet.subjects[mask], points[groups[sheet.combinations[mask]]], sheet.events[mask]
            found.append((sheet.keys, sheet.names, *about))
        if parts.rows:
            risky = replace(wanted, min_risk=max(LEAST_EVENT_POINTS, wanted.min_risk or 0))
            by = [rolled.SCORE, *rolled.key_and_name(family)]
            table = self._table(rolled.cells(rolled.Parts((), parts.rows), risky, scope, by, keyed=family))
            keys, names = (table[name].combine_chunks() for name in ("key", "name"))
            subjects = np.arange(len(keys), dtype=np.int32)
            points, events = (table[name].to_numpy().astype(np.int64) for name in ("score", "events"))
            found.append((keys, names, subjects, points, events))
        if not found:
            none = np.zeros(0, np.int64)
            return Scored(pa.array([], pa.string()), pa.array([], pa.string()), none, none, none)
        keys, names, numbers = unite([(keys, names) for keys, names, *_ in found])
        return Scored(
            keys,
            names,
            np.concatenate([place[each[2]] for place, each in zip(numbers, found, strict=True)]).astype(
                np.int64
            ),
            np.concatenate([each[3] for each in found]),
            np.concatenate([each[4] for each in found]),
        )

    # Adding up

    def show_hot(self) -> None:
        """Let statements on the cursor see the hot rows; an answer from sheets alone does without."""
        if not self._registered:
            sql.show(self._cursor, self._snapshot.hot)
            self._registered = True

    def _table(self, statement: sql.Statement) -> pa.Table:
        """Run a statement over rows."""
        self.show_hot()
        return statement.table(self._cursor)

    def _pieces(
        self, parts: rolled.Parts, *, single: bool = False
    ) -> Iterator[tuple[Family, Sheet, int | None, int | None]]:
        """Yield every sheet of a count with its family and which of its buckets count."""
        for sums in parts.sums:
            if sums.low_us is None and sums.high_us is None and not single:
                for sheet in self._sheets.of_files(self._cursor, sums.root, sums.files, sums.family):
                    yield sums.family, sheet, None, None
            else:
                for file in sums.files:
                    yield (
                        sums.family,
                        self._sheets.of_file(sums.root, file, sums.family),
                        sums.low_us,
                        sums.high_us,
                    )
        for batch in parts.hot:
            assert parts.hot_family is not None
            yield (
                parts.hot_family,
                self._sheets.of_hot(self._snapshot.root, batch, parts.hot_family),
                None,
                None,
            )

    def _chosen(self, family: Family, wanted: Filter, scope: Scope) -> Flags:
        """Return which combinations of a family count."""
        return self._sheets.combinations(family).chosen(
            self._cursor, lambda bind: rolled.words_condition(wanted, scope, bind), filter_key(wanted, scope)
        )

    def _cells(
        self,
        parts: rolled.Parts,
        wanted: Filter,
        scope: Scope,
        words: Sequence[str],
        starts: Ints | None,
        grain: int,
    ) -> dict[tuple[Any, ...], Ints]:
        """Return the events of each combination of words, in each bucket (without ``starts``: in all)."""
        size = 1 if starts is None else len(starts)
        cells: dict[tuple[Any, ...], Ints] = {}

        def add(codes: Codes, events: Ints, names: Sequence[tuple[Any, ...]]) -> None:
            sums = np.bincount(codes, weights=events, minlength=len(names) * size).astype(np.int64)
            for name, line in zip(names, sums.reshape(len(names), size), strict=True):
                if line.any():
                    cells[name] = cells[name] + line if name in cells else line

        for family, sheet, low, high in list(self._pieces(parts)):
            mask = sheet.mask(self._chosen(family, wanted, scope), low, high)
            groups, names = self._sheets.combinations(family).grouped(words)
            codes: Codes = groups[sheet.combinations[mask]]
            if starts is not None:
                assert sheet.places is not None
                codes = codes.astype(np.int64) * size + _bins(starts // QUARTER_US, sheet.places[mask])
            add(codes, sheet.events[mask], names)
        if parts.rows:
            by = [rolled.DIMENSIONS[word] for word in words]
            if starts is not None:
                by.insert(0, rolled.bucket(grain))
            found = self._table(rolled.cells(rolled.Parts((), parts.rows), wanted, scope, by))
            rows = (
                list(zip(*(found[word].to_pylist() for word in words), strict=True)) or [()] * found.num_rows
            )
            names = list(dict.fromkeys(rows))
            numbers = {name: number for number, name in enumerate(names)}
            codes = np.array([numbers[row] for row in rows], np.int64) * size
            if starts is not None:
                codes += _bins(starts, found["bucket"].to_numpy())
            add(codes, found["events"].to_numpy(), names)
        return cells

    def _keyed(
        self, keyed: Family, parts: rolled.Parts, wanted: Filter, scope: Scope, *, single: bool = False
    ) -> tuple[_Keyed, int]:
        """Return the events of each (key, name), and how many events of any key are hidden at most.

        With ``single`` files count one by one, without sums of months.
        """
        found: list[_Keyed] = []
        hidden = 0
        for family, sheet, low, high in self._pieces(parts, single=single):
            events = sheet.by_subject(sheet.mask(self._chosen(family, wanted, scope), low, high))
            hidden += sheet.bound
            known = np.zeros(len(events), np.int64) if sheet.known is None else sheet.known
            item = _Keyed(sheet.keys, sheet.names, events, known)
            found.append(item if sheet.bound else item.occurring())
        if parts.rows:
            rows = rolled.cells(
                rolled.Parts((), parts.rows), wanted, scope, rolled.key_and_name(keyed), keyed=keyed
            )
            table = self._table(rows)
            keys, names = (table[name].combine_chunks() for name in ("key", "name"))
            found.append(_Keyed(keys, names, table["events"].to_numpy(), np.zeros(len(keys), np.int64)))
        if len(found) == 1:
            return found[0], hidden
        if not found:
            nothing = np.zeros(0, np.int64)
            return _Keyed(pa.array([], pa.string()), pa.array([], pa.string()), nothing, nothing), 0
        keys, names, numbers = unite([(item.keys, item.names) for item in found])
        events, known = np.zeros(len(keys), np.int64), np.zeros(len(keys), np.int64)
        for item, places in zip(found, numbers, strict=True):
            events[places] += item.events
            known[places] += item.known
        return _Keyed(keys, names, events, known), hidden

    def _hot_keys(
        self, parts: rolled.Parts, wanted: Filter, scope: Scope
    ) -> Iterator[tuple[Sheet, Family, Places, Places]]:
        """Yield the sheets of hot batches with the bucket and subject of each row that counts."""
        for batch in parts.hot:
            assert parts.hot_family is not None
            sheet = self._sheets.of_hot(self._snapshot.root, batch, parts.hot_family)
            mask = sheet.mask(self._chosen(parts.hot_family, wanted, scope))
            assert sheet.places is not None
            assert sheet.subjects is not None
            yield sheet, parts.hot_family, sheet.places[mask], sheet.subjects[mask]

    def _distinct(
        self,
        pieces: Sequence[tuple[Family, str, File, int | None, int | None]],
        more: Sequence[Any],
        wanted: Filter,
        scope: Scope,
    ) -> int:
        """Count the distinct keys of some buckets of some roll-ups, and those of some arrays of keys."""
        found = list(more)
        for family, root, file, low, high in pieces:
            sheet = self._sheets.of_file(root, file, family)
            events = sheet.by_subject(sheet.mask(self._chosen(family, wanted, scope), low, high))
            found.append(sheet.keys.take(pa.array(np.flatnonzero(events))))
        return int(pc.count_distinct(pa.chunked_array(found, pa.string())).as_py())

    def _plan(
        self, wanted: Filter, scope: Scope, whole: Family | None, across: Family | None, part: str
    ) -> rolled.Parts:
        if not self._roll:
            whole = across = None
        parts = plan(
            self._snapshot, wanted, scope, whole=whole, across=across, seq=self._seq, sheets=self._sheets
        )
        self.used.note(part, parts)
        return parts

    def _top(
        self, keyed: Family, parts: rolled.Parts, wanted: Filter, scope: Scope, top: int
    ) -> list[Ranked]:
        """Rank in one statement, over roll-ups and rows."""
        bind = Bind()
        relation = rolled.union(parts, wanted, scope, rolled.key_and_name(keyed), bind, keyed=keyed)
        text = (
            f"SELECT key, name, CAST(sum(events) AS BIGINT) AS n FROM {relation} "
            f"GROUP BY key, name ORDER BY n DESC, key, 2 NULLS FIRST LIMIT {bind(top)}"
        )
        return [Ranked(*row.values()) for row in self._table(sql.Statement(text, bind.values)).to_pylist()]

    def _heavy(
        self,
        ranking: str,
        keyed: Family,
        parts: rolled.Parts,
        found: _Keyed,
        hidden: int,
        wanted: Filter,
        scope: Scope,
        top: int,
    ) -> list[Ranked]:
        """Rank a family that keeps heavy keys only: by proof, by looking for some keys in some files, or from rows."""
        doubtful = _doubtful(found, hidden, top)
        if doubtful is None and sum(len(sums.files) for sums in parts.sums) <= MOST_UNITED:
            found, hidden = self._keyed(keyed, parts, wanted, scope, single=True)  # sums leave more keys out
            doubtful = _doubtful(found, hidden, top)
        if doubtful is None:  # a key that no roll-up names might be among the top
            return self._top(keyed, self._plan(wanted, scope, None, None, ranking), wanted, scope, top)
        if len(doubtful):
            found = self._revealed(ranking, keyed, parts, found.at(doubtful), wanted, scope)
        return _best(found.keys, found.names, found.events, top)

    def _revealed(
        self, ranking: str, keyed: Family, parts: rolled.Parts, keys: _Keyed, wanted: Filter, scope: Scope
    ) -> _Keyed:
        """Return the events of some keys, exactly: a file that leaves one out, but may have it, is looked into."""
        pairs = list(zip(keys.keys.to_pylist(), keys.names.to_pylist(), strict=True))
        totals = dict.fromkeys(pairs, 0)
        loose = replace(parts, sums=())
        rest, _ = self._keyed(keyed, loose, wanted, scope)
        _add(totals, rest)
        covered = {file.path: file for file in self._snapshot.events}
        seen = view(self._snapshot, wanted, scope, self._seq)
        for sums in parts.sums:
            for file in sums.files:
                sheet = self._sheets.of_file(sums.root, file, sums.family)
                chosen = self._chosen(sums.family, wanted, scope)
                events = sheet.by_subject(sheet.mask(chosen, sums.low_us, sums.high_us))
                has = _add(totals, _Keyed(sheet.keys, sheet.names, events, events))
                missing = [pair for pair in pairs if pair not in has] if sheet.bound else []
                if not missing:
                    continue
                events_file = covered[file.covers or ""]
                part = seen.only([events_file], hot=False)
                if sums.low_us is not None or sums.high_us is not None:
                    part = part.between(sums.low_us, None if sums.high_us is None else sums.high_us - 1)
                for pair, count in self._hidden(part, file, keyed, missing, wanted, scope).items():
                    totals[pair] += count
                self.used.note_read(ranking, part)
        counts = np.array(list(totals.values()), np.int64)
        return _Keyed(keys.keys, keys.names, counts, counts)

    def _hidden(
        self, part: View, file: File, keyed: Family, pairs: Sequence[Pair], wanted: Filter, scope: Scope
    ) -> dict[Pair, int]:
        """Return how often keys occur in one file that its roll-up leaves out. What was counted once is remembered."""
        about = (filter_key(wanted, scope), keyed.name, file.path, file.sha256, part.start_us, part.end_us)
        if inside(file, part.start_us, part.end_us):
            about = (*about[:4], None, None)
        found: dict[Pair, int] = {}

        def count() -> dict[Pair, int]:
            table = self._table(rolled.occurrences(part, wanted, scope, keyed, [key for key, _ in pairs]))
            rows = (column.to_pylist() for column in table.columns)
            return {(key, name): events for key, name, events in zip(*rows, strict=True)}

        def count_of(pair: Pair) -> int:
            if not found:
                found.update(dict.fromkeys(pairs, 0) | count())
            return found[pair]

        return {pair: self._sheets.number((*about, pair), partial(count_of, pair)) for pair in pairs}


def family_for(families: Sequence[Family], names: frozenset[str] | set[str]) -> Family | None:
    """Return the first family whose dimensions hold all of the names."""
    return next((family for family in families if names <= set(family.dimensions)), None)


@dataclass(frozen=True, slots=True)
class _Keyed:
    """Events by distinct (key, name), and what is known of each: see `storage.sheets.Sheet`."""

    keys: Any
    names: Any
    events: Ints
    known: Ints

    def at(self, rows: npt.NDArray[Any]) -> _Keyed:
        """Return some of the rows."""
        places = pa.array(rows)
        return _Keyed(self.keys.take(places), self.names.take(places), self.events[rows], self.known[rows])

    def occurring(self) -> _Keyed:
        """Leave out what has no events."""
        rows = np.flatnonzero(self.events)
        return self if len(rows) == len(self.events) else self.at(rows)


class _Sets:
    """Keys by bucket, from arrays of keys and times."""

    def __init__(self, starts: Sequence[int]) -> None:
        self._starts = np.array(starts, np.int64)
        self.keys: list[list[Any]] = [[] for _ in starts]
        self.ranges: list[tuple[int, int | None]] = list(zip(starts, [*starts[1:], None], strict=True))

    def add(self, keys: Any, times: Ints) -> None:
        """Add keys, each at a time."""
        bins = _bins(self._starts, times)
        order = np.argsort(bins, kind="stable")
        found = np.flatnonzero(np.diff(bins[order], prepend=-1))
        ordered = keys.take(pa.array(order))
        for low, high in pairwise([*found.tolist(), len(order)]):
            self.keys[int(bins[order[low]])].append(ordered.slice(low, high - low))


def grain_of(starts: Sequence[int]) -> int:
    """Return the widest bucket that never crosses one of the starts."""
    grain = int(np.gcd.reduce(np.array(starts, np.int64))) or DAY_US
    return math.gcd(grain, DAY_US)


def _bins(starts: Ints, times: npt.NDArray[Any]) -> Ints:
    """Return between which starts times lie; before the first counts as the first."""
    found: Ints = np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)
    return found


def _narrower(file: File, low: int | None, high: int | None) -> tuple[int | None, int | None]:
    """Return the bounds on buckets that a file needs: none on a side where all of it lies inside."""
    return (
        None if low is None or file.min_time_us >= low else low,
        None if high is None or file.max_time_us < high else high,
    )


def max_of(first: int, second: int | None) -> int:
    """Return the greater of two bounds, where the second may be open."""
    return first if second is None else max(first, second)


def min_of(first: int | None, second: int | None) -> int | None:
    """Return the lesser of two bounds, where each may be open."""
    return second if first is None else first if second is None else min(first, second)


def _by_key(found: _Keyed) -> tuple[Any, Ints]:
    """Return the distinct keys that occur and the events of each, whatever their names."""
    column = encode(pa.chunked_array([found.keys], pa.string()))
    sums = np.bincount(column.codes, weights=found.events, minlength=column.size).astype(np.int64)
    rows = np.flatnonzero(sums)
    return column.words.take(pa.array(rows)), sums[rows]


def _name_of(found: _Keyed, key: str) -> str | None:
    """Return the greatest of a key's names: a user may have had several, and one stands for all of them."""
    rows = pc.and_(pc.equal(found.keys, pa.scalar(key)), pa.array(found.events > 0))
    name: str | None = pc.max(found.names.filter(rows)).as_py()
    return name


def _best(keys: Any, names: Any, events: Ints, top: int) -> list[Ranked]:
    """Return the keys with most events, ties by key."""
    least = max(1, int(np.partition(events, -top)[-top])) if len(events) > top else 1
    rows = np.flatnonzero(events >= least).tolist()
    found = [Ranked(keys[row].as_py(), names[row].as_py(), int(events[row])) for row in rows]
    return sorted(found, key=lambda item: (-item.events, item.key, item.name or ""))[:top]


def _doubtful(found: _Keyed, hidden: int, top: int) -> Places | None:
    """Return the rows of keys that may belong to the top; none if all is known, None when nobody can tell.

    ``hidden`` bounds the events of a key that no roll-up has.
    """
    events = found.events
    if not hidden:
        return np.zeros(0, np.int32)
    if len(events) < top:
        return None
    most = events + hidden - found.known
    least = int(np.partition(events, -top)[-top])
    if hidden >= least:
        return None
    chosen = np.flatnonzero(most >= least)
    if np.array_equal(most[chosen], events[chosen]):
        return np.zeros(0, np.int32)
    return None if len(chosen) > MAX_CANDIDATES else chosen.astype(np.int32)


def _add(totals: dict[Pair, int], found: _Keyed) -> set[Pair]:
    """Add the events of those keys that have a total, and return which there are."""
    wanted = pa.array({key for key, _ in totals}, pa.string())
    rows = np.flatnonzero(pc.is_in(found.keys, value_set=wanted).to_numpy(zero_copy_only=False))
    some = found.at(rows)
    has: set[Pair] = set()
    for key, name, events in zip(
        some.keys.to_pylist(), some.names.to_pylist(), some.events.tolist(), strict=True
    ):
        if (key, name) in totals:
            totals[key, name] += events
            has.add((key, name))
    return has
