"""What passes between the tailer, the parser and the archive: chunks of complete lines, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Source:
    """A file as identified by content. Times are microseconds since 1970, UTC."""

    sid: str  # 32 hex digits, random
    file: str  # path below its log directory, as last seen
    first_seen_us: int  # when its `source` record became durable
    file_date_us: int | None  # start of the day in its name, if it has one
    profile: str  # "auto" or a profile's name
    internal: bool  # the daemon's own log


@dataclass(frozen=True, slots=True)
class Oversize:
    """A line longer than the limit: where it began, its whole length and hash, and its first bytes."""

    offset: int
    length: int
    sha256: str
    head: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """What identifies a source's content at an offset, so that resuming there can be checked.

    ``head``: BLAKE2b-128 of the first ``head_length`` bytes; ``seam``: of the last ``seam_length`` bytes before
    ``Chunk.end``; ``digest``: SHA-256 of the bytes from ``digest_from`` to ``Chunk.end``, as read. All hex.
    """

    head: str
    head_length: int
    seam: str
    seam_length: int
    digest: str
    digest_from: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where the file was when the chunk was read: hints for binding, never proof."""

    path: str  # absolute path, undecodable bytes as surrogate escapes
    device: int
    inode: int
    generation: int | None
    size: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive bytes ``[start, end)`` of one source.

    ``data`` holds complete lines, each with its newline (only the last line of a sealed file may lack it: ``torn``
    is then True). A chunk for an oversize line has empty ``data`` and one entry in ``oversize``; a chunk for a
    hole of NUL bytes has empty ``data`` and ``nul_bytes`` > 0. ``end - start`` is then more than ``len(data)``.
    """

    source: Source
    start: int
    end: int
    data: bytes
    mark: Mark
    place: Place
    oversize: tuple[Oversize, ...] = ()
    nul_bytes: int = 0
    torn: bool = False
    read_at_us: int = 0  # wall clock when the newest of these bytes was read


@dataclass(frozen=True, slots=True)
class Counts:
    """How the lines of a range ended: ``lines`` is always the sum of the others."""

    lines: int = 0
    events: int = 0
    rejects: int = 0
    blanks: int = 0
    oversize: int = 0
    nul: int = 0
    torn: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Counts)))

    @property
    def balanced(self) -> bool:
        """True when every line is accounted for exactly once."""
        ends = self.events + self.rejects + self.blanks + self.oversize + self.nul + self.torn
        return self.lines == ends


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of some chunks: rows of PARSED_SCHEMA and PARSED_REJECT_SCHEMA in input order, counts per chunk."""

    events: pa.Table
    rejects: pa.Table
    counts: tuple[Counts, ...]
    redactions: dict[str, int]  # hits per redaction rule
