"""Which sealed files are too old: a plan over the ledger's entries. Only whole files are ever dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storage.snapshot import File


@dataclass(frozen=True, slots=True)
class DroppedDay:
    """What one UTC day loses. ``rows`` counts events; ``bytes`` all files."""

    day: str
    files: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DropReport:
    """What a drop removed, or would remove. ``before`` is the first day that stays."""

    before: str
    dry_run: bool
    days: tuple[DroppedDay, ...]
    paths: tuple[str, ...]

    @property
    def files(self) -> int:
        """Files in all."""
        return sum(day.files for day in self.days)

    @property
    def rows(self) -> int:
        """Events in all."""
        return sum(day.rows for day in self.days)

    @property
    def bytes(self) -> int:
        """Bytes in all."""
        return sum(day.bytes for day in self.days)


def plan_drop(files: Iterable[File], before_day: str, *, dry_run: bool) -> tuple[DropReport, list[File]]:
    """Return the report and the sealed files of days before ``before_day``, with their roll-ups and rejects."""
    doomed = [file for file in files if file.day is not None and file.day < before_day]
    days = []
    for day in sorted({file.day for file in doomed if file.day}):
        mine = [file for file in doomed if file.day == day]
        rows = sum(file.rows for file in mine if file.kind == "events")
        days.append(DroppedDay(day, len(mine), rows, sum(file.bytes for file in mine)))
    report = DropReport(before_day, dry_run, tuple(days), tuple(sorted(file.path for file in doomed)))
    return report, doomed
