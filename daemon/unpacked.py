"""A compressed file as the lines in it: an `Inspection` unpacks it once to see that it is whole, `Unpacked` reads it then.

Both keep a bounded window of what comes out, never the whole. Nothing of a file is handed on before its inspection has
reached the last checksum; whatever was read of it later is compared with the file the inspection saw.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from daemon.files import Identity, Plain
from daemon.reader import MARK_BYTES
from parsers.decoding import DamagedError, Format, Unpacker

STEP_BYTES = 256 << 10  # unpacked at once
REACH_BYTES = (
    1 << 20
)  # unpacked in one call of `Unpacked.reach`: a few hundredths of a second for the slowest format
_KEEP_BYTES = 4 * MARK_BYTES  # of what was read, so that the bytes before an offset can be looked at again

Windows = Callable[[bytes], Iterable[tuple[int, int]]]


class TooLargeError(DamagedError):
    """The file unpacks to more than is allowed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the inspection of a whole compressed file found. ``pieces`` are some bytes by (offset, length)."""

    identity: Identity
    raw_size: int
    mtime_ns: int
    size: int
    head: bytes
    tail: bytes
    pieces: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def are_of(self, size: int, mtime_ns: int) -> bool:
        """Return whether a compressed file of that size and last change is the one that was inspected."""
        return (self.raw_size, self.mtime_ns) == (size, mtime_ns)


class Inspection:
    """Unpacks a file from beginning to end, in steps, and keeps nothing but what identifies its content.

    ``windows`` is asked, with the first bytes, which other short ranges somebody will want to compare.
    """

    def __init__(self, raw: Plain, kind: Format, windows: Windows, most_bytes: int) -> None:
        self.raw = raw
        self._unpacker = Unpacker(raw.pread, kind)
        self._ask = windows
        self._most_bytes = most_bytes
        self._head = b""
        self._recent = b""
        self._wanted: list[tuple[int, int]] | None = None  # by where they end
        self._pieces: dict[tuple[int, int], bytes] = {}

    def step(self, most: int) -> Facts | None:
        """Unpack about ``most`` bytes more; returns what was found when the end is reached.

        Raises IncompleteError (more may come), DamagedError, and OSError when the file cannot be read.
        """
        info = self.raw.info()
        until = self._unpacker.position + most
        while self._unpacker.position < until:
            before = self._unpacker.position
            data = self._unpacker.read(STEP_BYTES)
            if not data:
                self._look(b"", before, ended=True)
                return self._facts(info)
            if self._unpacker.position > self._most_bytes:
                raise TooLargeError(
                    f"unpacks to more than {self._most_bytes} bytes: raise [logs] max_unpacked_bytes to have it read"
                )
            self._look(data, before, ended=False)
        return None

    def _facts(self, info: os.stat_result) -> Facts | None:
        if info.st_size != self._unpacker.consumed:
            return None  # it grew meanwhile: what came is looked at in the next step
        return Facts(
            identity=self.raw.identity,
            raw_size=info.st_size,
            mtime_ns=info.st_mtime_ns,
            size=self._unpacker.position,
            head=self._head,
            tail=self._recent,
            pieces=self._pieces,
        )

    def _look(self, data: bytes, start: int, *, ended: bool) -> None:
        if len(self._head) < MARK_BYTES:
            self._head = (self._head + data)[:MARK_BYTES]
        if self._wanted is None and (ended or len(self._head) == MARK_BYTES):
            self._wanted = sorted(self._ask(self._head), key=sum, reverse=True)
        recent = self._recent + data
        first = start - len(self._recent)
        while self._wanted and sum(self._wanted[-1]) <= start + len(data):
            offset, length = self._wanted.pop()
            if offset >= first:
                self._pieces[offset, length] = recent[offset - first : offset - first + length]
        self._recent = recent[-MARK_BYTES:]


class Unpacked:
    """What a whole compressed file holds, as a `daemon.files.Content`. Cheap to read forwards, dear backwards."""

    def __init__(self, raw: Plain, kind: Format, facts: Facts) -> None:
        self._raw = raw
        self._kind = kind
        self.facts = facts
        self._unpacker: Unpacker | None = None
        self._window = bytearray()  # what came out last: up to the unpacker's position
        self._start = 0  # where the window begins

    @property
    def closed(self) -> bool:
        """Return whether it was closed."""
        return self._raw.closed

    @property
    def identity(self) -> Identity:
        """Return which file on disk it is."""
        return self._raw.identity

    def pread(self, length: int, offset: int) -> bytes:
        """Return bytes of what it holds. Raises DamagedError when the file is not what was inspected any more."""
        end = min(offset + length, self.facts.size)
        if end <= offset:
            return b""
        known = self._known(offset, end)
        if known is not None:
            return known
        self._come_near(offset)
        while self._end < end:
            self._step(offset)
        with memoryview(self._window) as view:
            return bytes(view[offset - self._start : end - self._start])

    def _known(self, offset: int, end: int) -> bytes | None:
        """Return bytes that the inspection has kept."""
        facts = self.facts
        if end <= len(facts.head):
            return facts.head[offset:end]
        first = facts.size - len(facts.tail)
        if offset >= first:
            if self._unpacker is not None and self._end == facts.size:
                self._forget()  # read to its end: only these bytes are asked for from now on
            return facts.tail[offset - first : end - first]
        return facts.pieces.get((offset, end - offset))

    def reach(self, offset: int) -> bool:
        """Unpack towards an offset, at most REACH_BYTES."""
        if offset >= self.facts.size:
            return True
        self._come_near(offset)
        until = self._end + REACH_BYTES
        while self._end < min(offset, until):
            self._step(offset)
        return self._end >= offset

    @property
    def _end(self) -> int:
        return self._start + len(self._window)

    def _come_near(self, offset: int) -> None:
        if self._unpacker is None or offset < self._start:
            self._forget()
            self._unpacker = Unpacker(self._raw.pread, self._kind)

    def _step(self, offset: int) -> None:
        """Unpack a little more, and let go of what lies well before ``offset``."""
        assert self._unpacker is not None
        info = self._raw.info()
        data = self._unpacker.read(STEP_BYTES) if self.facts.are_of(info.st_size, info.st_mtime_ns) else b""
        if not data:
            self._forget()
            raise DamagedError("changed while it was read")
        self._window += data
        surplus = min(offset - _KEEP_BYTES, self._end) - self._start
        if surplus > 0:
            del self._window[:surplus]
            self._start += surplus

    def _forget(self) -> None:
        self._unpacker, self._window, self._start = None, bytearray(), 0

    def size(self) -> int:
        """Return how many bytes it holds."""
        return self.facts.size

    def info(self) -> os.stat_result:
        """Return what the file system says of the compressed file."""
        return self._raw.info()

    def real_path(self) -> bytes:
        """Return where the compressed file is."""
        return self._raw.real_path()

    def sync(self) -> None:
        """Make the compressed file durable."""
        self._raw.sync()

    def data_from(self, offset: int) -> int:
        """Return the offset: what is unpacked has no holes."""
        return offset

    def duplicate(self) -> Unpacked:
        """Return the same with a descriptor and a window of its own."""
        return Unpacked(self._raw.duplicate(), self._kind, self.facts)

    def close(self) -> None:
        """Close the compressed file and forget the window."""
        self._raw.close()
        self._forget()
