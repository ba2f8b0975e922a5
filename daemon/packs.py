"""The books of compressed files: which are whole and may be read, which are being inspected, which cannot be read and why.

Belongs to the tailer's thread, like the binder that owns it. Inspections go on in small steps between the reading of
live files. One file is inspected at a time; the few that wait for more bytes keep their place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from daemon import files
from daemon.discovery import Found
from daemon.files import Content, Plain
from daemon.unpacked import Facts, Inspection, TooLargeError, Unpacked, Windows
from parsers.decoding import DamagedError, IncompleteError, format_of

INCOMPLETE_SECONDS = 60.0  # a file that ends too early and did not grow for so long is in trouble
RETRY_SECONDS = 10.0  # before a file that could not be opened or read is tried again
OPEN_INSPECTIONS = 4  # files that are being written while they are inspected: each holds a window


def open_whole(path: bytes | str, most_bytes: int) -> Content | None:
    """Open a file as its lines see it, checking a compressed one to its end first; None if it is no regular file.

    Raises DamagedError for a compressed file that is not whole, OSError.
    """
    raw = files.open_regular(path)
    kind = format_of(os.fsencode(path))
    if raw is None or kind is None:
        return raw
    try:
        inspection = Inspection(raw, kind, lambda _head: (), most_bytes)
        facts = None
        while facts is None:
            facts = inspection.step(most_bytes)
    except BaseException:
        raw.close()
        raise
    return Unpacked(raw, kind, facts)


@dataclass(slots=True)
class Pack:
    """A compressed file that may not be read yet."""

    found: Found
    changed_at: float  # monotonic, when it was last seen to change
    inspection: Inspection | None = None
    began: tuple[int, int] = (0, 0)  # size and last change of the file when its inspection began
    trouble: str = ""  # why it cannot be read
    limit: bool = False  # because it unpacks to too much
    retry_at: float | None = None  # None: not before it has changed
    waits: bool = False  # for more bytes
    told: bool = False

    @property
    def mark(self) -> tuple[int, int]:
        """Return what shows a change."""
        return self.found.size, self.found.mtime_ns

    def drop(self) -> None:
        """End the inspection."""
        if self.inspection is not None:
            self.inspection.raw.close()
            self.inspection = None
        self.waits = False


class Packs:
    """Compressed files by inode."""

    def __init__(self, windows: Windows, most_bytes: int, clock: Callable[[], float]) -> None:
        self._windows = windows
        self._most_bytes = most_bytes
        self._clock = clock
        self._facts: dict[tuple[int, int], Facts] = {}
        self.unread: dict[tuple[int, int], Pack] = {}

    @property
    def busy(self) -> bool:
        """Return whether some inspection gets on."""
        return any(self._next())

    @property
    def waiting(self) -> bool:
        """Return whether some file may be read soon, so that the next listing matters."""
        return any(not pack.trouble or pack.retry_at is not None for pack in self.unread.values())

    def sift(self, found: Iterable[Found]) -> Iterator[Found]:
        """Yield the plain files, and the compressed ones that are whole with the size of what they hold."""
        for entry in found:
            if format_of(entry.path) is None:
                yield entry
                continue
            facts = self._facts.get(entry.key)
            if facts is not None and facts.are_of(entry.size, entry.mtime_ns):
                if facts.size:
                    yield replace(entry, size=facts.size)
                continue
            self._note(entry)

    def keep(self, keys: Collection[tuple[int, int]]) -> None:
        """Forget the files that are neither listed nor followed any more."""
        for key in [key for key in self.unread if key not in keys]:
            self.unread.pop(key).drop()
        for key in [key for key in self._facts if key not in keys]:
            del self._facts[key]

    def _note(self, entry: Found) -> None:
        """Take a listing's word of a file that is not known to be whole."""
        now = self._clock()
        pack = self.unread.get(entry.key)
        if pack is None:
            self.unread[entry.key] = Pack(entry, now)
            return
        before, pack.found = pack.mark, entry
        if entry.size < before[0]:
            pack.drop()  # not what was looked at so far
        if pack.mark != before:
            pack.changed_at, pack.trouble, pack.waits, pack.told = now, "", False, False
        elif pack.waits and now - pack.changed_at >= INCOMPLETE_SECONDS:
            pack.drop()
            pack.trouble = f"is not complete ({entry.size} bytes); it is read once its end is there"
        elif pack.retry_at is not None and now >= pack.retry_at:
            pack.trouble, pack.retry_at = "", None

    def _next(self) -> Iterator[Pack]:
        return (pack for pack in self.unread.values() if not pack.trouble and not pack.waits)

    def work(self, most: int) -> bool:
        """Go on with one inspection for about ``most`` unpacked bytes. Returns whether a file turned out whole."""
        pack = next(self._next(), None)
        if pack is None:
            return False
        try:
            facts = self._inspection(pack).step(most)
        except IncompleteError:
            pack.waits = True
            self._park()
            return False
        except DamagedError as error:
            self._damaged(pack, error)
            return False
        except OSError as error:
            pack.drop()
            pack.trouble = error.strerror or str(error)
            pack.retry_at = self._clock() + RETRY_SECONDS
            return False
        if facts is None:
            return False
        self._whole(pack, facts)
        return True

    def _whole(self, pack: Pack, facts: Facts) -> None:
        pack.drop()
        self._facts[pack.found.key] = facts
        del self.unread[pack.found.key]

    def _damaged(self, pack: Pack, error: DamagedError) -> None:
        changed = pack.began != pack.mark
        pack.drop()
        if changed:
            return  # what was looked at before was perhaps written over: once more from the beginning
        pack.trouble = f"{error.strerror}; it is read once it has changed"
        pack.limit = isinstance(error, TooLargeError)

    def _inspection(self, pack: Pack) -> Inspection:
        if pack.inspection is None:
            raw = files.open_regular(pack.found.path)
            if raw is None or raw.identity.key != pack.found.key:
                if raw is not None:
                    raw.close()
                raise FileNotFoundError(2, "is not there any more", os.fsdecode(pack.found.path))
            pack.began = pack.mark
            pack.inspection = self._made(raw, pack.found.path)
        return pack.inspection

    def _made(self, raw: Plain, path: bytes) -> Inspection:
        kind = format_of(path)
        assert kind is not None
        return Inspection(raw, kind, self._windows, self._most_bytes)

    def _park(self) -> None:
        """Let go of the longest waiting inspections: they begin again when their files have grown."""
        waiting = [pack for pack in self.unread.values() if pack.waits and pack.inspection is not None]
        waiting.sort(key=lambda pack: pack.changed_at)
        for pack in waiting[: max(0, len(waiting) - OPEN_INSPECTIONS)]:
            pack.drop()
            pack.waits = True

    def troubles(self) -> list[Pack]:
        """Return the files whose trouble was not told yet: what is wrong with them, not what may pass by itself."""
        found = [p for p in self.unread.values() if p.trouble and not p.told and p.retry_at is None]
        for pack in found:
            pack.told = True
        return found

    def content(self, raw: Plain, path: bytes) -> Content | None:
        """Return an open file as its lines see it; None for a compressed one that is not known to be whole."""
        kind = format_of(path)
        if kind is None:
            return raw
        facts = self._facts.get(raw.identity.key)
        info = raw.info()
        if (
            facts is None
            or not facts.are_of(info.st_size, info.st_mtime_ns)
            or facts.identity != raw.identity
        ):
            return None
        return Unpacked(raw, kind, facts)

    def inspect(self, found: Found) -> int:
        """Inspect a file at once, however long it takes; returns the size of what it holds.

        Raises DamagedError (or IncompleteError) if it cannot be read, OSError if it cannot be opened.
        """
        pack = Pack(found, self._clock())
        self.unread[found.key] = pack
        try:
            inspection = self._inspection(pack)
            facts = None
            while facts is None:
                facts = inspection.step(self._most_bytes + 1)
            self._whole(pack, facts)
        finally:
            with suppress(KeyError):
                self.unread.pop(found.key).drop()
        return facts.size

    def close(self) -> None:
        """Close what is open."""
        for pack in self.unread.values():
            pack.drop()
