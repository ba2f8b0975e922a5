"""Files that no longer hold what was read from them: what that means for their sources, before and after the comparison.

Belongs to the tailer's thread.
"""

from __future__ import annotations

from collections.abc import Callable

from daemon import files
from daemon.books import Books
from daemon.following import Climb, Fate, Followed, Origin
from daemon.ladder import Reached
from daemon.notes import Note, NoteKind
from daemon.reader import MARK_BYTES


class Rewrites:
    """Takes sources from files, and gives files the sources that a comparison has found."""

    def __init__(self, books: Books, clock: Callable[[], float]) -> None:
        self._books = books
        self._clock = clock

    def rewritten(self, followed: Followed) -> None:
        """The file no longer holds what was read from it: it is held, and its source waits for an heir."""
        known = followed.known
        climb = followed.origin.former
        if known is not None:
            climb = Climb(known, followed.reader.offset)
            self._books.disown(followed)
            path = files.spelled(followed.path)
            self._books.losses.lose(known, path, self._clock(), "truncated")
        if climb is None:
            self._books.note("rewritten", followed)
            followed.start_over()
        else:
            self._books.hold_back(followed, climb.again())

    def changed(self, followed: Followed) -> None:
        """A compressed file was written to: who it is now, its next inspection shows."""
        known = followed.known
        self._books.forget(followed)
        if known is not None:
            self._books.losses.lose(known, files.spelled(followed.path), self._clock(), "truncated")

    def free_to(self, followed: Followed, climb: Climb) -> bool:
        """Return whether a file that holds a source whole may go on: a copy only if no other file has the source.

        One that has no more than that gives way to a fuller file.
        """
        holder = self._books.by_sid.get(climb.known.source.sid)
        if (
            holder is not None
            and climb.copy
            and _ends_at(holder, climb.limit)
            and followed.size > climb.limit
        ):
            self._books.forget(holder)
        return not climb.copy or climb.known.source.sid in self._books.catalogue.orphans

    def told_copy(self, followed: Followed) -> None:
        """Say that a file only repeats what is archived."""
        detail = "repeats what was archived from another file; it is not read unless it differs"
        self._books.tell(Note("copy", files.spelled(followed.path), end=followed.size, detail=detail))

    def resolved(self, followed: Followed, climb: Climb, reached: Reached) -> None:
        """A comparison has found where to go on: with the same source, or with a new one behind what is archived."""
        self._books.climbing.discard(followed)
        sid = climb.known.source.sid
        if not reached.differs and sid in self._books.catalogue.orphans:
            followed.resume(climb, reached)
            self._books.adopted(followed)
            return
        if climb.copy and climb.others:
            other, *rest = climb.others
            self._books.hold_back(followed, Climb(other, other.offset, copy=True, others=tuple(rest)))
            return
        former = climb.again()
        if climb.copy:
            followed.begin(Origin(former=former))
            return
        spare = self._books.spare_at(followed, reached) if reached.differs else None
        if spare is not None:  # a kill left it without a byte: so its lines keep their places and ids
            followed.resume(Climb(spare, spare.offset), reached)
            self._books.adopted(followed)
            return
        continues = reached.sid if reached.offset else ""
        followed.begin(Origin(reached.offset, continues, reached.head, reached.tail, former))
        if not reached.differs:
            # No line will say soon that the file goes on here: the next start would not know.
            self._books.lineless.add(followed)
        kind: NoteKind = "shortened" if reached.offset else "rewritten"
        detail = f"held {reached.offset} of the {climb.limit} bytes that were read"
        self._books.tell(Note(kind, files.spelled(followed.path), sid, reached.offset, climb.limit, detail))


def _ends_at(followed: Followed, limit: int) -> bool:
    """Return whether a file was read to its end, and that is where it still is."""
    present = followed.fate is Fate.PRESENT and followed.climb is None
    return present and MARK_BYTES <= limit == followed.reader.offset == followed.size and followed.unchanged()
