"""How much of the archive questions really read: files, row groups and rows, of all that there were.

Whoever builds a statement notes here what it reads; the engine adds it up when the work is done. A question runs in one
thread from its snapshot to its last row, so a context variable connects the two without being handed through.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass, field, fields
from typing import Any

from storage.observer import Observer, Silent
from storage.parquet import ROW_GROUP_ROWS
from storage.shapes import shape
from storage.snapshot import File, Snapshot

RECENT = 1_000  # questions that "recent" means

# What is counted of files, row groups and rows: reported to the observer by these names, labelled with the outcome.
MEASURES = ("files", "row_groups", "rows")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one question, or several, could have read and did read. Row groups of files never opened are estimated."""

    questions: int = 0
    files: int = 0
    files_read: int = 0
    files_rolled: int = 0  # counted by their roll-up
    row_groups: int = 0
    row_groups_read: int = 0
    rows: int = 0
    rows_read: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def to_json(self) -> dict[str, Any]:
        """Return the figures, and the share of each measure that was skipped, in percent."""
        found: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in MEASURES:
            all_of_it, read = getattr(self, name), getattr(self, f"{name}_read")
            found[f"{name}_skipped_percent"] = round(100 * (1 - read / all_of_it), 1) if all_of_it else None
        return found


@dataclass(slots=True)
class Scan:
    """What one question reads, as its statements are built."""

    snapshot: Snapshot | None = None
    ranges: dict[str, list[tuple[int | None, int | None]]] = field(default_factory=dict)
    rolled: set[str] = field(default_factory=set)

    def figures(self) -> Figures:
        """Count. Files whose statistics leave row groups out are read in part."""
        files = self.snapshot.events if self.snapshot is not None else ()
        groups = sum(-(-file.rows // ROW_GROUP_ROWS) for file in files)
        groups_read = rows_read = 0
        for path, ranges in self.ranges.items():
            found = shape(path).groups
            groups += len(found) - -(-sum(group.rows for group in found) // ROW_GROUP_ROWS)
            read = [group.rows for group in found if any(group.overlaps(low, high) for low, high in ranges)]
            groups_read += len(read)
            rows_read += sum(read)
        return Figures(
            questions=1,
            files=len(files),
            files_read=len(self.ranges),
            files_rolled=len(self.rolled),
            row_groups=groups,
            row_groups_read=groups_read,
            rows=sum(file.rows for file in files),
            rows_read=rows_read,
        )


_scan: ContextVar[Scan | None] = ContextVar("watchkeep_scan", default=None)


def note_snapshot(snapshot: Snapshot) -> None:
    """Note which snapshot the question of this thread looks at."""
    if (scan := _scan.get()) is not None:
        scan.snapshot = snapshot


def note_read(root: str, files: Iterable[File], start_us: int | None, end_us: int | None) -> None:
    """Note that rows of some files between two times are read."""
    if (scan := _scan.get()) is not None:
        for file in files:
            scan.ranges.setdefault(f"{root}/{file.path}", []).append((start_us, end_us))


def note_rolled(paths: Iterable[str]) -> None:
    """Note that roll-ups are read instead of the files they cover."""
    if (scan := _scan.get()) is not None:
        scan.rolled.update(paths)


class Pruning:
    """Adds questions up: since the start, and the last RECENT of them. For any thread."""

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer or Silent()
        self._lock = threading.Lock()
        self._recent: deque[Figures] = deque(maxlen=RECENT)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Count what the work inside reads, if it looked at a snapshot at all."""
        scan = Scan()
        token = _scan.set(scan)
        try:
            yield
        finally:
            _scan.reset(token)
        if scan.snapshot is not None:
            self._add(scan.figures())

    @property
    def recent(self) -> Figures:
        """The last RECENT questions together."""
        with self._lock:
            return sum(self._recent, Figures())

    def _add(self, figures: Figures) -> None:
        with self._lock:
            self._recent.append(figures)
        for name in MEASURES:
            read = getattr(figures, f"{name}_read")
            self._observer.count(f"query_{name}", read, outcome="read")
            self._observer.count(f"query_{name}", max(0, getattr(figures, name) - read), outcome="skipped")
