"""The log files that still exist, compared with what was archived of them, without parsing a line again.

Each commit's range tells the SHA-256 of the bytes from where a process began to read to the range's end. One pass over
the file, whichever process read which part, checks all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from parsers.decoding import Stream, format_of
from storage.records import SourceState

STEP_BYTES = 1 << 20

# Yields the bytes of a source's file from its beginning (unpacked, if it is compressed); None: it is not there any more.
Open = Callable[[SourceState], Iterable[bytes] | None]


class Digest(Protocol):
    """A hash under way."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Return the hash of all of them so far."""
        ...


@dataclass(frozen=True, slots=True)
class Mark:
    """Bytes ``[start, end)`` of a source have this SHA-256, hex."""

    start: int
    end: int
    digest: str


def plain(source: SourceState) -> Iterator[bytes] | None:
    """Open a source's file where it was last seen, if it is still the same file. OSError if it may not be read."""
    try:
        file = open(os.fsencode(source.path), "rb")  # noqa: SIM115 - `_blocks` closes it
    except (FileNotFoundError, NotADirectoryError):
        return None
    if os.fstat(file.fileno()).st_ino != source.inode:
        file.close()
        return None  # another file has taken the name

    def blocks() -> Iterator[bytes]:
        with file:
            stream = Stream(file, format_of(os.fsencode(source.path)))
            while block := stream.read(STEP_BYTES):
                yield block

    return blocks()


def compare(blocks: Iterable[bytes], marks: Iterable[Mark]) -> tuple[int, list[Mark]]:
    """Return how many bytes were read, and the marks that do not fit. A file that ends too early fits none beyond."""
    waiting = sorted((mark for mark in marks if mark.end > mark.start), key=lambda mark: mark.start)
    active: list[tuple[Mark, Digest]] = []
    wrong: list[Mark] = []
    at = 0
    for block in blocks:
        if not waiting and not active:
            break
        while waiting and waiting[0].start < at + len(block):
            active.append((waiting.pop(0), hashlib.sha256()))
        still: list[tuple[Mark, Digest]] = []
        for mark, digest in active:
            low, high = max(mark.start - at, 0), min(mark.end - at, len(block))
            digest.update(memoryview(block)[low:high])
            if mark.end > at + len(block):
                still.append((mark, digest))
            elif digest.hexdigest() != mark.digest:
                wrong.append(mark)
        active = still
        at += len(block)
    wrong += [mark for mark, _ in active] + waiting
    return at, sorted(wrong, key=lambda mark: mark.start)
