"""What may go: a plan over the ledger's entries, made of values alone. Only whole sealed files are ever dropped.

A file goes when its day is old enough (or the disk budget needs its bytes) and nothing keeps it. What can keep it:
its class's minimum age, an export that has not written it, a hold. Each reason is told in the plan.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from itertools import groupby
from typing import Any

from parsers.classes import DEFAULT, INTERNAL, REJECTS
from storage.snapshot import File

# Classes that are there without being configured, and that no category can be given to.
BUILT_IN = (DEFAULT, INTERNAL, REJECTS)
DEFAULT_EVENT_DAYS = 90
DEFAULT_CLOCK_JUMP_DAYS = 7  # machines are off for a week-end; longer, and a person is there anyway
_CLASS_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")  # it becomes part of file names


def valid_class(name: str) -> bool:
    """Return whether ``name`` can be a class."""
    return _CLASS_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class RetentionClass:
    """A set of categories with the ages, in days, that its events must and may reach.

    ``maximum_days``: None takes [retention] event_days, 0 is forever.
    """

    name: str
    categories: tuple[str, ...] = ()
    minimum_days: int = 0
    maximum_days: int | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The ages that hold for a class, in days: younger than ``minimum`` stays, older than ``maximum`` goes (0: never)."""

    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What is configured: classes, the age of those that say none, exports that must come first, what a clock may jump."""

    classes: tuple[RetentionClass, ...] = ()
    event_days: int = DEFAULT_EVENT_DAYS
    exports: tuple[str, ...] = ()
    clock_jump_days: int = DEFAULT_CLOCK_JUMP_DAYS  # further ahead only a person makes it believed

    @property
    def by_category(self) -> dict[str, str]:
        """The class of each category that has one."""
        return {category: item.name for item in self.classes for category in item.categories}

    @property
    def minimums(self) -> dict[str, int]:
        """The least age of every class, by name.

        The daemon's own events (who read, what was removed) and rejects (whose category nobody knows) are kept as
        long as the class that is kept longest, unless they are configured themselves.
        """
        found = dict.fromkeys(BUILT_IN, 0)
        found |= dict.fromkeys((INTERNAL, REJECTS), max((c.minimum_days for c in self.classes), default=0))
        return found | {item.name: item.minimum_days for item in self.classes}

    def limits(self, name: str, locked: Mapping[str, int]) -> Limits:
        """Return the ages of a class; ``locked`` are the minimums in the ledger, which settings can only raise."""
        minimum = max(self.minimums.get(name, 0), locked.get(name, 0))
        given = next((item.maximum_days for item in self.classes if item.name == name), None)
        maximum = self.event_days if given is None else given
        return Limits(minimum, max(minimum, maximum) if maximum else 0)


@dataclass(frozen=True, slots=True)
class Tally:
    """How much of something: ``rows`` counts events, ``bytes`` all files."""

    files: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DroppedDay:
    """What one UTC day loses. ``rows`` counts events; ``bytes`` all files."""

    day: str
    files: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Kept:
    """What stays of one day and class although its time has come, and why."""

    day: str
    retention_class: str
    files: int
    rows: int
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class DropReport:
    """What a drop removed, or would remove. ``before`` is the first day that stays, where one day says it."""

    before: str
    dry_run: bool
    days: tuple[DroppedDay, ...]
    paths: tuple[str, ...]
    classes: Mapping[str, Tally] = field(default_factory=dict)
    kept: tuple[Kept, ...] = ()

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


@dataclass(frozen=True, slots=True)
class Unit:
    """What goes or stays together: an events file with its roll-up, or a file of rejects. ``main`` stands for it."""

    main: File
    files: tuple[File, ...]
    day: str
    retention_class: str

    @property
    def rows(self) -> int:
        """Events in it."""
        return self.main.rows if self.main.kind == "events" else 0

    @property
    def bytes(self) -> int:
        """Bytes of its files."""
        return sum(file.bytes for file in self.files)


def class_of(file: File) -> str:
    """Return a sealed file's class. Archives of before there were classes have only ``default`` in their entries."""
    if file.kind == "rejects":
        return REJECTS
    if file.internal:
        return INTERNAL
    return file.retention_class or DEFAULT


def units(files: Iterable[File]) -> list[Unit]:
    """Return the sealed files as units, oldest day first."""
    sealed = [file for file in files if file.day is not None]
    rollups: dict[str, list[File]] = {}
    for file in sealed:
        if file.kind == "rollup" and file.covers is not None:
            rollups.setdefault(file.covers, []).append(file)
    found = [
        Unit(file, (file, *rollups.pop(file.path, ())), file.day or "", class_of(file))
        for file in sealed
        if file.kind != "rollup"
    ]
    # A roll-up without its events file counts nothing; it goes by its own day.
    found += [
        Unit(file, (file,), file.day or "", class_of(file)) for rest in rollups.values() for file in rest
    ]
    return sorted(found, key=lambda unit: (unit.day, unit.main.path))


