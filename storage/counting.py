"""Totals of lists: from roll-ups, or by reading files, newest first, each file's count remembered once it is known.

Files never change, so a count for a filter and a whole file holds for ever. Counting goes on where it stopped: a
total that did not fit into its deadline is an estimate, and the next poll continues from there. One that will not fit is
given up as soon as that is plain: who searches a hundred million events should not wait a second for an estimate.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb

from storage import sql
from storage.material import Material
from storage.plan import ROLL_UP, SCAN
from storage.planner import Planner
from storage.query import Filter, Scope, fingerprint
from storage.scope import View, inside, view
from storage.sheets import Sheets
from storage.sieve import Narrow
from storage.snapshot import File, Snapshot

BATCH_ROWS = 262_144  # rows counted in one statement, some 100 ms for a search; then what is known is kept
REMEMBERED = 65_536  # counts; a hash, a path and a number each
PLAIN_SECONDS = 0.2  # two statements or so, after which their speed tells how long the rest will take


class TooManyError(Exception):
    """So many rows are left that counting them will not end in time."""


@dataclass(slots=True)
class Tally:
    """A count on its way: ``events`` so far, of ``read`` of ``rows`` rows. Read from another thread when it is late."""

    events: int = 0
    read: int = 0
    rows: int = 0

    @property
    def estimate(self) -> int:
        """What the total will be if the rest is like what was read."""
        return round(self.events * self.rows / self.read) if self.read else self.events


class FileCounts:
    """Counts by filter and file, the least recently used dropped first. For any thread."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._limit = remembered
        self._counts: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._lock = threading.Lock()
        self.batch_rows = BATCH_ROWS

    def get(self, key: tuple[str, str]) -> int | None:
        """Return the count, if it is known."""
        with self._lock:
            count = self._counts.get(key)
            if count is not None:
                self._counts.move_to_end(key)
            return count

    def interrupted(self) -> None:
        """Count fewer rows in one statement from now on: one that never ends within a deadline is never known."""
        self.batch_rows = max(1, self.batch_rows // 2)

    def ended(self) -> None:
        """Count more rows in one statement again."""
        self.batch_rows = min(BATCH_ROWS, 2 * self.batch_rows)

    def put(self, key: tuple[str, str], count: int) -> None:
        """Keep a count."""
        with self._lock:
            self._counts[key] = count
            while len(self._counts) > self._limit:
                self._counts.popitem(last=False)


def total(
    cursor: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    wanted: Filter,
    scope: Scope,
    known: FileCounts,
    tally: Tally,
    *,
    seq: int | None = None,
    narrow: Narrow | None = None,
    sheets: Sheets | None = None,
    within: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[int, dict[str, Any]]:
    """Return how many events match and the plan; ``tally`` says on the way how far it is.

    ``narrow`` leaves out files that cannot match. Raises TooManyError once it is plain that this will take longer than
    ``within`` seconds; what was counted until then is remembered.
    """
    began = clock()
    seen = view(snapshot, wanted, scope, seq)
    if not wanted.names:
        plain = [file for file in seen.files if _counts_whole(file, seen, scope)]
        tally.events = sum(file.rows for file in plain)
        counted = {file.path for file in plain}
        rest = tuple(file for file in snapshot.events if file.path not in counted)
        snapshot = replace(snapshot, events=rest)
        seen = view(snapshot, wanted, scope, seq)
        if seen.empty:
            known_already = {"filesByRollUp": len(plain), "filesScanned": 0}
            return tally.events, {"answeredBy": ROLL_UP, "parts": {"total": ROLL_UP}, **known_already}
    if Planner.answers(wanted):
        planner = Planner(Material(cursor, snapshot, seq=seq, sheets=sheets))
        tally.events += planner.total(wanted, scope)
        return tally.events, planner.used.summary()
    sql.show(cursor, snapshot.hot)
    if narrow is not None and wanted.selective:
        seen = narrow.view(seen)
    question = fingerprint(replace(wanted, start_us=None, end_us=None), scope.tenant, scope.internal)
    tally.rows = sum(file.rows for file in seen.files) + sum(batch.table.num_rows for batch in seen.hot)
    loose: list[File] = []
    whole: list[File] = []
    for file in seen.files:
        if file.max_seq > seen.seq or not inside(file, seen.start_us, seen.end_us):
            loose.append(file)
            continue
        count = known.get((question, file.sha256))
        if count is None:
            whole.append(file)
        else:
            tally.events += count
            tally.read += file.rows
    edges = seen.only(loose, hot=True)
    if not edges.empty:
        tally.events += int(sql.count(edges, wanted, scope).rows(cursor)[0][0])
        tally.read += sum(file.rows for file in loose) + sum(batch.table.num_rows for batch in seen.hot)
    before, left = tally.read, sum(file.rows for file in whole)
    for batch in _batches(whole, known.batch_rows):
        part = seen.only(batch, hot=False)
        if narrow is not None:
            part = narrow.view(part)
        try:
            counts = dict(sql.count_by_file(part, wanted, scope).rows(cursor)) if part.files else {}
        except duckdb.InterruptException:
            known.interrupted()
            raise
        events = {file.sha256: counts.get(place, 0) for place, file in enumerate(part.files)}
        for file in batch:
            known.put((question, file.sha256), events.get(file.sha256, 0))
        tally.events += sum(counts.values())
        tally.read += sum(file.rows for file in batch)
        spent, done = clock() - began, tally.read - before
        if within is not None and spent >= PLAIN_SECONDS and spent * left > within * done:
            raise TooManyError
    if whole:
        known.ended()
    plan = {"answeredBy": SCAN, "parts": {"total": SCAN}, "filesByRollUp": 0}
    return tally.events, plan | {"filesScanned": len(loose) + len(whole)}


def _counts_whole(file: File, seen: View, scope: Scope) -> bool:
    """Say whether the ledger alone tells that every row of a file counts."""
    if scope.tenant is not None or file.max_seq > seen.seq or not inside(file, seen.start_us, seen.end_us):
        return False
    return scope.internal == "include" or file.internal is (scope.internal == "only")


def _batches(files: Sequence[File], size: int) -> list[list[File]]:
    batches: list[list[File]] = []
    rows = size
    for file in files:
        if rows >= size:
            batches.append([])
            rows = 0
        batches[-1].append(file)
        rows += file.rows
    return batches
