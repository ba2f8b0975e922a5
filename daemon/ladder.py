"""How much of what was read of a file is still there: the longest prefix, at a line's end, that equals the archive.

A file may lose its last lines (an editor, a power cut that took them from the page cache), or all of them. Where it
differs from what was archived, reading goes on; what it still holds is not read again. Digests of the ledger find the
last commit whose bytes are all there; behind it the lines are read again and compared with their rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from daemon.files import Content
from daemon.reader import MARK_BYTES, Reader, Span, short_hash
from parsers.batch import Chunk, Place, Source
from storage.lineage import Segment, lineage
from storage.past import Past, Stretch
from storage.records import Rung, SourceState
from storage.snapshot import Snapshot
from storage.transform import ParseOptions, Transformer

READ_BYTES = 1 << 20  # of a file that is compared or hashed: what one piece holds in memory
EDITED_MOST = (
    8  # lines changed in place that do not make a file another one: the archive keeps them as they were
)
UNCHANGED_LEAST = 8  # lines behind the first edited one that must be as they were, for each that is not
COMPARED_BYTES = 8 << 20  # of lines parsed and compared at a time: about 10,000
_NEWLINE = b"\n"
_NOWHERE = Place("", 0, 0, None, 0)


class GivenUpError(Exception):
    """The comparison is not wanted any more."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A file holds what is archived up to ``offset``, the end of a line; the last of it under the source ``sid``.

    ``differs``: a complete line follows that is not what was archived. Otherwise the file ends there, or within a
    line. ``unended``: that is an archived line of which only the newline is missing. ``head`` and ``tail`` are the first
    bytes and those before ``offset``, as they were compared.
    """

    offset: int
    sid: str
    differs: bool
    head: bytes
    tail: bytes
    unended: bool = False


class Ladder(Protocol):
    """What compares a file with the archive. Blocking; for one thread of its own."""

    def climb(
        self, sid: str, limit: int, content: Content, *, since: Reached | None, wanted: Callable[[], bool]
    ) -> Reached:
        """Return how much of the first ``limit`` bytes that were read of a source a file still holds.

        Everything up to ``limit`` must be committed. ``since`` is what an earlier comparison of the file reached.
        Raises RewrittenError if the file changes meanwhile, GivenUpError once ``wanted`` says no.
        """
        ...


class Archived(Protocol):
    """What the ladder needs of the archive."""

    @property
    def sources(self) -> Mapping[str, SourceState]:
        """Committed state of every source, by sid."""
        ...

    @property
    def snapshot(self) -> Snapshot:
        """The committed files."""
        ...


class ArchiveLadder:
    """Compares with an archive; what it needs for that lives only as long as one comparison."""

    def __init__(self, archive: Archived, options: ParseOptions, max_line_bytes: int) -> None:
        self._archive = archive
        self._options = options
        self._max_line_bytes = max_line_bytes

    def climb(
        self, sid: str, limit: int, content: Content, *, since: Reached | None, wanted: Callable[[], bool]
    ) -> Reached:
        """See `Ladder`."""
        climber = _Climber(self._archive, self._options, self._max_line_bytes, content, wanted)
        try:
            return climber.climb(lineage(self._archive.sources, sid), limit, since)
        finally:
            climber.close()


class _Climber:
    """One comparison: how far it came, and the bytes before that place as they were when they were compared."""

    def __init__(
        self,
        archive: Archived,
        options: ParseOptions,
        max_line_bytes: int,
        content: Content,
        wanted: Callable[[], bool],
    ) -> None:
        self._archive = archive
        self._options = options
        self._max_line_bytes = max_line_bytes
        self._content = content
        self._wanted = wanted
        self._position = 0
        self._head = b""
        self._tail = b""
        self._differs = False
        self._edited = 0  # lines that differ
        self._compared = 0  # lines compared
        self._passing = False  # looks whether the lines behind those are as they were
        self._transformer: Transformer | None = None
        self._past: Past | None = None

    def close(self) -> None:
        """Free the parser and the connection, if they were needed."""
        if self._transformer is not None:
            self._transformer.close()
        if self._past is not None:
            self._past.close()

    def climb(self, segments: Sequence[Segment], limit: int, since: Reached | None) -> Reached:
        """Climb segment by segment, until one is not there whole."""
        self._head = self._content.pread(MARK_BYTES, 0)
        if since is not None and self._holds(since):
            self._position, self._tail = since.offset, since.tail
        else:
            self._position = segments[
                0
            ].start  # 0, unless the ledger has forgotten what this source continues
        for segment in segments:
            end = min(segment.end, limit)
            if self._position < end and not self._segment(segment.source, end):
                self._pass_edit(segments, limit)
                break
        holder = next((s for s in segments if self._position <= s.end), segments[-1])  # of the byte before
        head = self._head[: self._position]
        unended = self._unended(segments, limit)
        return Reached(self._position, holder.source.sid, self._differs, head, self._tail, unended)

    def _holds(self, since: Reached) -> bool:
        start = since.offset - len(since.tail)
        return self._head.startswith(since.head) and self._content.pread(len(since.tail), start) == since.tail

    def _segment(self, source: SourceState, end: int) -> bool:
        """Compare up to ``end``; return whether everything is there."""
        while self._position < end:
            self._by_digest(source.rungs, end)
            if self._position < end and not self._by_row(source, end):
                return False
        return True

    def _pass_edit(self, segments: Sequence[Segment], limit: int) -> None:
        """Go to ``limit`` if only a few lines were changed in place: all others are where they were, and the last ones too.

        A file that was written anew has other lines, or the same at other places.
        """
        source = segments[-1].source
        seam = self._content.pread(source.seam_length, source.offset - source.seam_length)
        untouched = source.offset == limit and len(seam) and short_hash(seam) == source.seam
        if not self._differs or not untouched or self._content.size() < limit:
            return
        before = self._position, self._tail
        self._passing, self._edited, self._compared = True, 0, 0
        for segment in segments:
            while self._position < segment.end:
                if not self._by_row(segment.source, segment.end):
                    self._position, self._tail = before
                    return
        if self._compared - self._edited < UNCHANGED_LEAST * self._edited:
            self._position, self._tail = before
            return
        self._differs = False

    # By digest

    def _by_digest(self, rungs: Sequence[Rung], end: int) -> None:
        """Go up to the last rung that fits: as long as the next one begins where the one before ended."""
        while ends := {r.end: r.digest for r in rungs if r.start == self._position < r.end <= end}:
            before = self._position
            self._hash(sorted(ends), ends)
            if self._position == before:
                return

    def _hash(self, ends: Sequence[int], wanted: Mapping[int, str]) -> None:
        digest = hashlib.sha256()
        position, tail = self._position, self._tail
        for end in ends:
            while position < end:
                self._go_on()
                block = self._content.pread(min(READ_BYTES, end - position), position)
                if not block:
                    return
                digest.update(block)
                position += len(block)
                tail = _tail(tail, block)
            if digest.copy().hexdigest() != wanted[end]:
                return
            self._position, self._tail = position, tail

    # By row

    def _by_row(self, source: SourceState, end: int) -> bool:
        """Compare the next lines with their rows; return False where they differ or the file ends."""
        stop = min([r.start for r in source.rungs if self._position < r.start < end], default=end)
        if self._passing:
            stop = end
        chunks, tails, reader = self._lines(source, stop)
        if not chunks:
            # Nothing ends before the place where something archived ended: a longer line, or the file's end.
            self._differs = self._content.size() > stop and self._line_follows()
            return False
        reached = chunks[-1].end
        stretch = self._stretch(source, reached)
        if stretch.end < reached:
            chunks, tails, reader = self._lines(source, stretch.end)
        if not chunks:
            self._differs = True  # a line reaches over the place where an archived one begins
            return False
        differences = self._differences(stretch, chunks)
        self._edited += len(differences)
        self._compared += stretch.events.num_rows + stretch.rejects.num_rows
        if not differences or self._passing:
            self._position, self._tail = reader.offset, reader.tail
            return self._edited <= EDITED_MOST
        difference = differences[0]
        at = next((i for i, chunk in enumerate(chunks) if difference < chunk.end), len(chunks) - 1)
        chunk = chunks[at]
        before = chunk.data[: max(0, difference - chunk.start)]
        whole = before[: before.rfind(b"\n") + 1]
        self._position = chunk.start + len(whole)
        self._tail = _tail(tails[at], whole)
        self._differs = True
        return False

    def _stretch(self, source: SourceState, reached: int) -> Stretch:
        """Return what is archived from here up to ``reached``, or as far as one profile read it."""
        if self._past is None:
            self._past = Past(lambda: self._archive.snapshot)
        return self._past.stretch(
            source.sid, self._position, reached, _seqs(source.rungs, self._position, reached)
        )

    def _differences(self, stretch: Stretch, chunks: Sequence[Chunk]) -> list[int]:
        """Return the first few offsets at which some lines do not say what is archived."""
        assert self._past is not None
        if stretch.parser is not None:
            chunks = [replace(c, source=replace(c.source, profile=stretch.parser)) for c in chunks]
        if self._transformer is None:
            self._transformer = Transformer(self._options)
        return self._past.differences(stretch, self._transformer.parse(chunks))

    def _unended(self, segments: Sequence[Segment], limit: int) -> bool:
        """Return whether the file ends with a line that is archived at this place and only lost its newline."""
        size = self._content.size()
        if self._differs or not self._position < size < limit:
            return False
        source = next(s.source for s in segments if self._position < s.end)
        reader = self._reader()
        span: Span | None = None
        while span is None:
            self._go_on()
            before = reader.position
            span = reader.read(size, finish=True)
            if span is None and reader.position == before:
                return False
        if span.end != size or span.nul_bytes:
            return False
        ended = size + len(_NEWLINE)
        line = replace(_chunk(source, span), end=ended)
        if line.data:
            line = replace(line, data=line.data + _NEWLINE)
        stretch = self._stretch(source, ended)
        return stretch.end == ended and not self._differences(stretch, [line])

    def _lines(self, source: SourceState, stop: int) -> tuple[list[Chunk], list[bytes], Reader]:
        """Read the lines that end at or before ``stop``, a batch at most; with the bytes before each chunk."""
        reader = self._reader()
        size = min(self._content.size(), stop)
        chunks: list[Chunk] = []
        tails: list[bytes] = []
        while reader.offset - self._position < COMPARED_BYTES:
            self._go_on()
            before, tail = reader.position, reader.tail
            span = reader.read(size)
            if span is not None:
                chunks.append(_chunk(source, span))
                tails.append(tail)
            elif reader.position == before:
                break
        return chunks, tails, reader

    def _line_follows(self) -> bool:
        """Return whether a complete line begins where the comparison stands."""
        reader = self._reader()
        size = self._content.size()
        while True:
            self._go_on()
            before = reader.position
            if reader.read(size) is not None:
                return True
            if reader.position == before:
                return False

    def _reader(self) -> Reader:
        return Reader(
            self._content, self._max_line_bytes, self._position, self._head[: self._position], self._tail
        )

    def _go_on(self) -> None:
        if not self._wanted():
            raise GivenUpError


def _tail(before: bytes, block: bytes) -> bytes:
    return block[-MARK_BYTES:] if len(block) >= MARK_BYTES else (before + block)[-MARK_BYTES:]


def _seqs(rungs: Sequence[Rung], start: int, end: int) -> tuple[int, int | None]:
    """Return between which numbers the rows of a source's bytes ``[start, end)`` lie: above the first, not above the second."""
    low = max((rung.seq for rung in rungs if rung.end <= start), default=0)
    high = min((rung.seq for rung in rungs if rung.end >= end), default=None)
    return low, high


def _chunk(source: SourceState, span: Span) -> Chunk:
    return Chunk(
        source=Source(
            source.sid,
            source.file,
            source.first_seen_us,
            source.file_date_us,
            source.profile,
            source.internal,
        ),
        start=span.start,
        end=span.end,
        data=span.data,
        mark=span.mark,
        place=_NOWHERE,
        oversize=span.oversize,
        nul_bytes=span.nul_bytes,
    )
