"""Who a file is. A source is bound by inode and verified by content: its first bytes and those before the offset.

The rules, for a file that was found:
1. The inode of a known source, and its content matches: the same source, read on.
2. Content of a source that no file holds any more: renamed across file systems, restored, copied before truncation.
   Rules 1 and 2 need something that is archived. A source without a byte says no more than how a file began.
3. The beginning of a file that is being followed: a copy. It is held back until it differs or takes over. The
   beginning of what a file held that has lost it since: the same, once the archive says so (`daemon.climbing`).
4. The inode of a known source with other content, or a file put in the place of one that was deleted: rewritten. What
   it still holds of the source is not read again: a new source from the first line that differs, which is the first
   one of all if nothing is left.
5. Otherwise: a new source, or one that was registered for such a beginning and of which nothing was archived since.
No name, age or modification time decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from daemon.files import Content
from daemon.reader import MARK_BYTES, short_hash
from parsers.batch import Mark, Place, Source
from storage.atrisk import FileAtRisk, FileKey
from storage.records import SourceSeen, SourceState

COMPARED_MOST = 4  # a file may repeat the beginning of several: files of one service often begin alike


class Sink(Protocol):
    """What the tailer needs of the archive."""

    @property
    def sources(self) -> Mapping[str, SourceState]:
        """Committed state of every source, by sid."""
        ...

    def register_all(self, seen: Sequence[SourceSeen]) -> list[Source]:
        """Make new sources durable and return them with their sids, in the same order. Blocks."""
        ...

    @property
    def files_at_risk(self) -> Mapping[FileKey, FileAtRisk]:
        """The files of which a crash would lose bytes that no source has, as they are recorded."""
        ...

    def at_risk(self, sizes: Mapping[str, int], files: Sequence[FileAtRisk]) -> None:
        """Make durable how many bytes of some sources are known, and what is at risk of some files. Blocks."""
        ...


@dataclass(slots=True)
class Known:
    """A source and how far it was read in this process (after a start: how far it is committed)."""

    source: Source
    device: int
    inode: int
    generation: int | None
    offset: int
    head: str
    head_length: int
    seam: str
    seam_length: int
    size: int  # the greatest size seen, bytes
    path: str  # where it was last
    gone: bool = False  # its file was deleted while it was open: a later one of that inode is another

    @classmethod
    def of(cls, state: SourceState) -> Known:
        """Return the source as it was committed."""
        return cls(
            source=Source(
                sid=state.sid,
                file=state.file,
                first_seen_us=state.first_seen_us,
                file_date_us=state.file_date_us,
                profile=state.profile,
                internal=state.internal,
            ),
            device=state.device,
            inode=state.inode,
            generation=state.generation,
            offset=state.offset,
            head=state.head,
            head_length=state.head_length,
            seam=state.seam,
            seam_length=state.seam_length,
            size=state.size,
            path=state.path,
        )

    @classmethod
    def new(cls, source: Source, place: Place, seen: SourceSeen) -> Known:
        """Return a source as it was registered, of which nothing was read yet; what is before it must be there all the same."""
        return cls(
            source=source,
            device=place.device,
            inode=place.inode,
            generation=place.generation,
            offset=seen.base,
            head=seen.head,
            head_length=seen.head_length,
            seam=seen.seam,
            seam_length=seen.seam_length,
            size=place.size,
            path=place.path,
        )

    def advance(self, mark: Mark, offset: int, place: Place) -> None:
        """Note that the source was read up to ``offset``."""
        self.device, self.inode, self.generation = place.device, place.inode, place.generation
        self.head, self.head_length = mark.head, mark.head_length
        self.seam, self.seam_length = mark.seam, mark.seam_length
        self.offset = offset
        self.path = place.path
        self.size = max(self.size, place.size)

    @property
    def key(self) -> tuple[int, int]:
        """Return the file it was last bound to."""
        return self.device, self.inode


class Catalogue:
    """All sources that are known, and the ones among them that no open file holds (orphans)."""

    def __init__(self, states: Iterable[SourceState]) -> None:
        self.known: dict[str, Known] = {}
        self.orphans: dict[str, Known] = {}
        self.reserved: set[str] = set()  # orphans whose own file is there and cannot be read now
        self.claimed: set[str] = set()  # orphans whose own file is there, holds them, and waits to be bound
        # Orphans by what a file must begin with to be theirs: head length → head → sids.
        self._by_head: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for state in states:
            self.abandon(Known.of(state))  # until files are found

    def by_inode(self) -> dict[tuple[int, int], list[Known]]:
        """Return all sources by the file they were last bound to, longest first."""
        found: dict[tuple[int, int], list[Known]] = defaultdict(list)
        for known in self.known.values():
            found[known.key].append(known)
        for entries in found.values():
            entries.sort(key=lambda known: -known.offset)
        return found

    def same(self, file: Candidate, bound: Sequence[Known]) -> list[Known]:
        """Return the orphans among ``bound`` that the file holds and that were its own, the one read furthest first (rule 1)."""
        here = file.file.identity
        own = (k for k in bound if k.source.sid in self.orphans)
        return [k for k in own if here.may_be(k.device, k.inode, k.generation) and file.holds(k)]

    def heir(self, file: Candidate, awaited: Callable[[Known], bool]) -> Known | None:
        """Return the orphan whose content the file holds, the one read furthest if there are several (rule 2).

        One of which nothing is archived is nobody's to take over: each file that begins as it did would hold it. Nor is
        one that its own file may yet go on with, as ``awaited`` says.
        """
        taken = self.reserved | self.claimed
        free = (k for k in self._alike(file) if k.offset and k.source.sid not in taken and not awaited(k))
        return next((known for known in free if file.holds(known)), None)

    def unread(self, file: Candidate, own: Sequence[Known]) -> Known | None:
        """Return the orphan of which nothing is archived as which a new file is read: one of its ``own`` if there is one.

        So a source that was registered and not committed before a kill keeps its name.
        """
        taken = self.reserved | self.claimed
        others = (k for k in self._alike(file) if k.source.sid not in taken and not k.offset)
        free = (k for k in (*own, *others) if k.source.sid in self.orphans and file.holds(k))
        return next(free, None)

    def waits(self, file: Candidate) -> bool:
        """Return whether a file begins as a source whose own file is there and cannot be read now."""
        return any(known.source.sid in self.reserved for known in self._alike(file))

    def begun(self, file: Candidate) -> list[Known]:
        """Return the orphans of which the file may hold the beginning, and no more (rule 3), the last read first."""
        longer = (known for known in self._alike(file) if known.offset > file.size)
        same = [known for known in longer if known.source.internal == file.internal]
        return sorted(same, key=lambda known: -known.source.first_seen_us)[:COMPARED_MOST]

    def replaced(self, file: Candidate, path: str) -> Known | None:
        """Return the orphan that was last at ``path``, if the file begins as it did: by more than chance (rule 4)."""
        alike = (k for k in self._alike(file) if k.offset and k.head_length >= MARK_BYTES)
        there = [k for k in alike if k.path == path]
        return max(there, key=lambda known: known.source.first_seen_us, default=None)

    def _alike(self, file: Candidate) -> list[Known]:
        """Return the orphans whose first bytes the file has, the one read furthest first."""
        similar = [
            self.orphans[sid]
            for length, heads in self._by_head.items()
            if length <= file.size
            for sid in heads.get(file.head(length), ())
        ]
        return sorted(similar, key=lambda known: -known.offset)

    def windows(self, head: bytes) -> list[tuple[int, int]]:
        """Return which bytes (offset, length) of a file with these first ones tell whether it holds a known source."""
        begins = {
            length: short_hash(head[:length]) for length in {k.head_length for k in self.known.values()}
        }
        return [
            (known.offset - known.seam_length, known.seam_length)
            for known in self.known.values()
            if known.seam_length
            and known.head_length <= len(head)
            and begins[known.head_length] == known.head
        ]

    def adopt(self, known: Known) -> None:
        """Note that an open file holds this source."""
        sid = known.source.sid
        self.known[sid] = known
        if self.orphans.pop(sid, None) is not None:
            self._by_head[known.head_length][known.head].discard(sid)

    def abandon(self, known: Known) -> None:
        """Note that no open file holds this source any more; a file with its content may take it over."""
        sid = known.source.sid
        self.known[sid] = known
        self.orphans[sid] = known
        self._by_head[known.head_length][known.head].add(sid)


@dataclass(slots=True)
class Candidate:
    """An open file whose source is being looked for. Hashes of its beginning are computed once for each length."""

    file: Content
    size: int
    internal: bool
    _heads: dict[int, str] = field(default_factory=dict)
    _released: bool = False

    @classmethod
    def of(cls, file: Content, *, internal: bool) -> Candidate:
        """Look at an open file."""
        return cls(file, file.size(), internal)

    def release(self) -> Content:
        """Hand the file over: `close` leaves it open then."""
        self._released = True
        return self.file

    def close(self) -> None:
        """Close the file unless it was handed over."""
        if not self._released:
            self.file.close()

    def head(self, length: int) -> str:
        """Return the short hash of the first ``length`` bytes."""
        if length not in self._heads:
            self._heads[length] = short_hash(self.file.pread(length, 0))
        return self._heads[length]

    def holds(self, known: Known) -> bool:
        """Return whether the file begins with everything that was read of a source, as far as its marks can tell."""
        if known.source.internal != self.internal or self.size < max(known.offset, known.head_length):
            return False
        if not known.head_length or self.head(known.head_length) != known.head:
            return False
        return seam_is(self.file, known)


def seam_is(file: Content, known: Known) -> bool:
    """Return whether the bytes before a source's offset are those that were read."""
    if not known.seam_length:
        return True  # nothing was committed yet
    seam = file.pread(known.seam_length, known.offset - known.seam_length)
    return len(seam) == known.seam_length and short_hash(seam) == known.seam


def same_bytes(left: Content, right: Content, size: int) -> bool:
    """Return whether two files agree in the first and last MARK_BYTES of their first ``size`` bytes."""
    start = max(0, size - MARK_BYTES)
    return left.pread(MARK_BYTES, 0)[:size] == right.pread(MARK_BYTES, 0)[:size] and left.pread(
        size - start, start
    ) == right.pread(size - start, start)
