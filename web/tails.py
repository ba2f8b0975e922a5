"""The newest lines of log files, read backwards. Files come from the daemon's listing, never from a client.

Everything here blocks and runs in a worker thread. Memory is bounded by `DAY_BYTES`, whatever the files hold.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from web.status import LogFile

BLOCK_BYTES = 64 * 1024
DAY_BYTES = 16 * 1024 * 1024  # read for one answer over all files: 5,000 lines of 3 kB
LEAST_FILE_BYTES = 256 * 1024  # of each file, however many there are

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FOLDER = _ROOT | os.O_NOFOLLOW
# O_NONBLOCK: opening a FIFO that somebody put there must not hang the thread.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Line:
    """One complete line without its newline. ``cut``: only its end is here, because it is longer than the window."""

    file: LogFile
    offset: int
    data: bytes
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """An open regular file below a configured directory."""

    file: LogFile
    fd: int
    size: int
    changed_ns: int


@contextmanager
def opened(files: Sequence[LogFile]) -> Generator[list[Opened]]:
    """Open the files that are still regular files reached without any symbolic link; others are left out."""
    found: list[Opened] = []
    try:
        for file in files:
            entry = _open(file)
            if entry is not None:
                found.append(entry)
        yield found
    finally:
        for entry in found:
            os.close(entry.fd)


def _open(file: LogFile) -> Opened | None:
    parts = file.file.split("/")
    if not all(parts) or any(part in {".", ".."} for part in parts):
        return None
    folders: list[int] = []
    try:
        folders.append(os.open(file.root, _ROOT))
        for part in parts[:-1]:
            folders.append(os.open(part, _FOLDER, dir_fd=folders[-1]))
        fd = os.open(parts[-1], _FILE, dir_fd=folders[-1])
    except OSError:
        return None  # gone, a link, or not ours to read: the daemon's own reading reports that
    finally:
        for folder in folders:
            os.close(folder)
    facts = os.fstat(fd)
    if not stat.S_ISREG(facts.st_mode):
        os.close(fd)
        return None
    return Opened(file, fd, facts.st_size, facts.st_mtime_ns)


def last_lines(entry: Opened, end: int, count: int, budget: int) -> list[Line]:
    """Return up to ``count`` complete lines that end at or before ``end``, oldest first.

    At most about ``budget`` bytes are read. A line longer than that comes as its end, marked ``cut``.
    """
    end = min(end, entry.size)
    blocks: list[bytes] = []
    start = end
    newlines = 0
    # One newline more than lines: it is the end of the line before the first one wanted.
    while start > 0 and newlines <= count and end - start < budget:
        step = min(BLOCK_BYTES, start)
        block = os.pread(entry.fd, step, start - step)
        if not block:
            break
        start -= step
        newlines += block.count(b"\n")
        blocks.append(block)
    data = b"".join(reversed(blocks))
    complete = data.rfind(b"\n") + 1
    if complete == 0:
        # Either a line that has no newline yet, or one that is longer than the window.
        return [] if start == 0 or end == entry.size else [Line(entry.file, start, data, cut=True)]
    pieces = data[:complete].split(b"\n")[:-1]
    first = 0
    position = start
    if start > 0 and len(pieces) <= count:
        if len(pieces) == 1:
            return [Line(entry.file, start, pieces[0], cut=True)]
        position += len(pieces[0]) + 1  # begins before the window
        first = 1
    lines = []
    for piece in pieces[first:]:
        lines.append(Line(entry.file, position, piece))
        position += len(piece) + 1
    return lines[-count:]
