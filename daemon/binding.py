"""Binds found files to sources. The rules are in `daemon.sources`.

A listing goes through it in one direction: names (`daemon.names`), what is nobody's yet, who that is, and what is lost.
Belongs to the tailer's thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

from daemon import files
from daemon.alike import Alike
from daemon.books import MAX_UNPACKED_BYTES, Books
from daemon.copies import Copies, OnCopy
from daemon.discovery import Found, Scan, Watchable
from daemon.following import Climb, Followed
from daemon.losses import LOST_WAIT_SECONDS
from daemon.names import Look, Names
from daemon.precursors import never_archived
from daemon.reader import MARK_BYTES
from daemon.rewrites import Rewrites
from daemon.sources import Candidate, Known, Sink

ByInode = Mapping[tuple[int, int], Sequence[Known]]


class _Rank(IntEnum):
    """What a file's inode says of it."""

    READ = 0  # something that was read from it is archived
    KNOWN = 1  # what was last read from it is not archived
    NEW = 2


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A file whose inode does not tell who it is; ``own`` are the sources that it was last, and of which nothing is archived."""

    found: Found
    rank: _Rank
    own: Sequence[Known]


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
        self.books = Books(sink, max_line_bytes, max_open_files, lock, clock, max_unpacked_bytes, lost_wait)
        self.names = Names(self.books)
        self.copies = Copies(self.books, on_copy, clock)
        self.rewrites = Rewrites(self.books, clock)
        self.roots: tuple[Watchable, ...] = ()
        self.unwatchable: dict[bytes, str] = {}  # roots where notices are no help, and why
        self.folders = 0  # those that need a watch
        self.problems: tuple[str, ...] = ()

    @property
    def rescan_soon(self) -> bool:
        """Return whether something waits to be decided by a listing."""
        books = self.books
        return self.copies.waiting or books.losses.waiting or books.packs.waiting

    def reconcile(self, scan: Scan, now: float, look: Look, recheck: Look) -> list[Followed]:
        """Follow what is new, move what was renamed, notice what is gone. Returns the files to be read."""
        self.roots = scan.roots
        self.unwatchable = dict(scan.unwatchable)
        self.folders = scan.folders
        books = self.books
        if scan.changed:
            self.names.compare(scan, now, look)
        loose = scan.files if scan.loose is None else scan.loose
        keys = {entry.key for entry in loose}
        self.copies.keep(keys)
        books.precursors.keep(keys)
        books.descriptors.begin()
        books.losses.miss_unopened(scan, keys, books.files)
        started = self._bind(self._unbound(loose, keys, now, recheck), loose, now, recheck)
        if started or scan.changed:
            self.names.supersede()
        books.look_for_spares()
        books.losses.miss(scan, now)
        for at_risk in books.exposure.missing(scan, keys):
            books.losses.gap_of(at_risk)
        books.losses.settle(now, hold=books.packs.waiting)
        self.problems = tuple(f"{files.spelled(p.path)}: {p.reason}" for p in scan.problems) + tuple(
            f"{path}: {reason}" for path, reason in books.descriptors.refused.items()
        )
        return started

    def _unbound(
        self, loose: Sequence[Found], keys: AbstractSet[tuple[int, int]], now: float, recheck: Look
    ) -> list[Found]:
        """Return the files that are nobody's yet, larger ones first: of two that begin alike the shorter is the copy."""
        books = self.books
        # An empty file is nobody yet: it may be a copy that has only begun.
        new = (entry for entry in loose if entry.size and entry.key not in books.files)
        books.packs.keep(keys | books.files.keys())
        unbound = sorted(books.packs.sift(new), key=lambda entry: -entry.size)
        if not all(map(self.copies.unchanged, unbound)):
            self._verify_changed(now, recheck)
        return unbound

    def _verify_changed(self, now: float, recheck: Look) -> None:
        """Notice files that were rewritten: that must be known before another file is compared with them."""
        for followed in list(self.books.files.values()):
            with suppress(OSError):
                info = files.stat(followed.path)
                if info.st_mtime_ns != followed.verified_ns and (info.st_dev, info.st_ino) == followed.key:
                    recheck(followed, now)

    def _bind(
        self, unbound: Sequence[Found], loose: Sequence[Found], now: float, recheck: Look
    ) -> list[Followed]:
        """Follow those files of which it can be told now who they are."""
        if not unbound:
            return []
        by_inode = self.books.catalogue.by_inode()
        self._remember_emptied([entry for entry in loose if not entry.size], by_inode)
        started, rest = self._bind_same(unbound, by_inode, now)
        alike = Alike(self.books.files.values() if rest else (), self.books.beginnings)
        for unknown in rest:
            with self.books.descriptors.candidate(unknown.found) as candidate:
                followed = None
                if candidate is not None:
                    with suppress(OSError):
                        followed = self._bind_other(unknown, candidate, alike, now, recheck)
            if followed is not None:
                started.append(followed)
                alike.add(followed)
        return started

    def _remember_emptied(self, empty: Sequence[Found], by_inode: ByInode) -> None:
        """Remember whose lines files held that are empty now: before another file takes those over and is its file."""
        for found in empty:
            if found.key not in by_inode or self.books.precursors.remembers(found.key):
                continue
            with self.books.descriptors.candidate(found) as candidate:
                if candidate is not None:
                    with suppress(OSError):
                        self.books.precursors.remember(candidate, by_inode[found.key])

    def _bind_same(
        self, unbound: Sequence[Found], by_inode: ByInode, now: float
    ) -> tuple[list[Followed], list[_Unknown]]:
        """Apply rule 1. Returns the files that are followed now, and the others in the order in which they are to be bound."""
        catalogue = self.books.catalogue
        started: list[Followed] = []
        rest: list[_Unknown] = []
        catalogue.reserved, catalogue.claimed = set(), set()
        for found in unbound:
            bound = by_inode.get(found.key, ())
            # A file that cannot be read now is nobody's, and what was read of it no other's: see the next listing.
            reserved = {known.source.sid for known in bound if not known.gone}
            catalogue.reserved |= reserved
            with self.books.descriptors.candidate(found) as candidate, suppress(OSError):
                if candidate is None:
                    continue
                same = catalogue.same(candidate, bound)
                catalogue.reserved -= reserved
                if same and same[0].offset and not self._went_on(candidate, bound, same[0]):
                    started.append(self._follow(found, candidate, same[0], now))
                    continue
                own = self.books.precursors.remember(candidate, bound)
                unread = [known for known in never_archived(own) if known in same]
                # Once it was compared it may go on with one of these.
                forks = filter(self.books.is_fork_without_a_byte, same)
                catalogue.claimed |= {known.source.sid for known in (*unread, *forks)}
                rank = _Rank.KNOWN if unread else _rank(candidate, bound)
                rest.append(_Unknown(found, rank, unread))
        # A file goes before its copy. One of which nothing is archived is no reason to go before a larger one.
        rest.sort(key=lambda unknown: (unknown.rank is not _Rank.READ, -unknown.found.size, unknown.rank))
        return started, rest

    def _bind_other(
        self, unknown: _Unknown, candidate: Candidate, alike: Alike, now: float, recheck: Look
    ) -> Followed | None:
        """Apply rules 2 to 5 to a file whose inode does not tell who it is; None: it is to be seen later."""
        found, books = unknown.found, self.books
        originals = alike.to(candidate.file.pread(MARK_BYTES, 0))
        if self.copies.waits_for_deleted(found, candidate, originals):
            return None
        for original in originals:
            # It may have been rewritten since: then its content is free to be taken over.
            recheck(original, now)
            if original.trouble and _begins_as(candidate, original):
                return None  # it cannot be read now, so nobody can tell whose these lines are
        former = None
        if not unknown.own:
            former = books.precursors.former(candidate, books.goes_on) or books.precursors.replaced(
                found, candidate
            )
        # One that was held as a copy and goes its own way is another log: all of it is read, unless it is known to have
        # been a log before. And where it is known whose lines a file held before, that decides where it goes on.
        if former is None and (unknown.own or found.key not in self.copies.held):
            for original in originals:
                if self.copies.outgrown(candidate, original):
                    books.forget(original)  # a copy that stayed behind: it has nothing that this one lacks
        if books.catalogue.waits(candidate):
            return None
        heir = books.catalogue.heir(candidate, books.awaited)
        if heir is not None and former is not None and books.goes_on(former.known, heir):
            heir = None  # it was rewritten, and holds more of what was read of it than this
        if heir is not None and not self.copies.better(candidate, heir, originals):
            claimant = self.copies.claimant(candidate, heir, originals)
            if claimant is not None and self._held(found, candidate, claimant, now):
                return None
            later = self._gone_on(candidate, heir)
            if later:
                return self._follow_copy(found, candidate, [*later, heir], now)
            return self._follow(found, candidate, heir, now)
        if former is not None:
            return self._follow_rewritten(found, candidate, former, now)
        repeated = next(
            (o for o in originals if books.follows(o) and self.copies.repeats(candidate, o)), None
        )
        if repeated is not None and self._held(found, candidate, repeated, now):
            return None
        begun = books.catalogue.begun(candidate) if repeated is None and found.size >= MARK_BYTES else []
        if begun:
            return self._follow_copy(found, candidate, begun, now)
        return self._follow(found, candidate, books.catalogue.unread(candidate, unknown.own), now)

    def _went_on(self, candidate: Candidate, bound: Sequence[Known], same: Known) -> bool:
        """Return whether the file went on behind a source that it holds, with lines that it does not hold whole any more."""
        here = candidate.file.identity
        own = (k for k in bound if not k.gone and here.may_be(k.device, k.inode, k.generation))
        return any(self.books.goes_on(known, same) for known in own)

    def _gone_on(self, candidate: Candidate, heir: Known) -> list[Known]:
        """Return what the archive goes on with where the heir ends, if the file may hold no more than the beginning of it."""
        return [
            known
            for known in self.books.catalogue.begun(candidate)
            if candidate.size > heir.offset and self.books.goes_on(known, heir)
        ]

    def _follow_copy(
        self, found: Found, candidate: Candidate, repeated: Sequence[Known], now: float
    ) -> Followed:
        """Follow a file that may repeat the beginning of one of some sources, and no more (rule 3)."""
        first, *others = repeated
        followed = self._follow(found, candidate, None, now)
        self.books.hold_back(followed, Climb(first, first.offset, copy=True, others=tuple(others)))
        return followed

    def _held(self, found: Found, candidate: Candidate, original: Followed, now: float) -> bool:
        """Hold a file back that repeats another one; returns False when it has been held long enough and is to be read."""
        held = self.copies.hold(found, original, now)
        if held:
            self.books.exposure.found(candidate.file.identity)
        return held

    def _follow_rewritten(self, found: Found, candidate: Candidate, former: Climb, now: float) -> Followed:
        """Follow a file that was rewritten while nobody looked, perhaps before it was read to its end (rule 4)."""
        followed = self._follow(found, candidate, None, now)
        if former.known.key == found.key:
            self.books.losses.lose(former.known, files.spelled(found.path), now, "truncated")
        self.books.hold_back(followed, former)
        return followed

    def _follow(self, found: Found, candidate: Candidate, known: Known | None, now: float) -> Followed:
        self.copies.bound(found.key)
        return self.books.follow(found, candidate, known, now)


def _rank(candidate: Candidate, bound: Sequence[Known]) -> _Rank:
    here = candidate.file.identity
    known = [k.offset for k in bound if here.may_be(k.device, k.inode, k.generation)]
    return _Rank.READ if any(known) else _Rank.KNOWN if known else _Rank.NEW


def _begins_as(candidate: Candidate, original: Followed) -> bool:
    head = original.reader.head
    return candidate.file.pread(len(head), 0) == head[: candidate.size]
