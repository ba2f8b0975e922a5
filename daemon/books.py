"""The books of the files that are followed: by inode, by path, by source; and of what is no more in any of them.

Belongs to the tailer's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from daemon import files
from daemon.discovery import Found
from daemon.exposure import Exposure
from daemon.following import Climb, Fate, Followed
from daemon.ladder import Reached
from daemon.losses import Losses
from daemon.notes import Note, NoteKind
from daemon.opening import Descriptors
from daemon.packs import Packs
from daemon.precursors import Precursors
from daemon.reader import MARK_BYTES
from daemon.sources import Candidate, Catalogue, Known, Sink
from daemon.spares import Spares
from storage.lineage import lineage

MAX_UNPACKED_BYTES = 16 << 30  # what one compressed file may hold, at most


class Books:
    """Which files are followed, and as which source. Files enter by `follow` and leave by `forget`."""

    def __init__(
        self,
        sink: Sink,
        max_line_bytes: int,
        max_open_files: int,
        lock: threading.Lock,
        clock: Callable[[], float],
        max_unpacked_bytes: int,
        lost_wait: float,
    ) -> None:
        self.files: dict[tuple[int, int], Followed] = {}
        self.by_path: dict[bytes, Followed] = {}
        self.by_sid: dict[str, Followed] = {}
        self.away: set[Followed] = set()  # followed files that no name we look at leads to
        self.climbing: set[Followed] = set()  # files that do not hold any more what was read from them
        self.lineless: set[Followed] = set()  # files whose next source begins before there is a line of it
        self.anew = False  # a file that was followed turned out to be another one: everything is to be listed
        self.catalogue = Catalogue(sink.sources.values())
        self.precursors = Precursors(self.catalogue)
        self.packs = Packs(self.catalogue.windows, max_unpacked_bytes, clock)
        self.spares = Spares(sink)
        self.losses = Losses(
            self.catalogue, sink.sources.values(), lost_wait, self.tell, self.spares.archived
        )
        self.exposure = Exposure(sink, self.files)
        self.descriptors = Descriptors(
            self.files,
            self.packs,
            max_open_files,
            lock,
            committed=self.committed,
            unopened=self.losses.unopened,
        )
        self._sink = sink
        self._max_line_bytes = max_line_bytes
        self._clock = clock
        self._urgent = False
        self._notes: list[Note] = []

    # Following

    def follow(self, found: Found, candidate: Candidate, known: Known | None, now: float) -> Followed:
        """Follow an open file from where its source was read to, or from its beginning."""
        followed = Followed.of(found, candidate.file, known, max_line_bytes=self._max_line_bytes, now=now)
        candidate.release()
        self.precursors.bound(followed.key)
        self.files[followed.key] = followed
        self.by_path[followed.path] = followed
        self.exposure.found(followed.reader.file.identity)
        if known is not None:
            known.gone = False
            self.adopted(followed)
        self.descriptors.took(followed)
        return followed

    def adopted(self, followed: Followed) -> None:
        """Note that the file is a source now."""
        assert followed.known is not None
        self.catalogue.adopt(followed.known)
        self.by_sid[followed.sid] = followed

    def follows(self, followed: Followed) -> bool:
        """Return whether a file is still followed. Its inode may be another file's by now."""
        return self.files.get(followed.key) is followed

    def committed(self, followed: Followed) -> bool:
        """Return whether everything read from the file is durable in the archive."""
        if followed.known is None:
            return True
        state = self._sink.sources.get(followed.sid)
        return state is not None and state.offset >= followed.reader.offset

    def goes_on(self, known: Known, other: Known) -> bool:
        """Return whether a source goes on behind another one: all that lies before the other's offset is the same for both."""
        end = other.offset
        covers = [
            [
                (part.source.sid, min(part.end, end))
                for part in lineage(self._sink.sources, sid)
                if part.start < end
            ]
            for sid in (known.source.sid, other.source.sid)
        ]
        return known.offset > end and covers[0] == covers[1]

    def is_fork_without_a_byte(self, known: Known) -> bool:
        """Return whether a source goes on behind another one, and nothing of it is archived."""
        return self._sink.sources[known.source.sid].base == known.offset > 0

    def awaited(self, known: Known) -> bool:
        """Return whether a file that is being compared may go on with a source that was registered for it alone.

        A copy of that file holds it as well: it must not take it over meanwhile. If the file holds it no more, it may.
        """
        own = self.files.get(known.key)
        if own is None or own.climb is None or own.generation != known.generation:
            return False
        if not self.is_fork_without_a_byte(known) or not self.reopen(own):
            return False
        return Candidate.of(own.reader.file, internal=own.root.internal).holds(known)

    def spare_at(self, followed: Followed, reached: Reached) -> Known | None:
        """Return the source that was registered for this very file where a comparison ended, and of which nothing is archived."""
        for known in self.catalogue.orphans.values():
            if known.key != followed.key or known.gone or known.offset != reached.offset or not known.offset:
                continue
            state = self._sink.sources[known.source.sid]
            if state.generation == followed.generation and (state.base, state.continues) == (
                reached.offset,
                reached.sid,
            ):
                return known
        return None

    # What becomes of files

    def becomes(self, followed: Followed, fate: Fate) -> None:
        """Note what became of a file's name. What it holds should be committed before anything else happens to it."""
        if followed.fate is not fate:
            followed.fate = fate
            self._urgent = self._urgent or bool(followed.unread) or not self.committed(followed)

    def unname(self, followed: Followed) -> None:
        """Note that a file's path does not lead to it any more."""
        if self.by_path.get(followed.path) is followed:
            del self.by_path[followed.path]

    def hold_back(self, followed: Followed, climb: Climb) -> None:
        """Let nothing be read from a file until it was compared."""
        followed.hold(climb)
        self.climbing.add(followed)
        self.lineless.discard(followed)

    def disown(self, followed: Followed) -> None:
        """Note that a file does not hold its source any more."""
        if followed.known is not None:
            self.catalogue.abandon(followed.known)
            self.by_sid.pop(followed.sid, None)

    def forget(self, followed: Followed) -> None:
        """Stop following a file; its source stays known."""
        if followed.key in self.spares.by_file:
            self.spares.look(followed)
        self.close(followed)
        self.unname(followed)
        self.away.discard(followed)
        self.climbing.discard(followed)
        self.lineless.discard(followed)
        climb, followed.climb = followed.climb, None
        held = followed.origin.former if followed.origin.base else None
        if climb is not None and not climb.copy:
            held = (
                climb.again()
            )  # what is put in its place goes on with what was read of it, as it would have
        if followed.known is not None:
            held = Climb(followed.known, followed.known.offset)
        if followed.fate is Fate.UNLINKED and held is not None:
            self.precursors.deleted(followed.path, held)
        if self.follows(followed):
            del self.files[followed.key]
        self.disown(followed)

    def lose_closed(self, followed: Followed) -> None:
        """Stop following a file that is gone and not open. Mostly it was read and committed: its content is known."""
        known, path = followed.known, files.spelled(followed.path)
        self._lose_sourceless(followed, "uncompared" if followed.climb is not None else "removed")
        self.forget(followed)
        if known is not None:
            self.losses.lose(known, path, self._clock(), "removed")

    def lost_uncompared(self, followed: Followed) -> None:
        """Stop following a deleted file of which nobody knows which lines are archived."""
        self._lose_sourceless(followed, "uncompared")
        self.forget(followed)

    def _lose_sourceless(self, followed: Followed, code: str) -> None:
        """Report what a file holds that is given up, if no source has it."""
        if followed.climb is not None and followed.climb.copy and followed.repeats:
            return
        at_risk = self.exposure.lost(followed, code)
        if at_risk is not None:
            self.losses.gap_of(at_risk)

    def look_for_spares(self) -> None:
        """See which sources that a kill left without a byte are archived under another one by now."""
        for key in self.spares.waiting():
            followed = self.files.get(key)
            if followed is not None and self.reopen(followed):
                self.spares.look(followed)

    # Opening

    def reopen(self, followed: Followed) -> bool:
        """Open the file again if it was closed; returns False if its name leads elsewhere by now."""
        if not followed.reader.file.closed:
            return True
        with self.descriptors.candidate(_found(followed)) as opened:
            if opened is None:
                followed.trouble = self.descriptors.refused.get(
                    files.spelled(followed.path), followed.trouble
                )
                return False
            if opened.file.identity.generation != followed.generation:
                if followed.known is not None:
                    followed.known.gone = True
                self.lose_closed(
                    followed
                )  # another file has its inode number: the next listing says whose it is
                self.anew = True
                return False
            followed.reader.file = opened.release()
        followed.trouble = ""
        self.descriptors.took(followed)
        return True

    def beginnings(self, followed: Followed) -> list[bytes]:
        """Return what a file began with when it was read, and what it begins with now unless that is known to be the same.

        At most MARK_BYTES each; empty for what cannot be told. Raises OSError.
        """
        head = followed.reader.head
        verified = followed.climb is None and followed.fate is not Fate.UNLINKED
        return [head] if head and verified else [head, self._begins_with(followed)]

    def _begins_with(self, followed: Followed) -> bytes:
        file = followed.reader.file
        if not file.closed:
            return file.pread(MARK_BYTES, 0)
        # Only looked at: one that waits to be read is not to keep those closed that are being read.
        with self.descriptors.candidate(_found(followed)) as opened:
            if opened is None or opened.file.identity.generation != followed.generation:
                return b""
            return opened.file.pread(MARK_BYTES, 0)

    def close(self, followed: Followed) -> None:
        """Close a file; it is opened again when it is needed."""
        self.descriptors.close(followed)

    # Telling

    def note(self, kind: NoteKind, followed: Followed, detail: str = "") -> None:
        """Say what happened to a file."""
        path = files.spelled(followed.path)
        self.tell(Note(kind, path, followed.sid, followed.reader.offset, followed.size, detail))

    def tell(self, note: Note) -> None:
        """Say what happened, at the end of the turn."""
        self._notes.append(note)

    def take_notes(self) -> list[Note]:
        """Return what happened since the last call."""
        for pack in self.packs.troubles():
            kind: NoteKind = "too large" if pack.limit else "damaged"
            self._notes.append(
                Note(kind, files.spelled(pack.found.path), end=pack.found.size, detail=pack.trouble)
            )
        notes, self._notes = self._notes, []
        return notes

    def take_urgent(self) -> bool:
        """Return whether, since the last call, a file with uncommitted bytes lost its name or its future."""
        urgent, self._urgent = self._urgent, False
        return urgent

    def settle_risks(self) -> None:
        """Let the ledger know what a crash would lose now. Blocks; raises what the archive raises."""
        self.exposure.settle(self.away, self.climbing, self.spares.no_loss())


def _found(followed: Followed) -> Found:
    """Return a followed file as a listing would have it, to open it again; its size is not known."""
    return Found(followed.path, followed.file, *followed.key, 0, 0, followed.root)
