"""What one query may see of a snapshot: the files and hot rows that can hold an answer, chosen before any is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from storage.pruning import note_snapshot
from storage.query import Filter, Scope
from storage.snapshot import File, Hot, Snapshot
from storage.treatments import check


@dataclass(frozen=True, slots=True)
class View:
    """Files and hot batches pruned by time, seq and kind. Times are microseconds, bounds inclusive.

    Rows in it still have to be checked: a file that overlaps the range also has rows outside.
    """

    root: str
    files: tuple[File, ...]
    hot: tuple[Hot, ...]
    seq: int  # rows above it are not seen
    start_us: int | None
    end_us: int | None

    @property
    def parts(self) -> tuple[File | Hot, ...]:
        """All files and batches."""
        return (*self.files, *self.hot)

    @property
    def empty(self) -> bool:
        """True when nothing can match."""
        return not self.files and not self.hot

    def span(self) -> tuple[int, int]:
        """Return the least and greatest time that a matching row can have. The view must not be empty."""
        low = min(part.min_time_us for part in self.parts)
        high = max(part.max_time_us for part in self.parts)
        if self.start_us is not None:
            low = max(low, self.start_us)
        if self.end_us is not None:
            high = min(high, self.end_us)
        return low, high

    def between(self, start_us: int | None, end_us: int | None) -> View:
        """Return the part of this view that can hold rows between two times."""
        return View(
            self.root,
            tuple(file for file in self.files if overlaps(file, start_us, end_us)),
            tuple(batch for batch in self.hot if overlaps(batch, start_us, end_us)),
            self.seq,
            start_us,
            end_us,
        )

    def only(self, files: Sequence[File], *, hot: bool) -> View:
        """Return this view with other files, and with or without the hot rows."""
        return View(self.root, tuple(files), self.hot if hot else (), self.seq, self.start_us, self.end_us)

    def paths(self) -> list[str]:
        """Return the absolute paths of the files."""
        return [path_of(self.root, file) for file in self.files]


def path_of(root: str, file: File) -> str:
    """Return the absolute path of a file."""
    return f"{root}/{file.path}"


def overlaps(part: File | Hot, start_us: int | None, end_us: int | None) -> bool:
    """Say whether a file or batch can hold rows between two times."""
    return (end_us is None or part.min_time_us <= end_us) and (
        start_us is None or part.max_time_us >= start_us
    )


def inside(part: File | Hot, start_us: int | None, end_us: int | None) -> bool:
    """Say whether all rows of a file or batch lie between two times."""
    return (start_us is None or part.min_time_us >= start_us) and (
        end_us is None or part.max_time_us <= end_us
    )


def view(snapshot: Snapshot, wanted: Filter, scope: Scope, seq: int | None = None) -> View:
    """Return what a query with this filter and scope may see; ``seq`` limits it to an earlier snapshot.

    Raises MaskedError for a filter that would tell what the scope sees masked.
    """
    check(wanted, scope)
    note_snapshot(snapshot)
    limit = snapshot.seq if seq is None else min(seq, snapshot.seq)
    return View(
        snapshot.root,
        tuple(
            file
            for file in snapshot.events
            if file.min_seq <= limit
            and overlaps(file, wanted.start_us, wanted.end_us)
            and not (file.internal is True and scope.internal == "exclude")
            and not (file.internal is False and scope.internal == "only")
        ),
        tuple(
            batch
            for batch in snapshot.hot
            if batch.min_seq <= limit and overlaps(batch, wanted.start_us, wanted.end_us)
        ),
        limit,
        wanted.start_us,
        wanted.end_us,
    )
