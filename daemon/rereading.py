"""Finds the log file that holds a source now, to compare it with the archive: where it was, renamed, or compressed since."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from itertools import chain

from daemon import files
from daemon.files import Content
from daemon.reader import short_hash
from parsers.decoding import FORMATS, DamagedError, Unpacker, format_of
from storage.records import SourceState

STEP_BYTES = 1 << 20


class Rereader:
    """Yields sources' bytes from the beginning of their files, unpacked. Folders are listed once."""

    def __init__(self) -> None:
        self._folders: dict[bytes, dict[int, bytes]] = {}  # folder → inode → path

    def __call__(self, source: SourceState) -> Iterator[bytes] | None:
        """Return the bytes of the file that holds a source; None if no file here does. OSError if it may not be read.

        The file is the one that was last read, by its inode; or else one that begins as the source does and has its
        name, or its last name, and the ending of a compression.
        """
        path = os.fsencode(source.path)
        beside = self._inodes(os.path.dirname(path)).get(source.inode)
        for name in dict.fromkeys(name for name in (path, beside) if name):
            content = _opened(name)
            if content is None:
                continue
            if content.identity.may_be(source.device, source.inode, source.generation):
                return _blocks(content, name)
            content.close()
        for kind in FORMATS:
            content = _opened(path + kind.ending)
            if content is not None:
                blocks = _blocks(content, path + kind.ending)
                if (first := _begins(blocks, source)) is not None:
                    return first
                blocks.close()
        return None

    def _inodes(self, folder: bytes) -> dict[int, bytes]:
        if folder not in self._folders:
            try:
                with files.scandir(folder) as entries:
                    self._folders[folder] = {entry.inode(): entry.path for entry in entries}
            except OSError:
                self._folders[folder] = {}
        return self._folders[folder]


def _opened(path: bytes) -> Content | None:
    try:
        return files.open_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _blocks(content: Content, path: bytes) -> Generator[bytes]:
    """Yield what a file holds; DamagedError where a compressed one is not whole."""
    kind = format_of(path)
    try:
        if kind is not None:
            unpacker = Unpacker(content.pread, kind)
            while block := unpacker.read(STEP_BYTES):
                yield block
            return
        at = 0
        while block := content.pread(STEP_BYTES, at):
            yield block
            at += len(block)
    finally:
        content.close()


def _begins(blocks: Generator[bytes], source: SourceState) -> Iterator[bytes] | None:
    """Return all blocks again if they begin as the source does."""
    first = b""
    try:
        while len(first) < source.head_length and (block := next(blocks, b"")):
            first += block
    except DamagedError:
        return None
    if not source.head_length or short_hash(first[: source.head_length]) != source.head:
        return None
    return chain((first,), blocks)
