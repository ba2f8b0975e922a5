"""Binds found files to sources, and keeps the books of those that are followed: by inode, by path, by source.

Belongs to the tailer's thread. The rules are in `daemon.sources`.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from daemon import files
from daemon.alike import HEAD_KEY_BYTES, Alike
from daemon.discovery import Found, Scan, Watchable
from daemon.exposure import AWAY, Exposure
from daemon.following import Climb, Fate, Followed, Origin, dated
from daemon.ladder import Reached
from daemon.losses import LOST_WAIT_SECONDS, Losses
from daemon.notes import Note, NoteKind
from daemon.opening import Descriptors
from daemon.packs import Packs
from daemon.reader import MARK_BYTES
from daemon.sources import Candidate, Catalogue, Known, Sink, same_bytes
from parsers.decoding import format_of

COPY_WAIT_SECONDS = (
    600.0  # how long a file that repeats another one may take to differ before it counts as a copy
)
SMALL_COPY_WAIT_SECONDS = (
    10.0  # the same below MARK_BYTES: such files may well be equal by chance, and are then read
)
MAX_UNPACKED_BYTES = 16 << 30  # what one compressed file may hold, at most

OnCopy = Literal["skip", "ingest"]
DELETED_MOST = 1000  # paths at which another file may yet take the place of a deleted one


class _Rank(IntEnum):
    """What a file's inode says of it."""

    READ = 0  # something that was read from it is archived
    KNOWN = 1  # it was a source, and nothing of it is archived
    NEW = 2


@dataclass(slots=True)
class _Held:
    """A file that so far only repeats the beginning of a followed one."""

    found: Found
    original: str
    since: float
    reported: bool = False


Look = Callable[[Followed, float], None]


