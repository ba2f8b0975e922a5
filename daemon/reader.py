"""One open file: its bytes from an offset on, as spans of complete lines. The offset only ever moves past a newline.

Bytes are read with pread in blocks (a mapped log that is truncated would kill the process). Nothing is carried from
one read to the next: an unfinished line stays in its file and is read again when the file has grown.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from daemon.files import Content
from parsers.batch import Mark, Oversize
from parsers.columns import REJECT_RAW_BYTES

BLOCK_BYTES = 1 << 20  # the cheapest block to read, per byte
MARK_BYTES = 1024  # how much of the beginning and before the offset identifies content
HASHED_HOLE_BYTES = (
    64 << 20
)  # a longer hole is not hashed (a second for each GB): the digest begins anew behind it
NUL_RUN_BYTES = 16  # this many NULs where a line should begin are a hole, fewer are part of a line
_NEWLINE = b"\n"
_HOLE = _NEWLINE + bytes(NUL_RUN_BYTES)


class RewrittenError(Exception):
    """The file no longer holds the bytes that were read from it: truncated, or overwritten."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``[start, end)`` of the file and what they are; see `parsers.batch.Chunk`."""

    start: int
    end: int
    data: bytes
    mark: Mark
    oversize: tuple[Oversize, ...] = ()
    nul_bytes: int = 0
    torn: bool = False


def short_hash(data: bytes) -> str:
    """Return the BLAKE2b-128 of some identifying bytes, hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _digest() -> Hasher:
    # SHA-256: most processors compute it twice as fast as BLAKE2b, and `sha256sum` can check it.
    return hashlib.sha256()


class Hasher(Protocol):
    """A hash that bytes are added to."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the hash so far."""
        ...


@dataclass(slots=True)
class _LongLine:
    """A line over the limit, of which the bytes up to ``position`` have been read and only hashed."""

    position: int
    sha256: Hasher
    head: bytes


