"""Sheets that are kept: roll-ups in memory, decoded once, a family of a file at a time (`storage.sheet`).

Files never change, so a sheet stays right as long as it is kept: up to a budget, the least recently used goes first.
Sheets of one day are kept as their sum, read by one statement, and so are those of one month, so that a year is twelve
additions and a new file costs a day of them. Nothing is read before it is asked.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from storage import rollups
from storage.combinations import Combinations
from storage.observer import Observer, Silent
from storage.query import Filter, Scope
from storage.rollups import Family
from storage.sheet import (
    Sheet,
    loaded,
    loaded_together,
    one_after_another,
    sheet_of,
    sheet_of_several,
    united,
)
from storage.snapshot import File, Hot

DEFAULT_BUDGET_MB = 48
MEGABYTE = 1 << 20
NEARLY_FULL = 0.75  # of the budget
REMEMBERED = 65_536  # numbers, a tuple of references each: the sets of a year of days, for several filters

T = TypeVar("T")


class Sheets:
    """Sheets by what they were made of, within ``budget_mb`` megabytes. For any thread."""

    def __init__(self, budget_mb: int = DEFAULT_BUDGET_MB, observer: Observer | None = None) -> None:
        self._budget = budget_mb * MEGABYTE
        self._observer = observer or Silent()
        self._held: OrderedDict[tuple[Any, ...], Sheet | pa.Table] = OrderedDict()
        self._bytes = 0
        self._numbers: OrderedDict[tuple[Any, ...], int] = OrderedDict()
        self._combinations: dict[tuple[str, ...], Combinations] = {}
        self._lock = threading.Lock()

    def combinations(self, family: Family) -> Combinations:
        """Return the combinations that a family's sheets are counted by."""
        with self._lock:
            return self._combinations.setdefault(family.dimensions, Combinations(family.dimensions))

    def of_file(self, root: str, file: File, family: Family) -> Sheet:
        """Return a family of a roll-up. Raises OSError when the file cannot be read."""
        key = (family.name, root, file.path, file.sha256)
        return self._get(
            key, lambda: sheet_of(loaded(f"{root}/{file.path}", family), family, self.combinations(family))
        )

    def of_hot(self, root: str, batch: Hot, family: Family) -> Sheet:
        """Return a family of a hot batch, with every key. Rows with the same numbers are the same rows."""
        extent = (root, batch.min_seq, batch.max_seq)

        def make() -> Sheet:
            if not family.keys:  # lists and charts ask for these with every batch
                return sheet_of(rollups.counted(batch.table, family), family, self.combinations(family))
            sums = self._get(("hot", *extent), lambda: rollups.delta(batch.table, complete=True))
            rows = sums.filter(pc.equal(sums["family"], pa.scalar(family.name)))
            return sheet_of(rows, family, self.combinations(family))

        return self._get((family.name, *extent), make)

    def of_files(
        self, cursor: duckdb.DuckDBPyConnection, root: str, files: Sequence[File], family: Family
    ) -> list[Sheet]:
        """Return sheets that together are a family of some roll-ups; those of sealed files of a month as their sum.

        Sums of families with keys have no buckets any more.
        """
        months: dict[str, list[File]] = {}
        found: list[Sheet] = []
        for file in files:
            if file.day is None:
                found.append(self.of_file(root, file, family))
            else:
                months.setdefault(file.day[:7], []).append(file)
        for number, those in enumerate(months.values()):
            found.append(self._of_month(cursor, root, those, family))
            if number:  # the newest month gets more files, and then its days are added up again
                self._forget_days(root, those, family)
        return found

    def holds(self, root: str, files: Sequence[File], family: Family) -> bool:
        """Say whether the sum of these roll-ups of one month is known."""
        named = _named(root, files, family)
        with self._lock:
            return ("month", *named) in self._held or named in self._held

    @property
    def nearly_full(self) -> bool:
        """True when most of the budget is used."""
        with self._lock:
            return self._bytes > NEARLY_FULL * self._budget

    def number(self, key: tuple[Any, ...], make: Callable[[], int]) -> int:
        """Return a number that holds for ever, made once and kept for a while."""
        with self._lock:
            held = self._numbers.get(key)
            if held is not None:
                self._numbers.move_to_end(key)
                return held
        made = make()
        with self._lock:
            self._numbers[key] = made
            if len(self._numbers) > REMEMBERED:
                self._numbers.popitem(last=False)
        return made

    def _of_month(
        self, cursor: duckdb.DuckDBPyConnection, root: str, files: Sequence[File], family: Family
    ) -> Sheet:
        days: dict[str | None, list[File]] = {}
        for file in files:
            days.setdefault(file.day, []).append(file)

        def make() -> Sheet:
            sheets = [self._of_day(cursor, root, those, family) for those in days.values()]
            return united(sheets, family) if family.keys else one_after_another(sheets)

        if len(days) == 1:
            return self._of_day(cursor, root, files, family)
        return self._get(("month", *_named(root, files, family)), make)

    def _forget_days(self, root: str, files: Sequence[File], family: Family) -> None:
        """Let go of the sums of the days of a month whose sum is known."""
        days: dict[str | None, list[File]] = {}
        for file in files:
            days.setdefault(file.day, []).append(file)
        if len(days) == 1:
            return
        with self._lock:
            for those in days.values():
                dropped = self._held.pop(_named(root, those, family), None)
                self._bytes -= 0 if dropped is None else dropped.nbytes

    def _of_day(
        self, cursor: duckdb.DuckDBPyConnection, root: str, files: Sequence[File], family: Family
    ) -> Sheet:
        def make() -> Sheet:
            if family.marked:  # whether it is there at all is told file by file
                return united([self.of_file(root, file, family) for file in files], family)
            paths = [f"{root}/{file.path}" for file in files]
            return sheet_of_several(loaded_together(cursor, paths, family), family, self.combinations(family))

        if len(files) == 1:
            return self.of_file(root, files[0], family)
        return self._get(_named(root, files, family), make)

    def _get(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        with self._lock:
            held: Any = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
                self._observer.count("rollup_cache", outcome="hit")
                return held  # type: ignore[no-any-return]  # what was made under this key
        made: Any = make()  # twice at the same time at worst
        with self._lock:
            self._observer.count("rollup_cache", outcome="made")
            if key not in self._held and made.nbytes <= self._budget:
                self._held[key] = made
                self._bytes += made.nbytes
                while self._bytes > self._budget:
                    self._bytes -= self._held.popitem(last=False)[1].nbytes
                    self._observer.count("rollup_cache", outcome="dropped")
            self._observer.gauge("rollup_cache_bytes", self._bytes)
        return made  # type: ignore[no-any-return]  # see above


def _named(root: str, files: Sequence[File], family: Family) -> tuple[str, ...]:
    """Return what names the sum of a family of some files."""
    return (family.name, root, *(file.path for file in files))


def filter_key(wanted: Filter, scope: Scope) -> str:
    """Return what names a filter and a scope, whatever the range."""
    return repr((replace(wanted, start_us=None, end_us=None), scope.tenant, scope.internal))
