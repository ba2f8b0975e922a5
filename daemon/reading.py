"""What a turn of the tailer brings: readings (a chunk and where it came from), notes, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field

from daemon.following import Followed
from daemon.notes import Note
from daemon.reader import BLOCK_BYTES, Span, short_hash
from parsers.batch import Chunk, Mark, Place
from storage.records import SourceSeen


@dataclass(frozen=True, slots=True)
class Reading:
    """A chunk, how many lines it holds, when its newest bytes were written, and whether its file is a live one."""

    chunk: Chunk
    lines: int
    written_us: int  # wall clock in microseconds since 1970; 0 while catching up: unknown
    live: bool


@dataclass(slots=True)
class Turn:
    """What one turn brought. ``wait`` is how long nothing needs to be looked at, in seconds."""

    readings: list[Reading] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    more: bool = False  # there is more to read at once
    urgent: bool = False  # what was read from a file that is going away should be committed now
    wait: float = 0.0
    trouble: Exception | None = (
        None  # why the ledger could not be told of new sources, whose lines stay where they are, or of what is at risk
    )


@dataclass(frozen=True, slots=True)
class Spanned:
    """A span just read, and the file it came from as it was then."""

    followed: Followed
    span: Span
    place: Place
    live: bool
    fresh: bool  # written since this process began, and not part of a backlog
    read_at_us: int

    def reading(self) -> Reading:
        """Advance the source and return the span as its chunk."""
        known, span = self.followed.known, self.span
        assert known is not None
        known.advance(span.mark, span.end, self.place)
        chunk = Chunk(
            source=known.source,
            start=span.start,
            end=span.end,
            data=span.data,
            mark=span.mark,
            place=self.place,
            oversize=span.oversize,
            nul_bytes=span.nul_bytes,
            torn=span.torn,
            read_at_us=self.read_at_us,
        )
        lines = span.data.count(b"\n") + 1
        return Reading(chunk, lines, self.followed.written_ns // 1000 if self.fresh else 0, self.live)


def seen(followed: Followed, mark: Mark, last: Span | None, place: Place, read_at_us: int) -> SourceSeen:
    """Return what the archive is told of a new source: ``mark`` is that of its first span, or of where it will begin.

    ``last`` is the last span read of it until now, if there is one.
    """
    origin = followed.origin
    # Of a file that is larger, more lines were there than were read.
    whole = (
        last is not None and place.size - origin.base <= BLOCK_BYTES and last.mark.digest_from == origin.base
    )
    return SourceSeen(
        path=place.path,
        file=followed.file,
        device=followed.device,
        inode=followed.inode,
        generation=followed.generation,
        head=mark.head,
        head_length=mark.head_length,
        internal=followed.root.internal,
        profile=followed.root.profile,
        file_date_us=followed.date_us,
        first_seen_us=read_at_us,
        base=origin.base,
        continues=origin.continues,
        seam=short_hash(origin.tail) if origin.tail else "",
        seam_length=len(origin.tail),
        size=place.size,
        first_end=last.end if last is not None and whole else 0,
        first_digest=last.mark.digest if last is not None and whole else "",
    )