@dataclass(slots=True)
class Reader:
    """Reads one open file. Blocking, for one thread.

    ``offset`` is where the next line begins; ``tail`` holds the bytes just before it, ``head`` the first bytes of
    the file as far as they are consumed (both at most MARK_BYTES); ``max_line_bytes`` does not count the newline.
    """

    file: Content
    max_line_bytes: int
    offset: int = 0
    head: bytes = b""
    tail: bytes = b""
    digest_from: int = field(init=False)
    _hash: Hasher = field(init=False, default_factory=_digest)
    _long: _LongLine | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.digest_from = self.offset

    def read(self, size: int, *, finish: bool = False) -> Span | None:
        """Return the next span, at most one block long; None when no complete line is there.

        ``size`` is the file's size now. ``finish`` says that nothing will be appended any more, so that an
        unterminated last line is taken as it is. Raises RewrittenError when what was read before is gone.
        """
        if size < self.position:
            raise RewrittenError
        self.verify()
        if self._long is not None:
            return self._skip(size, finish=finish)
        room = size - self.offset
        if room <= 0:
            return None
        limit = (
            self.max_line_bytes + 1
        )  # with its newline; a block of this size can hold no longer line unseen
        data = self.file.pread(min(BLOCK_BYTES, limit, room), self.offset)
        if _NEWLINE not in data and len(data) == BLOCK_BYTES < min(limit, room):
            data = self.file.pread(min(limit, room), self.offset)
        span = self._cut(data, size, finish=finish)
        self._verify_after(span, data)
        return self._advance(span, data) if span is not None else self._skip(size, finish=finish)

    @property
    def position(self) -> int:
        """How far bytes have been looked at and remembered."""
        return self._long.position if self._long else self.offset

    def verify(self) -> None:
        """Raise RewrittenError unless the first bytes and those before the offset are still those that were read."""
        if self.head and self.file.pread(len(self.head), 0) != self.head:
            raise RewrittenError  # lines of one length and with the same end leave the others as they were
        if self.tail and self.file.pread(len(self.tail), self.offset - len(self.tail)) != self.tail:
            raise RewrittenError

    def _verify_after(self, span: Span | None, data: bytes) -> None:
        # Bytes read while somebody truncated and rewrote the file may mix old and new: look once more, afterwards.
        self.verify()
        if span is None:
            return
        if self.file.size() < span.end:
            raise RewrittenError
        if not self.tail and self.file.pread(MARK_BYTES, self.offset)[: len(data)] != data[:MARK_BYTES]:
            raise RewrittenError  # nothing was read before: then these bytes are their own witness

    def _cut(self, data: bytes, size: int, *, finish: bool) -> Span | None:
        """Return what the bytes at the offset are: a hole, lines, or an unterminated end; None for neither."""
        hole = len(data) - len(data.lstrip(b"\0")) if data[:1] == b"\0" else 0
        if hole >= NUL_RUN_BYTES:
            return self._hole(hole, size, whole=hole == len(data), finish=finish)
        inner = data.find(_HOLE)
        end = inner + 1 if inner >= 0 else data.rfind(_NEWLINE) + 1
        if end:
            return self._span(data[:end])
        if len(data) > self.max_line_bytes:
            # Not carried: from here to the newline bytes are hashed and forgotten.
            self._long = _LongLine(self.offset + len(data), hashlib.sha256(data), data[:REJECT_RAW_BYTES])
            self._hash.update(data)
            return None
        if finish and data and self.offset + len(data) == size:
            return self._span(data, torn=True)
        return None

    def _hole(self, length: int, size: int, *, whole: bool, finish: bool) -> Span | None:
        end = self.offset + length
        if whole and end < size:
            end = min(size, self.file.data_from(end))  # a hole of gigabytes takes no time
        # NULs up to the end may be room that a writer reserved and still fills: wait until something follows.
        followed = self.offset + length < end < size
        if whole and not finish and not followed and self.file.pread(1, size - 1) in {b"\0", b""}:
            return None
        return Span(self.offset, end, b"", _UNMARKED, nul_bytes=end - self.offset)

    def _span(self, data: bytes, *, torn: bool = False) -> Span:
        return Span(self.offset, self.offset + len(data), data, _UNMARKED, torn=torn)

    def _advance(self, span: Span, read: bytes) -> Span:
        """Move past a span and return it with its marks."""
        if span.nul_bytes > len(read):
            return self._over_hole(span)
        raw = span.data or read[: span.end - span.start]  # no second copy of a block
        self._hash.update(raw)
        return self._moved(span, raw)

    def _over_hole(self, span: Span) -> Span:
        """Move past bytes that nobody wrote, without reading them."""
        if span.nul_bytes > HASHED_HOLE_BYTES:
            self._hash, self.digest_from = _digest(), span.end
        else:
            zeros = bytes(min(span.nul_bytes, BLOCK_BYTES))
            for start in range(0, span.nul_bytes, BLOCK_BYTES):
                self._hash.update(zeros[: span.nul_bytes - start])
        return self._moved(span, bytes(MARK_BYTES))

    def _moved(self, span: Span, raw: bytes) -> Span:
        """Move past a span that ends with the bytes ``raw``, which are hashed already."""
        if len(self.head) < MARK_BYTES and self.offset == len(self.head):
            self.head = (self.head + raw)[:MARK_BYTES]
        self.tail = (self.tail + raw)[-MARK_BYTES:] if len(raw) < MARK_BYTES else raw[-MARK_BYTES:]
        self.offset = span.end
        return Span(
            start=span.start,
            end=span.end,
            data=span.data,
            mark=self.mark(),
            oversize=span.oversize,
            nul_bytes=span.nul_bytes,
            torn=span.torn,
        )

    def mark(self) -> Mark:
        """Return what identifies the content up to the offset."""
        return Mark(
            head=short_hash(self.head),
            head_length=len(self.head),
            seam=short_hash(self.tail),
            seam_length=len(self.tail),
            digest=self._hash.hexdigest(),
            digest_from=self.digest_from,
        )

    def _skip(self, size: int, *, finish: bool) -> Span | None:
        """Read on in a line over the limit: one block, hashed and forgotten. Returns its span once it has ended."""
        long = self._long
        if long is None:
            return None
        data = self.file.pread(min(BLOCK_BYTES, size - long.position), long.position)
        found = data.find(_NEWLINE)
        part = data if found < 0 else data[: found + 1]
        long.position += len(part)
        ended = found >= 0
        content = part[:-1] if ended else part
        long.sha256.update(content)
        if len(long.head) < REJECT_RAW_BYTES:
            long.head = (long.head + content)[:REJECT_RAW_BYTES]
        self._hash.update(part)
        if not ended and not (finish and long.position >= size):
            return None
        length = long.position - self.offset - (1 if ended else 0)
        entry = Oversize(self.offset, length, long.sha256.hexdigest(), long.head)
        self._long = None
        span = Span(self.offset, self.offset + length + ended, b"", _UNMARKED, oversize=(entry,))
        start = max(self.offset, span.end - MARK_BYTES)
        end_bytes = self.file.pread(span.end - start, start)
        head = long.head if self.offset < MARK_BYTES else b""
        return self._moved_over(span, head, end_bytes)

    def _moved_over(self, span: Span, first: bytes, last: bytes) -> Span:
        """Move past a long line of which only the first and last bytes are at hand."""
        if len(self.head) < MARK_BYTES and self.offset == len(self.head):
            self.head = (self.head + first)[:MARK_BYTES]
        return self._moved(span, last)


_UNMARKED = Mark("", 0, "", 0, "", 0)
