"""Which keys have most events, from roll-ups.

Families that keep heavy keys only can still prove a list of the top keys: a key that a file left out occurs there at
most so often. Where the proof fails for some keys, just the files that hide them are read; where it fails for keys
that nobody knows, all rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from storage import rolled, sql
from storage.coded import Ints
from storage.combinations import Places
from storage.filters import Bind
from storage.keyed import Keyed, keyed
from storage.material import Material
from storage.plan import RANKINGS, family_for
from storage.query import Filter, Scope
from storage.rollups import Family
from storage.scope import View, inside
from storage.sheets import filter_key
from storage.snapshot import File

MOST_UNITED = 64  # files whose heavy keys are united one by one, some 4,000 keys each
MAX_CANDIDATES = 256  # keys whose place among the top is in doubt; when more are, all rows are read

Pair = tuple[str, str | None]
"""A key and its name."""


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


def ranked(
    material: Material, ranking: str, wanted: Filter, scope: Scope, top: int, *, by_name: bool = False
) -> Ranking:
    """Return the ``top`` keys with most events, ties by key. With ``by_name`` names are ranked instead."""
    family = family_for(RANKINGS[ranking], wanted.names)
    parts = material.plan(wanted, scope, family, family, ranking)
    first = RANKINGS[ranking][0]  # the families of a ranking have the same keys
    found, hidden = keyed(material, first, parts, wanted, scope)
    if first.heavy:
        heavy = _Heavy(material, ranking, first, wanted, scope)
        return Ranking(heavy.top(parts, found, hidden, top))
    if by_name:
        found = found.at(np.flatnonzero(pc.is_valid(found.names).to_numpy(zero_copy_only=False)))
        found = replace(found, keys=found.names)
    keys, events = found.by_key()
    best = _best(keys, pa.nulls(len(keys), pa.string()), events, top)
    named = [replace(item, name=found.name_of(item.key)) for item in best]
    return Ranking(named, len(keys), int(events.sum()))


@dataclass(frozen=True, slots=True)
class _Heavy:
    """A ranking of a family that keeps heavy keys only."""

    material: Material
    ranking: str
    family: Family
    wanted: Filter
    scope: Scope

    def top(self, parts: rolled.Parts, found: Keyed, hidden: int, top: int) -> list[Ranked]:
        """Rank by proof, by looking for some keys in some files, or from rows."""
        doubtful = _doubtful(found, hidden, top)
        if doubtful is None and sum(len(sums.files) for sums in parts.sums) <= MOST_UNITED:
            found, hidden = self._keyed(parts, single=True)  # sums leave more keys out
            doubtful = _doubtful(found, hidden, top)
        if doubtful is None:  # a key that no roll-up names might be among the top
            return self._scanned(self.material.plan(self.wanted, self.scope, None, None, self.ranking), top)
        if len(doubtful):
            found = self._revealed(parts, found.at(doubtful))
        return _best(found.keys, found.names, found.events, top)

    def _keyed(self, parts: rolled.Parts, *, single: bool = False) -> tuple[Keyed, int]:
        return keyed(self.material, self.family, parts, self.wanted, self.scope, single=single)

    def _scanned(self, parts: rolled.Parts, top: int) -> list[Ranked]:
        """Rank in one statement, over roll-ups and rows."""
        bind = Bind()
        by = rolled.key_and_name(self.family)
        relation = rolled.union(parts, self.wanted, self.scope, by, bind, keyed=self.family)
        text = (
            f"SELECT key, name, CAST(sum(events) AS BIGINT) AS n FROM {relation} "
            f"GROUP BY key, name ORDER BY n DESC, key, 2 NULLS FIRST LIMIT {bind(top)}"
        )
        return [
            Ranked(*row.values()) for row in self.material.table(sql.Statement(text, bind.values)).to_pylist()
        ]

    def _revealed(self, parts: rolled.Parts, keys: Keyed) -> Keyed:
        """Return the events of some keys, exactly: a file that leaves one out, but may have it, is looked into."""
        pairs = list(zip(keys.keys.to_pylist(), keys.names.to_pylist(), strict=True))
        totals = dict.fromkeys(pairs, 0)
        loose = replace(parts, sums=())
        rest, _ = self._keyed(loose)
        _add(totals, rest)
        covered = {file.path: file for file in self.material.snapshot.events}
        seen = self.material.view(self.wanted, self.scope)
        for sums in parts.sums:
            for file in sums.files:
                sheet = self.material.sheets.of_file(sums.root, file, sums.family)
                chosen = self.material.chosen(sums.family, self.wanted, self.scope)
                events = sheet.by_subject(sheet.mask(chosen, sums.low_us, sums.high_us))
                has = _add(totals, Keyed(sheet.keys, sheet.names, events, events))
                missing = [pair for pair in pairs if pair not in has] if sheet.bound else []
                if not missing:
                    continue
                events_file = covered[file.covers or ""]
                part = seen.only([events_file], hot=False)
                if sums.low_us is not None or sums.high_us is not None:
                    part = part.between(sums.low_us, None if sums.high_us is None else sums.high_us - 1)
                for pair, count in self._hidden(part, file, missing).items():
                    totals[pair] += count
                self.material.used.note_read(self.ranking, part)
        counts = np.array(list(totals.values()), np.int64)
        return Keyed(keys.keys, keys.names, counts, counts)

    def _hidden(self, part: View, file: File, pairs: Sequence[Pair]) -> dict[Pair, int]:
        """Return how often keys occur in one file that its roll-up leaves out. What was counted once is remembered."""
        wanted, scope, family = self.wanted, self.scope, self.family
        about = (filter_key(wanted, scope), family.name, file.path, file.sha256, part.start_us, part.end_us)
        if inside(file, part.start_us, part.end_us):
            about = (*about[:4], None, None)
        found: dict[Pair, int] = {}

        def count() -> dict[Pair, int]:
            table = self.material.table(
                rolled.occurrences(part, wanted, scope, family, [key for key, _ in pairs])
            )
            rows = (column.to_pylist() for column in table.columns)
            return {(key, name): events for key, name, events in zip(*rows, strict=True)}

        def count_of(pair: Pair) -> int:
            if not found:
                found.update(dict.fromkeys(pairs, 0) | count())
            return found[pair]

        return {pair: self.material.sheets.number((*about, pair), partial(count_of, pair)) for pair in pairs}


def _best(keys: Any, names: Any, events: Ints, top: int) -> list[Ranked]:
    """Return the keys with most events, ties by key."""
    least = max(1, int(np.partition(events, -top)[-top])) if len(events) > top else 1
    rows = np.flatnonzero(events >= least).tolist()
    found = [Ranked(keys[row].as_py(), names[row].as_py(), int(events[row])) for row in rows]
    return sorted(found, key=lambda item: (-item.events, item.key, item.name or ""))[:top]


def _doubtful(found: Keyed, hidden: int, top: int) -> Places | None:
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


def _add(totals: dict[Pair, int], found: Keyed) -> set[Pair]:
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
