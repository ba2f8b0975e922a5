"""What lies where: files, rows, bytes and row groups per day, what waits, and what could be done about it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from storage.parquet import ROW_GROUP_ROWS
from storage.pruning import Figures
from storage.scope import path_of
from storage.shapes import shape
from storage.snapshot import File, Snapshot

# When something is worth a hint.
MANY_FILES = 60  # a day, of one node: an hourly seal makes 26, with the daemon's own events 52
SMALL_SHARE = 16  # files are small when they have less than this part of `seal_bytes` on average
SHORT_GROUP_ROWS = ROW_GROUP_ROWS // 16
BEHIND = 3  # live bytes, in full files' worth, above which sealing seems not to get on
JUDGED_QUESTIONS = 100  # fewer say little about what questions read
POOR_SKIPPING_PERCENT = 50.0


@dataclass(slots=True)
class Day:
    """A UTC day's sealed files. ``bytes`` and ``rows`` are of events; the others are told apart."""

    day: str
    files: int = 0
    late_files: int = 0
    rows: int = 0
    bytes: int = 0
    rollup_bytes: int = 0
    reject_bytes: int = 0
    row_groups: int = 0
    median_group_rows: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the day for JSON."""
        return {**asdict(self), "bytes_per_row": round(self.bytes / self.rows, 1) if self.rows else None}


@dataclass(slots=True)
class Occupancy:
    """The whole: days from the newest on, what is live, what late rows wait, totals, and hints in words."""

    days: list[Day] = field(default_factory=list)
    older_days: int = 0  # not listed
    live_files: int = 0
    live_rows: int = 0
    live_bytes: int = 0
    waiting_files: int = 0
    waiting_rows: int = 0
    hot_rows: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    pruned: Figures | None = None
    hints: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it for ``--json``."""
        names = ("live_files", "live_rows", "live_bytes", "waiting_files", "waiting_rows", "hot_rows")
        return {
            "days": [day.to_json() for day in self.days],
            "older_days": self.older_days,
            **{name: getattr(self, name) for name in names},
            "files": self.files,
            "rows": self.rows,
            "bytes": self.bytes,
            "recent_questions": self.pruned.to_json() if self.pruned else None,
            "hints": self.hints,
        }


def occupancy(snapshot: Snapshot, *, days: int, seal_bytes: int, pruned: Figures | None = None) -> Occupancy:
    """Return what the archive is made of; footers are read of the newest ``days`` only. ``pruned``: a running daemon's."""
    every = (*snapshot.events, *snapshot.rollups, *snapshot.rejects)
    found = Occupancy(
        files=len(every),
        rows=sum(file.rows for file in snapshot.events),
        bytes=sum(file.bytes for file in every),
        hot_rows=sum(batch.table.num_rows for batch in snapshot.hot),
        pruned=pruned,
    )
    by_day: dict[str, list[File]] = defaultdict(list)
    for file in every:
        if file.day is not None:
            by_day[file.day].append(file)
            continue
        found.live_files += 1
        found.live_bytes += file.bytes
        if file.kind == "events":
            found.live_rows += file.rows
            if file.late:
                found.waiting_files += 1
                found.waiting_rows += file.rows
    listed = sorted(by_day, reverse=True)[:days]
    found.older_days = len(by_day) - len(listed)
    found.days = [_day(snapshot.root, day, by_day[day]) for day in listed]
    found.hints = list(_hints(found, seal_bytes))
    return found


def _day(root: str, day: str, files: Sequence[File]) -> Day:
    events = [file for file in files if file.kind == "events"]
    groups = _group_rows(path_of(root, file) for file in events)
    return Day(
        day=day,
        files=len(events),
        late_files=sum(1 for file in events if file.late),
        rows=sum(file.rows for file in events),
        bytes=sum(file.bytes for file in events),
        rollup_bytes=sum(file.bytes for file in files if file.kind == "rollup"),
        reject_bytes=sum(file.bytes for file in files if file.kind == "rejects"),
        row_groups=len(groups),
        median_group_rows=round(statistics.median(groups)) if groups else 0,
    )


def _group_rows(paths: Iterable[str]) -> list[int]:
    rows: list[int] = []
    for path in paths:
        with suppress(OSError, pa.ArrowException):  # dropped this moment, or damaged: others tell of that
            rows += [group.rows for group in shape(path).groups]
    return rows


def _hints(found: Occupancy, seal_bytes: int) -> Iterable[str]:
    """Yield what can be done, in words."""
    small = [
        day
        for day in found.days
        if day.files > MANY_FILES and day.bytes < day.files * seal_bytes // SMALL_SHARE
    ]
    if small:
        yield (
            f"{len(small)} of the days listed have more than {MANY_FILES} small files (most: {small[0].day}, "
            f"{max(day.files for day in small)}): a larger [archive] seal_seconds makes fewer"
        )
    late = [day for day in found.days if 2 * day.late_files > day.files and day.late_files > 1]
    if late:
        yield (
            f"on {late[0].day} most files are of events that came when the day was over: "
            "look for a writer whose clock or delivery is late, or raise [archive] late_seconds"
        )
    if found.waiting_rows:
        yield (
            f"{found.waiting_rows:,} events came when their day was over and wait for a sealed file; every query sees them, "
            "only the plain glob does not: 'watchkeep seal' puts them there now"
        )
    if found.live_bytes > BEHIND * seal_bytes:
        yield "sealing is behind: the daemon's log, or upkeep_failures in /metrics, says why"
    short = [
        day
        for day in found.days
        if day.rows > SHORT_GROUP_ROWS and 0 < day.median_group_rows < SHORT_GROUP_ROWS
    ]
    if short:
        yield (
            f"row groups are short ({short[0].day}: half of them have at most {short[0].median_group_rows:,} rows of "
            f"{ROW_GROUP_ROWS:,}), because files are small: scans read more headers than they need"
        )
    pruned = found.pruned
    if pruned and pruned.questions >= JUDGED_QUESTIONS and pruned.rows:
        skipped = 100 * (1 - pruned.rows_read / pruned.rows)
        if skipped < POOR_SKIPPING_PERCENT:
            yield (
                f"recent questions read {100 - skipped:.0f} % of all rows: a time range lets them leave whole files out"
            )
