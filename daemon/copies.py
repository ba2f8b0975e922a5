"""Files that hold what another one holds: which of the two is read, and how long the other one is held back (rule 3).

Belongs to the tailer's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Literal

from daemon import files
from daemon.books import Books
from daemon.discovery import Found
from daemon.following import Fate, Followed
from daemon.notes import Note
from daemon.reader import MARK_BYTES
from daemon.sources import Candidate, Known, same_bytes
from parsers.decoding import format_of

COPY_WAIT_SECONDS = (
    600.0  # how long a file that repeats another one may take to differ before it counts as a copy
)
SMALL_COPY_WAIT_SECONDS = (
    10.0  # the same below MARK_BYTES: such files may well be equal by chance, and are then read
)

OnCopy = Literal["skip", "ingest"]


@dataclass(slots=True)
class Held:
    """A file that so far only repeats the beginning of a followed one."""

    found: Found
    original: str
    since: float
    reported: bool = False


class Copies:
    """Compares a found file with those that are followed, and holds back what only repeats one of them."""

    def __init__(self, books: Books, on_copy: OnCopy, clock: Callable[[], float]) -> None:
        self.held: dict[tuple[int, int], Held] = {}
        self._books = books
        self._on_copy = on_copy
        self._clock = clock

    @property
    def waiting(self) -> bool:
        """Return whether it is not decided of some file yet whether it is a copy."""
        return any(not held.reported for held in self.held.values())

    def keep(self, keys: Container[tuple[int, int]]) -> None:
        """Forget held files that are listed no more."""
        for key in [key for key in self.held if key not in keys]:
            del self.held[key]

    def bound(self, key: tuple[int, int]) -> None:
        """Note that a file is followed, and held no more."""
        self.held.pop(key, None)

    def unchanged(self, found: Found) -> bool:
        """Return whether a file is held as it is now."""
        held = self.held.get(found.key)
        return held is not None and (held.found.size, held.found.mtime_ns) == (found.size, found.mtime_ns)

    def hold(self, found: Found, original: Followed, now: float) -> bool:
        """Hold a file back; returns False when it has been held long enough and is to be read."""
        path = files.spelled(original.path)
        held = self.held.setdefault(found.key, Held(found, path, now))
        held.found = found
        if found.size < MARK_BYTES and format_of(found.path) is None:
            return now - held.since < SMALL_COPY_WAIT_SECONDS
        if now - held.since < COPY_WAIT_SECONDS:
            return True
        if not held.reported:
            held.reported = True
            skipped = self._on_copy == "skip"
            what = "it is not read unless it differs" if skipped else "it is read all the same"
            detail = f"repeats {path}; {what}"
            self._books.tell(Note("copy", files.spelled(found.path), end=found.size, detail=detail))
        return self._on_copy == "skip"

    def repeats(self, candidate: Candidate, original: Followed) -> bool:
        """Return whether the candidate so far holds nothing but the beginning of a followed file."""
        if original.root.internal != candidate.internal or candidate.size > original.size:
            return False
        return self._books.reopen(original) and same_bytes(
            candidate.file, original.reader.file, candidate.size
        )

    def better(self, candidate: Candidate, heir: Known, originals: Sequence[Followed]) -> bool:
        """Return whether a file is the copy of one that goes on with the heir's lines: then it has nothing to add.

        Also if both were read equally far, and that is more than may be equal by chance: they would go on with the same.
        """

        def equal(original: Followed) -> bool:
            return MARK_BYTES <= heir.offset == original.reader.offset < candidate.size

        return any(
            (candidate.size > heir.offset < original.reader.offset or equal(original))
            and self._books.follows(original)
            and self.repeats(candidate, original)
            for original in originals
        )

    def outgrown(self, candidate: Candidate, original: Followed) -> bool:
        """Return whether a file holds all of a followed one, and more.

        Then one is a copy of the other, made before it grew. Which, nobody can tell; but the fuller one goes on where
        the other was read to, and the other is held as what repeats it, until it differs.
        """
        size = original.size  # with the half of a line that it may end in
        return (
            original.known is not None
            and original.climb is None
            and original.fate is Fate.PRESENT
            and self._books.follows(original)
            and original.root.internal == candidate.internal
            and MARK_BYTES <= original.reader.offset <= size < candidate.size
            and self._books.reopen(original)
            and same_bytes(candidate.file, original.reader.file, size)
        )

    def claimant(self, candidate: Candidate, heir: Known, originals: Sequence[Followed]) -> Followed | None:
        """Return the file that was the heir's until it was rewritten, if it holds all of its copy's content again.

        It is about to be compared with what was read of it, and goes on where that ends: its copy must not do so too.
        """
        return next(
            (
                original
                for original in originals
                if original.climb is not None
                and original.climb.known is heir
                and self._books.follows(original)
                and self.repeats(candidate, original)
            ),
            None,
        )

    def waits_for_deleted(self, found: Found, candidate: Candidate, originals: Sequence[Followed]) -> bool:
        """Let go of a deleted file whose content this one holds; return whether that must be read first.

        ``originals`` are the files that begin alike. One that holds all of a deleted one takes it over, wherever it
        lies. One that was put in its place goes on with what it holds of it, if that is more than may be equal by chance.
        """
        for deleted in originals:
            if deleted.fate is not Fate.UNLINKED or deleted.reader.file.closed:
                continue
            size = min(candidate.size, deleted.size)
            if deleted.root.internal != candidate.internal or not size:
                continue
            whole = size == deleted.size and same_bytes(candidate.file, deleted.reader.file, size)
            placed = deleted.path == found.path and size >= MARK_BYTES
            placed = placed and same_bytes(candidate.file, deleted.reader.file, MARK_BYTES)
            if not whole and not placed:
                continue
            written = not placed and not deleted.finishing(self._clock(), closing=False)
            if written or (deleted.unread and (deleted.known is None or not whole)):
                return True  # who has it open may still write to it
            self._books.forget(deleted)
        return False
