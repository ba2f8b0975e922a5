"""Counts from roll-ups where they can answer, from rows where they cannot; both always give the same numbers.

`storage.plan` decides which it is, file by file; `Planner` is the face of all that is counted that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from storage import distinct, rankings, rolled, scored
from storage.buckets import bins, grain_of
from storage.coded import Codes, Ints
from storage.material import Material
from storage.plan import WORDS, Used, family_for
from storage.query import Filter, Scope
from storage.rankings import Ranking
from storage.rollups import DAY_US, QUARTER_US, TOTALS, Family
from storage.scored import Scored


class Planner:
    """Counts for one answer, from its `Material`."""

    def __init__(self, material: Material) -> None:
        self._material = material

    @property
    def used(self) -> Used:
        """What the answer took so far."""
        return self._material.used

    def show_hot(self) -> None:
        """Let statements on the cursor see the hot rows; an answer from sheets alone does without."""
        self._material.show_hot()

    def counts(
        self, wanted: Filter, scope: Scope, words: Sequence[str] = (), *, part: str = "counts"
    ) -> list[tuple[Any, ...]]:
        """Return (words…, events) for each combination that occurs; without words one row, the total.

        ``words`` are names of `rolled.DIMENSIONS`.
        """
        family = family_for(WORDS, wanted.names | set(words))
        # Totals have fewer rows, and a file inside the range needs no buckets.
        parts = self._material.plan(wanted, scope, None if family is None else TOTALS, family, part)
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
        parts = self._material.plan(wanted, scope, whole, family, part)
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
        return distinct.distinct(self._material, ranking, wanted, scope, part=part)

    def distinct_in(
        self, ranking: str, wanted: Filter, scope: Scope, starts: Sequence[int], *, part: str
    ) -> list[int]:
        """Return how many keys of a complete ranking occur from each start (rising, microseconds) to the next."""
        return distinct.distinct_in(self._material, ranking, wanted, scope, starts, part=part)

    def ranked(
        self, ranking: str, wanted: Filter, scope: Scope, top: int, *, by_name: bool = False
    ) -> Ranking:
        """Return the ``top`` keys with most events, ties by key. With ``by_name`` names are ranked instead."""
        return rankings.ranked(self._material, ranking, wanted, scope, top, by_name=by_name)

    def scored(self, family: Family, wanted: Filter, scope: Scope) -> Scored:
        """Return the risky events of each user or address, by score; ``family`` is one of the risky ones."""
        return scored.scored(self._material, family, wanted, scope)

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

        for family, sheet, low, high in list(self._material.pieces(parts)):
            mask = sheet.mask(self._material.chosen(family, wanted, scope), low, high)
            groups, names = self._material.sheets.combinations(family).grouped(words)
            codes: Codes = groups[sheet.combinations[mask]]
            if starts is not None:
                assert sheet.places is not None
                codes = codes.astype(np.int64) * size + bins(starts // QUARTER_US, sheet.places[mask])
            add(codes, sheet.events[mask], names)
        if parts.rows:
            by = [rolled.DIMENSIONS[word] for word in words]
            if starts is not None:
                by.insert(0, rolled.bucket(grain))
            found = self._material.table(rolled.cells(rolled.Parts((), parts.rows), wanted, scope, by))
            rows = (
                list(zip(*(found[word].to_pylist() for word in words), strict=True)) or [()] * found.num_rows
            )
            names = list(dict.fromkeys(rows))
            numbers = {name: number for number, name in enumerate(names)}
            codes = np.array([numbers[row] for row in rows], np.int64) * size
            if starts is not None:
                codes += bins(starts, found["bucket"].to_numpy())
            add(codes, found["events"].to_numpy(), names)
        return cells