class Binder:
    """Which file is which source."""

    def __init__(
        self,
        sink: Sink,
        max_line_bytes: int,
        max_open_files: int,
        lock: threading.Lock,
        clock: Callable[[], float],
        max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
        on_copy: OnCopy = "skip",
        lost_wait: float = LOST_WAIT_SECONDS,
    ) -> None:
        self.files: dict[tuple[int, int], Followed] = {}
        self.by_path: dict[bytes, Followed] = {}
        self.by_sid: dict[str, Followed] = {}
        self.roots: tuple[Watchable, ...] = ()
        self.unwatchable: dict[bytes, str] = {}  # roots where notices are no help, and why
        self.folders = 0  # those that need a watch
        self.problems: tuple[str, ...] = ()
        self.held: dict[tuple[int, int], _Held] = {}
        self.away: set[Followed] = set()  # followed files that no name we look at leads to
        self.climbing: set[Followed] = set()  # files that do not hold any more what was read from them
        self.lineless: set[Followed] = set()  # files whose next source begins before there is a line of it
        self._on_copy = on_copy
        self._sink = sink
        self._max_line_bytes = max_line_bytes
        self._clock = clock
        self._catalogue = Catalogue(sink.sources.values())
        # Whose lines unbound files held when they were first seen, the last ones last: another file may take those over.
        self._held_before: dict[tuple[int, int], tuple[files.Identity, Sequence[Known]]] = {}
        self._deleted: dict[bytes, Climb] = {}  # what was read of the file that was last deleted at a path
        self._urgent = False
        self.anew = False  # a file that was followed turned out to be another one: everything is to be listed
        self.packs = Packs(self._catalogue.windows, max_unpacked_bytes, clock)
        self._notes: list[Note] = []
        self._losses = Losses(self._catalogue, sink.sources.values(), lost_wait, self._notes_add)
        self.exposure = Exposure(sink, self.files)
        self.descriptors = Descriptors(
            self.files,
            self.packs,
            max_open_files,
            lock,
            committed=self.committed,
            unopened=self._losses.unopened,
        )

    @property
    def rescan_soon(self) -> bool:
        """Return whether something waits to be decided by a listing."""
        waiting = any(not held.reported for held in self.held.values())
        return waiting or self._losses.waiting or self.packs.waiting

    def _notes_add(self, note: Note) -> None:
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

    # Comparing a listing with what is followed

    def reconcile(self, scan: Scan, now: float, look: Look, recheck: Look) -> list[Followed]:
        """Follow what is new, move what was renamed, notice what is gone. Returns the files to be read."""
        self.roots = scan.roots
        self.unwatchable = dict(scan.unwatchable)
        self.folders = scan.folders
        if scan.changed:
            self._compare(scan, now, look)
        loose = scan.files if scan.loose is None else scan.loose
        keys = {entry.key for entry in loose}
        for key in [key for key in self.held if key not in keys]:
            del self.held[key]
        for key in self._held_before.keys() - keys:
            del self._held_before[key]
        self.descriptors.begin()
        self._losses.miss_unopened(scan, keys, self.files)
        # Larger files first: of two that begin alike the shorter one is the copy.
        # An empty file is nobody yet: it may be a copy that has only begun.
        new = (entry for entry in loose if entry.size and entry.key not in self.files)
        self.packs.keep(keys | self.files.keys())
        unbound = sorted(self.packs.sift(new), key=lambda entry: -entry.size)
        if any(not self._held_as_it_is(entry) for entry in unbound):
            self._verify_changed(now, recheck)
        empty = [entry for entry in loose if not entry.size] if unbound else []
        started = self._bind(unbound, empty, now, recheck)
        if started or scan.changed:
            self._supersede()
        self._losses.miss(scan, now)
        for at_risk in self.exposure.missing(scan, keys):
            self._losses.gap_of(at_risk)
        self._losses.settle(now, hold=self.packs.waiting)
        self.problems = tuple(f"{files.spelled(p.path)}: {p.reason}" for p in scan.problems) + tuple(
            f"{path}: {reason}" for path, reason in self.descriptors.refused.items()
        )
        return started

    def _compare(self, scan: Scan, now: float, look: Look) -> None:
        """Compare the names that were found with those that files are followed under."""
        found = {entry.key: entry for entry in scan.files}
        for followed in list(self.files.values()):
            entry = found.get(followed.key)
            if entry is not None:
                if entry.path != followed.path or followed.fate in AWAY:
                    self._renamed(followed, entry)
            elif scan.covers(followed.path):
                look(followed, now)
                gone = self.follows(followed) and followed.fate is not Fate.RETARGETED
                if gone and followed.reader.file.closed:
                    self._lose_closed(followed)

    def _held_as_it_is(self, entry: Found) -> bool:
        held = self.held.get(entry.key)
        return held is not None and (held.found.size, held.found.mtime_ns) == (entry.size, entry.mtime_ns)

    def _verify_changed(self, now: float, recheck: Look) -> None:
        """Notice files that were rewritten: that must be known before another file is compared with them."""
        for followed in list(self.files.values()):
            with suppress(OSError):
                info = files.stat(followed.path)
                if info.st_mtime_ns != followed.verified_ns and (info.st_dev, info.st_ino) == followed.key:
                    recheck(followed, now)

    def _renamed(self, followed: Followed, entry: Found) -> None:
        if entry.path == followed.path:
            if followed.fate in {Fate.MOVED, Fate.UNLINKED}:  # it was away for a moment
                followed.fate = Fate.PRESENT
                self.away.discard(followed)
                self.by_path[followed.path] = followed
            return
        if followed.fate is Fate.RETARGETED:
            self._renames(followed, entry, Fate.PRESENT)
            return  # a link leads to it again
        if files.leads_to(followed.path, followed.key):
            return  # a second link, or another root's name for it; the first name stays
        self._note("renamed", followed, detail=files.spelled(entry.path))
        self._renames(followed, entry, Fate.RENAMED)

    def _renames(self, followed: Followed, entry: Found, fate: Fate) -> None:
        self._unname(followed)
        followed.path, followed.file = entry.path, entry.file
        real = b"" if followed.reader.file.closed else followed.reader.file.real_path()
        followed.target = b"" if real == entry.path else real
        self._becomes(followed, fate)
        if followed.known is not None:
            followed.known.path = files.spelled(entry.path)
        self.away.discard(followed)
        self.by_path[followed.path] = followed

    def look_away(self, followed: Followed) -> os.stat_result | None:
        """Decide what became of a file whose name leads elsewhere; returns what its descriptor says, if it is open."""
        if followed.target and files.leads_to(followed.target, followed.key):
            return self._retargeted(followed)
        folder_there = _is_folder(os.path.dirname(followed.path))
        if followed.reader.file.closed:
            if folder_there:
                self._lose_closed(followed)
            return None  # a folder that is away now may come back with all that was in it
        info = followed.reader.file.info()
        if info.st_nlink and not folder_there:
            return info
        fate = Fate.MOVED if info.st_nlink else Fate.UNLINKED
        if fate is Fate.UNLINKED and followed.fate is not fate:
            self._note("unlinked", followed)
            if followed.known is not None:
                followed.known.gone = True
        self._becomes(followed, fate)
        self.away.add(followed)
        self._unname(followed)
        return info

    def _retargeted(self, followed: Followed) -> os.stat_result | None:
        """Follow what a link does not lead to any more by its own path: who has it open still writes to it."""
        self._unname(followed)
        followed.path, followed.target = followed.target, b""
        self._becomes(followed, Fate.RETARGETED)
        self.away.add(followed)
        self.by_path[followed.path] = followed
        return files.stat(followed.path)

    def _becomes(self, followed: Followed, fate: Fate) -> None:
        """Note what became of a file's name. What it holds should be committed before anything else happens to it."""
        if followed.fate is not fate:
            followed.fate = fate
            self._urgent = self._urgent or bool(followed.unread) or not self.committed(followed)

    def _unname(self, followed: Followed) -> None:
        if self.by_path.get(followed.path) is followed:
            del self.by_path[followed.path]

    def _supersede(self) -> None:
        """Mark dated files of which a later sibling exists."""
        families: dict[bytes, list[tuple[int, Followed]]] = defaultdict(list)
        for followed in self.files.values():
            date, family = dated(followed.path)
            if date is not None:
                families[family].append((date, followed))
        for members in families.values():
            newest = max(date for date, _ in members)
            for date, followed in members:
                if date < newest and followed.fate is Fate.PRESENT:
                    self._becomes(followed, Fate.SUPERSEDED)

    # Binding

    def _bind(self, unbound: list[Found], empty: list[Found], now: float, recheck: Look) -> list[Followed]:
        if not unbound:
            return []
        started: list[Followed] = []
        by_inode = self._catalogue.by_inode()
        self._remember_emptied(empty, by_inode)
        rest: list[Found] = []
        rank: dict[tuple[int, int], _Rank] = {}
        own: dict[tuple[int, int], list[Known]] = {}
        self._catalogue.reserved, self._catalogue.claimed = set(), set()
        for found in unbound:
            with self.descriptors.candidate(found) as candidate:
                # A file that cannot be read now is nobody's, and what was read of it no other's: see the next listing.
                bound = by_inode.get(found.key, ())
                reserved = {known.source.sid for known in bound if not known.gone}
                self._catalogue.reserved |= reserved
                if candidate is None:
                    continue
                with suppress(OSError):
                    same = self._catalogue.same(candidate, bound)
                    self._catalogue.reserved -= reserved
                    if same and same[0].offset:
                        started.append(self._follow(found, candidate, same[0], now))
                        continue
                    rest.append(found)
                    self._remember(candidate, bound)
                    own[found.key] = same
                    self._catalogue.claimed |= {known.source.sid for known in same}
                    rank[found.key] = _rank(candidate, bound)
        # A file goes before its copy. One of which nothing is archived is no reason to go before a larger one.
        rest.sort(key=lambda found: (rank[found.key] is not _Rank.READ, -found.size, rank[found.key]))
        alike = Alike(self.files.values()) if rest else Alike(())
        for found in rest:
            with self.descriptors.candidate(found) as candidate:
                if candidate is None:
                    continue
                followed = None
                with suppress(OSError):
                    followed = self._bind_other(found, candidate, alike, own[found.key], now, recheck)
            if followed is not None:
                started.append(followed)
                alike.add(followed)
        return started

    def _bind_other(
        self,
        found: Found,
        candidate: Candidate,
        alike: Alike,
        own: Sequence[Known],
        now: float,
        recheck: Look,
    ) -> Followed | None:
        """Apply rules 2 to 5 to a file whose inode does not tell who it is; ``own`` are its sources without a byte."""
        if self._waits_for_deleted(found, candidate):
            return None
        originals = alike.to(candidate.file.pread(HEAD_KEY_BYTES, 0))
        for original in originals:
            recheck(
                original, now
            )  # it may have been rewritten since: then its content is free to be taken over
            if original.trouble and _begins_as(candidate, original):
                return None  # it cannot be read now, so nobody can tell whose these lines are
        former = self._former(candidate) or self._replaced(found, candidate)
        # One that was held as a copy and goes its own way is another log: all of it is read, unless it is known to have
        # been a log before. And where it is known whose lines a file held before, that decides where it goes on.
        if former is None and (own or found.key not in self.held):
            for original in originals:
                if self._outgrown(candidate, original):
                    self.forget(original)  # a copy that stayed behind: it has nothing that this one lacks
        if self._catalogue.waits(candidate):
            return None
        heir = self._catalogue.heir(candidate)
        if heir is not None and not self._better(candidate, heir, originals):
            claimant = self._claimant(candidate, heir, originals)
            if claimant is not None and self._hold(found, claimant, now):
                self.exposure.found(candidate.file.identity)
                return None
            return self._follow(found, candidate, heir, now)
        if former is not None:
            followed = self._follow(found, candidate, None, now)
            if (
                former.known.key == found.key
            ):  # rewritten while nobody looked, perhaps before it was read to its end
                self._losses.lose(former.known, files.spelled(found.path), now, "truncated")
            self._hold_back(followed, former)
            return followed
        for original in originals:
            if self.follows(original) and self._repeats(candidate, original):
                if self._hold(found, original, now):
                    self.exposure.found(candidate.file.identity)
                    return None
                return self._follow(found, candidate, self._catalogue.unread(candidate, own), now)
        begun = self._catalogue.begun(candidate) if found.size >= MARK_BYTES else []
        unread = None if begun else self._catalogue.unread(candidate, own)
        followed = self._follow(found, candidate, unread, now)
        if begun:
            self._hold_back(followed, Climb(begun[0], begun[0].offset, copy=True, others=tuple(begun[1:])))
        return followed

    def settle_risks(self) -> None:
        """Let the ledger know what a crash would lose now. Blocks; raises what the archive raises."""
        self.exposure.settle(self.away, self.climbing)

    def _hold_back(self, followed: Followed, climb: Climb) -> None:
        followed.hold(climb)
        self.climbing.add(followed)
        self.lineless.discard(followed)

    def _better(self, candidate: Candidate, heir: Known, originals: Sequence[Followed]) -> bool:
        """Return whether a file is the copy of one that goes on with the heir's lines: then it has nothing to add."""
        return any(
            candidate.size > heir.offset < original.reader.offset
            and self.follows(original)
            and self._repeats(candidate, original)
            for original in originals
        )

    def _outgrown(self, candidate: Candidate, original: Followed) -> bool:
        """Return whether a file holds all of a followed one that was read to its end, and more.

        Then one is a copy of the other, made before it grew. Which, nobody can tell; but the fuller one goes on where
        the other ends, and the other is held as what repeats it, until it differs.
        """
        size = original.reader.offset
        return (
            original.known is not None
            and original.climb is None
            and original.fate is Fate.PRESENT
            and self.follows(original)
            and original.root.internal == candidate.internal
            and MARK_BYTES <= size == original.size < candidate.size
            and self.reopen(original)
            and same_bytes(candidate.file, original.reader.file, size)
        )

    def _claimant(self, candidate: Candidate, heir: Known, originals: Sequence[Followed]) -> Followed | None:
        """Return the file that was the heir's until it was rewritten, if it holds all of its copy's content again.

        It is about to be compared with what was read of it, and goes on where that ends: its copy must not do so too.
        """
        return next(
            (
                original
                for original in originals
                if original.climb is not None
                and original.climb.known is heir
                and self.follows(original)
                and self._repeats(candidate, original)
            ),
            None,
        )

    def _waits_for_deleted(self, found: Found, candidate: Candidate) -> bool:
        """Let go of a deleted file whose content this one holds; return whether that must be read first.

        One that holds all of it takes it over, wherever it lies. One that was put in its place goes on with what it
        holds of it, if that is more than may be equal by chance.
        """
        for deleted in [f for f in self.away if f.fate is Fate.UNLINKED and not f.reader.file.closed]:
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
            self.forget(deleted)
        return False

    def _replaced(self, found: Found, candidate: Candidate) -> Climb | None:
        """Return what was read of the deleted file in whose place this one is, if it begins alike by more than chance."""
        climb = self._deleted.get(found.path)
        if climb is None:
            known = self._catalogue.replaced(candidate, files.spelled(found.path))
            return None if known is None else Climb(known, known.offset)
        known = climb.known
        alike = (
            MARK_BYTES <= known.head_length <= candidate.size and known.source.internal == candidate.internal
        )
        return climb.again() if alike and candidate.head(known.head_length) == known.head else None

    def _remember_emptied(self, empty: list[Found], by_inode: dict[tuple[int, int], list[Known]]) -> None:
        """Remember whose lines files held that are empty now: before another file takes those over and is its file."""
        for found in empty:
            if found.key not in by_inode or found.key in self._held_before:
                continue
            with self.descriptors.candidate(found) as candidate:
                if candidate is not None:
                    with suppress(OSError):
                        self._remember(candidate, by_inode[found.key])

    def _remember(self, candidate: Candidate, bound: Sequence[Known]) -> None:
        here = candidate.file.identity
        before, _ = self._held_before.get(here.key, (None, ()))
        if before != here:
            self._held_before[here.key] = here, _own(candidate, bound)

    def _former(self, candidate: Candidate) -> Climb | None:
        """Return the source that was last read from this very file, or since then from what took it over (rule 4)."""
        here = candidate.file.identity
        before, own = self._held_before.get(here.key, (None, ()))
        read = [known for known in own if known.offset]
        return Climb(read[-1], read[-1].offset) if read and before == here else None

    def _repeats(self, candidate: Candidate, original: Followed) -> bool:
        """Return whether the candidate so far holds nothing but the beginning of a followed file."""
        if original.root.internal != candidate.internal or candidate.size > original.size:
            return False
        return self.reopen(original) and same_bytes(candidate.file, original.reader.file, candidate.size)

    def _hold(self, found: Found, original: Followed, now: float) -> bool:
        """Hold a file back; returns False when it has been held long enough and is to be read."""
        path = files.spelled(original.path)
        held = self.held.setdefault(found.key, _Held(found, path, now))
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
            self._notes.append(Note("copy", files.spelled(found.path), end=found.size, detail=detail))
        return self._on_copy == "skip"

    def _follow(self, found: Found, candidate: Candidate, known: Known | None, now: float) -> Followed:
        followed = Followed.of(found, candidate.file, known, max_line_bytes=self._max_line_bytes, now=now)
        candidate.release()
        self.held.pop(found.key, None)
        self._held_before.pop(found.key, None)
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
        self._catalogue.adopt(followed.known)
        self.by_sid[followed.sid] = followed

    # Losing

    def rewritten(self, followed: Followed) -> None:
        """The file no longer holds what was read from it: it is held, and its source waits for an heir."""
        known = followed.known
        climb = followed.origin.former
        if known is not None:
            climb = Climb(known, followed.reader.offset)
            self._disown(followed)
            path = files.spelled(followed.path)
            self._losses.lose(known, path, self._clock(), "truncated")
        if climb is None:
            self._note("rewritten", followed)
            followed.start_over()
        else:
            self._hold_back(followed, climb.again())

    def free_to(self, climb: Climb) -> bool:
        """Return whether a file that holds a source whole may go on: a copy only if no other file has the source."""
        return not climb.copy or climb.known.source.sid in self._catalogue.orphans

    def told_copy(self, followed: Followed) -> None:
        """Say that a file only repeats what is archived."""
        detail = "repeats what was archived from another file; it is not read unless it differs"
        self._notes.append(Note("copy", files.spelled(followed.path), end=followed.size, detail=detail))

    def resolved(self, followed: Followed, climb: Climb, reached: Reached) -> None:
        """A comparison has found where to go on: with the same source, or with a new one behind what is archived."""
        self.climbing.discard(followed)
        sid = climb.known.source.sid
        if not reached.differs and sid in self._catalogue.orphans:
            followed.resume(climb, reached)
            self.adopted(followed)
            return
        if climb.copy and climb.others:
            other, *rest = climb.others
            self._hold_back(followed, Climb(other, other.offset, copy=True, others=tuple(rest)))
            return
        former = climb.again()
        if climb.copy:
            followed.begin(Origin(former=former))
            return
        continues = reached.sid if reached.offset else ""
        followed.begin(Origin(reached.offset, continues, reached.head, reached.tail, former))
        if not reached.differs:
            # No line will say soon that the file goes on here: the next start would not know.
            self.lineless.add(followed)
        kind: NoteKind = "shortened" if reached.offset else "rewritten"
        detail = f"held {reached.offset} of the {climb.limit} bytes that were read"
        self._notes.append(Note(kind, files.spelled(followed.path), sid, reached.offset, climb.limit, detail))

    def _lose_closed(self, followed: Followed) -> None:
        """Stop following a file that is gone and not open. Mostly it was read and committed: its content is known."""
        known, path = followed.known, files.spelled(followed.path)
        self._lose_sourceless(followed, "uncompared" if followed.climb is not None else "removed")
        self.forget(followed)
        if known is not None:
            self._losses.lose(known, path, self._clock(), "removed")

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
            self._losses.gap_of(at_risk)

    def _disown(self, followed: Followed) -> None:
        if followed.known is not None:
            self._catalogue.abandon(followed.known)
            self.by_sid.pop(followed.sid, None)

    def changed(self, followed: Followed) -> None:
        """A compressed file was written to: who it is now, its next inspection shows."""
        known = followed.known
        self.forget(followed)
        if known is not None:
            self._losses.lose(known, files.spelled(followed.path), self._clock(), "truncated")

    def forget(self, followed: Followed) -> None:
        """Stop following a file; its source stays known."""
        self.close(followed)
        self._unname(followed)
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
            self._deleted.pop(followed.path, None)
            self._deleted[followed.path] = held
            if len(self._deleted) > DELETED_MOST:
                del self._deleted[next(iter(self._deleted))]
        if self.follows(followed):
            del self.files[followed.key]
        self._disown(followed)

    def follows(self, followed: Followed) -> bool:
        """Return whether a file is still followed. Its inode may be another file's by now."""
        return self.files.get(followed.key) is followed

    def committed(self, followed: Followed) -> bool:
        """Return whether everything read from the file is durable in the archive."""
        if followed.known is None:
            return True
        state = self._sink.sources.get(followed.sid)
        return state is not None and state.offset >= followed.reader.offset

    # Opening

    def reopen(self, followed: Followed) -> bool:
        """Open the file again if it was closed; returns False if its name leads elsewhere by now."""
        if not followed.reader.file.closed:
            return True
        with self.descriptors.candidate(
            Found(followed.path, followed.file, *followed.key, 0, 0, followed.root)
        ) as opened:
            if opened is None:
                followed.trouble = self.descriptors.refused.get(
                    files.spelled(followed.path), followed.trouble
                )
                return False
            if opened.file.identity.generation != followed.generation:
                if followed.known is not None:
                    followed.known.gone = True
                self._lose_closed(
                    followed
                )  # another file has its inode number: the next listing says whose it is
                self.anew = True
                return False
            followed.reader.file = opened.release()
        followed.trouble = ""
        self.descriptors.took(followed)
        return True

    def close(self, followed: Followed) -> None:
        """Close a file; it is opened again when it is needed."""
        self.descriptors.close(followed)

    def _note(self, kind: NoteKind, followed: Followed, detail: str = "") -> None:
        path = files.spelled(followed.path)
        self._notes.append(Note(kind, path, followed.sid, followed.reader.offset, followed.size, detail))


def _is_folder(path: bytes) -> bool:
    with suppress(OSError):
        return stat.S_ISDIR(files.stat(path).st_mode)
    return False


def _rank(candidate: Candidate, bound: Sequence[Known]) -> _Rank:
    here = candidate.file.identity
    known = [k.offset for k in bound if here.may_be(k.device, k.inode, k.generation)]
    return _Rank.READ if any(known) else _Rank.KNOWN if known else _Rank.NEW


def _own(candidate: Candidate, bound: Sequence[Known]) -> list[Known]:
    """Return the sources among ``bound`` that were last read from this very file, the newest last."""
    here = candidate.file.identity
    own = [
        known
        for known in bound
        if here.may_be(known.device, known.inode, known.generation)
        and not known.gone
        and known.source.internal == candidate.internal
    ]
    return sorted(own, key=lambda known: known.source.first_seen_us)


def _begins_as(candidate: Candidate, original: Followed) -> bool:
    head = original.reader.head
    return candidate.file.pread(len(head), 0) == head[: candidate.size]