# Why some of these units stay although their time has come, by path of the unit's main file.
Held = Callable[[Sequence[Unit]], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides beside age: the policy, the ledger's minimums, files that exports have written, and holds.

    ``exported`` gives, by name of an export, the paths of the events files it has written.
    """

    policy: Policy
    locked: Mapping[str, int]
    today: str
    exported: Mapping[str, Collection[str]]
    held: Held

    def cutoff(self, days: int) -> str:
        """Return the first day that is younger than so many days."""
        return day_before(self.today, days)

    def blocked(self, unit: Unit) -> str | None:
        """Return what keeps a unit, holds aside: its class's minimum age, or an export."""
        minimum = self.policy.limits(unit.retention_class, self.locked).minimum
        if unit.day >= self.cutoff(minimum):
            until = (date.fromisoformat(unit.day) + timedelta(days=minimum)).isoformat()
            return f"class {unit.retention_class} is kept for {minimum} days, until {until}"
        if unit.main.kind == "events":
            for name in self.policy.exports:
                if unit.main.path not in self.exported.get(name, ()):
                    return f"export {name} has not written this day"
        return None


def plan_asked(files: Iterable[File], terms: Terms, before_day: str, *, dry_run: bool) -> DropReport:
    """Plan what somebody asked for: everything of days before ``before_day``, whatever its class's maximum."""
    due = [unit for unit in units(files) if unit.day < before_day]
    return _report(*_sorted_out(due, terms), before_day, dry_run=dry_run)


def plan_old(files: Iterable[File], terms: Terms, *, dry_run: bool) -> DropReport:
    """Plan the daily removal: every unit older than its class's maximum."""
    cutoffs: dict[str, str] = {}

    def due(unit: Unit) -> bool:
        name = unit.retention_class
        if name not in cutoffs:
            maximum = terms.policy.limits(name, terms.locked).maximum
            cutoffs[name] = terms.cutoff(maximum) if maximum else ""
        return unit.day < cutoffs[name]

    chosen = [unit for unit in units(files) if due(unit)]
    before = max((cutoffs[unit.retention_class] for unit in chosen), default="")
    return _report(*_sorted_out(chosen, terms), before, dry_run=dry_run)


def plan_smaller(files: Iterable[File], terms: Terms, excess_bytes: int, *, dry_run: bool) -> DropReport:
    """Plan which files go so that at least ``excess_bytes`` are freed, if so many may go.

    The oldest day first; within a day the class with the least minimum first, then by name and path. A day is looked
    at for holds only when it is reached.
    """

    def order(unit: Unit) -> tuple[str, int, str, str]:
        minimum = terms.policy.limits(unit.retention_class, terms.locked).minimum
        return unit.day, minimum, unit.retention_class, unit.main.path

    gone: list[Unit] = []
    kept: list[tuple[Unit, str]] = []
    freed = 0
    past = (unit for unit in sorted(units(files), key=order) if unit.day < terms.today)
    for _, day in groupby(past, key=lambda unit: unit.day):
        if freed >= excess_bytes:
            break
        go, stay = _sorted_out(list(day), terms)
        kept += stay
        for unit in sorted(go, key=order):
            if freed >= excess_bytes:
                break
            gone.append(unit)
            freed += unit.bytes
    return _report(gone, kept, "", dry_run=dry_run)


def day_before(today: str, days: int) -> str:
    """Return the day so many days before ``today`` (YYYY-MM-DD); the first day there is, when that is before it."""
    try:
        return (date.fromisoformat(today) - timedelta(days=days)).isoformat()
    except OverflowError:
        return date.min.isoformat()


def _sorted_out(due: Sequence[Unit], terms: Terms) -> tuple[list[Unit], list[tuple[Unit, str]]]:
    """Return what goes, and what stays with its reason. Holds come last: only they must open files."""
    stay: list[tuple[Unit, str]] = []
    candidates: list[Unit] = []
    for unit in due:
        reason = terms.blocked(unit)
        if reason is None:
            candidates.append(unit)
        else:
            stay.append((unit, reason))
    held = terms.held(candidates) if candidates else {}
    stay += [(unit, held[unit.main.path]) for unit in candidates if unit.main.path in held]
    return [unit for unit in candidates if unit.main.path not in held], stay


def _report(
    gone: Sequence[Unit], kept: Iterable[tuple[Unit, str]], before: str, *, dry_run: bool
) -> DropReport:
    days = [DroppedDay(day, *_sizes(mine)) for day, mine in _grouped(gone, lambda unit: unit.day)]
    classes = {name: Tally(*_sizes(mine)) for name, mine in _grouped(gone, lambda unit: unit.retention_class)}
    reasons: dict[tuple[str, str, str], list[Unit]] = {}
    for unit, reason in kept:
        reasons.setdefault((unit.day, unit.retention_class, reason), []).append(unit)
    stays = [Kept(day, name, *_sizes(mine), reason) for (day, name, reason), mine in sorted(reasons.items())]
    paths = sorted(file.path for unit in gone for file in unit.files)
    return DropReport(before, dry_run, tuple(days), tuple(paths), classes, tuple(stays))


def _grouped(found: Iterable[Unit], key: Callable[[Unit], str]) -> Iterator[tuple[str, list[Unit]]]:
    ordered = sorted(found, key=key)
    return ((name, list(mine)) for name, mine in groupby(ordered, key=key))


def _sizes(found: Sequence[Unit]) -> tuple[int, int, int]:
    total = Counter[str]()
    for unit in found:
        total.update(files=len(unit.files), rows=unit.rows, bytes=unit.bytes)
    return total["files"], total["rows"], total["bytes"]


def facts(report: DropReport) -> dict[str, Any]:
    """Return a report as the API, the control socket and the command line tell it."""
    return {
        "days": [asdict(day) for day in report.days],
        "classes": {name: asdict(tally) for name, tally in report.classes.items()},
        "kept": [asdict(kept) for kept in report.kept],
        "files": report.files,
        "rows": report.rows,
        "bytes": report.bytes,
    }


def ages(policy: Policy, locked: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the ages in force of every class that is configured or in the ledger, in days; maximum 0 is for ever."""
    found = {name: policy.limits(name, locked) for name in sorted({*policy.minimums, *locked})}
    return {
        name: {"minimum_days": limits.minimum, "maximum_days": limits.maximum}
        for name, limits in found.items()
    }
