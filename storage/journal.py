"""A small durable journal: JSON objects, one a line, appended and synced, rewritten when most of it is history.

Each line is ``CRC-32 of the JSON, 8 hex digits`` + space + JSON. `append` returns when the line is durable. After an append
that failed nothing is known of the file's end, so the next one writes a new file with everything that was acknowledged.
A torn last line is what a crash leaves of an append that nobody was told of: it is cut off. A damaged line before
that is left out, counted, and the file is kept aside.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from storage.fs import Fs, Handle, makedirs

CURRENT = "journal.jsonl"
PART = "journal.part"
DAMAGED = "journal.damaged"
COMPACT_BYTES = 1 << 20  # below this a rewrite is not worth its syncs
COMPACT_FACTOR = 4  # rewritten when so many times larger than after the last rewrite

Record = Mapping[str, Any]


class Journal:
    """One folder's journal. Not thread-safe: whoever uses it has one thread for it."""

    def __init__(self, fs: Fs, folder: str, state: Callable[[], Iterable[Record]]) -> None:
        """``state`` gives records that say all that counts now; they are what a rewrite writes."""
        self._fs = fs
        self._folder = folder
        self._state = state
        self._handle: Handle | None = None
        self._compacted = 0  # bytes after the last rewrite
        self.damaged = 0  # lines left out when it was opened

    @property
    def path(self) -> str:
        """The file."""
        return os.path.join(self._folder, CURRENT)

    def load(self) -> list[dict[str, Any]]:
        """Return all records, oldest first; cuts off what a crash tore. Raises OSError."""
        makedirs(self._fs, self._folder)
        self._fs.sync_dir(os.path.dirname(self._folder))  # the folder may be a killed process's
        self._fs.unlink(os.path.join(self._folder, PART))
        if self._fs.size(self.path) is None:
            return []
        data = self._fs.read(self.path)
        whole = data.rfind(b"\n") + 1
        records, damaged = _records(data[:whole])
        if damaged:
            self.damaged = damaged
            # The rewrite that follows must not take the evidence away.
            handle = self._fs.append(os.path.join(self._folder, DAMAGED))
            try:
                handle.write(data)
                handle.sync()
            finally:
                handle.close()
        if whole < len(data):
            self._fs.truncate(self.path, whole)
        self._fs.sync_file(self.path)  # what is trusted from here on must not vanish
        self._fs.sync_dir(self._folder)
        self._compacted = whole
        return records

    def append(self, *records: Record) -> None:
        """Make records durable, in one write. Raises OSError; then none of them counts."""
        if self._handle is None:
            self._rewrite()
        assert self._handle is not None
        try:
            self._handle.write(b"".join(map(_line, records)))
            self._handle.sync()
        except OSError:
            self._drop()  # the end of the file is unknown now
            raise

    def compact_if_large(self) -> bool:
        """Rewrite it if most of it is history. Call it when everything appended is part of the state."""
        size = self._handle.tell() if self._handle is not None else 0
        if size < max(COMPACT_BYTES, COMPACT_FACTOR * self._compacted):
            return False
        self._rewrite()
        return True

    def _rewrite(self) -> None:
        """Write a new file with the state, and put it in the place of the old one."""
        self._drop()
        part = os.path.join(self._folder, PART)
        self._fs.unlink(part)
        handle = self._fs.create(part, private=True)
        try:
            for record in self._state():
                handle.write(_line(record))
            handle.sync()
            self._fs.rename(part, self.path)
            self._fs.sync_dir(self._folder)
        except BaseException:
            handle.close()
            raise
        self._handle = handle  # still open: the file has only another name now
        self._compacted = handle.tell()

    def _drop(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def close(self) -> None:
        """Close the file; everything acknowledged is durable already."""
        self._drop()


def _line(record: Record) -> bytes:
    text = orjson.dumps(record)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _records(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the records of whole lines, and how many lines are none."""
    records: list[dict[str, Any]] = []
    damaged = 0
    for line in data.splitlines():
        check, _, text = line.partition(b" ")
        if check != b"%08x" % zlib.crc32(text):
            damaged += 1
            continue
        records.append(orjson.loads(text))
    return records, damaged
