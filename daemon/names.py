"""What became of the names under which files are followed: renamed, moved away, unlinked, superseded.

Belongs to the tailer's thread.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

from daemon import files
from daemon.books import Books
from daemon.discovery import Found, Scan
from daemon.exposure import AWAY
from daemon.following import Fate, Followed, dated

Look = Callable[[Followed, float], None]


class Names:
    """Compares the names that are found with those in the books."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def compare(self, scan: Scan, now: float, look: Look) -> None:
        """Compare the names that were found with those that files are followed under."""
        found = {entry.key: entry for entry in scan.files}
        for followed in list(self._books.files.values()):
            entry = found.get(followed.key)
            if entry is not None:
                if entry.path != followed.path or followed.fate in AWAY:
                    self._renamed(followed, entry)
            elif scan.covers(followed.path):
                look(followed, now)
                gone = self._books.follows(followed) and followed.fate is not Fate.RETARGETED
                if gone and followed.reader.file.closed:
                    self._books.lose_closed(followed)

    def _renamed(self, followed: Followed, entry: Found) -> None:
        if entry.path == followed.path:
            if followed.fate in {Fate.MOVED, Fate.UNLINKED}:  # it was away for a moment
                followed.fate = Fate.PRESENT
                self._books.away.discard(followed)
                self._books.by_path[followed.path] = followed
            return
        if followed.fate is Fate.RETARGETED:
            self._renames(followed, entry, Fate.PRESENT)
            return  # a link leads to it again
        if files.leads_to(followed.path, followed.key):
            return  # a second link, or another root's name for it; the first name stays
        self._books.note("renamed", followed, detail=files.spelled(entry.path))
        self._renames(followed, entry, Fate.RENAMED)

    def _renames(self, followed: Followed, entry: Found, fate: Fate) -> None:
        self._books.unname(followed)
        followed.path, followed.file = entry.path, entry.file
        real = b"" if followed.reader.file.closed else followed.reader.file.real_path()
        followed.target = b"" if real == entry.path else real
        self._books.becomes(followed, fate)
        if followed.known is not None:
            followed.known.path = files.spelled(entry.path)
        self._books.away.discard(followed)
        self._books.by_path[followed.path] = followed

    def look_away(self, followed: Followed) -> os.stat_result | None:
        """Decide what became of a file whose name leads elsewhere; returns what its descriptor says, if it is open."""
        if followed.target and files.leads_to(followed.target, followed.key):
            return self._retargeted(followed)
        folder_there = _is_folder(os.path.dirname(followed.path))
        if followed.reader.file.closed:
            if folder_there:
                self._books.lose_closed(followed)
            return None  # a folder that is away now may come back with all that was in it
        info = followed.reader.file.info()
        if info.st_nlink and not folder_there:
            return info
        fate = Fate.MOVED if info.st_nlink else Fate.UNLINKED
        if fate is Fate.UNLINKED and followed.fate is not fate:
            self._books.note("unlinked", followed)
            if followed.known is not None:
                followed.known.gone = True
        self._books.becomes(followed, fate)
        self._books.away.add(followed)
        self._books.unname(followed)
        return info

    def _retargeted(self, followed: Followed) -> os.stat_result | None:
        """Follow what a link does not lead to any more by its own path: who has it open still writes to it."""
        self._books.unname(followed)
        followed.path, followed.target = followed.target, b""
        self._books.becomes(followed, Fate.RETARGETED)
        self._books.away.add(followed)
        self._books.by_path[followed.path] = followed
        return files.stat(followed.path)

    def supersede(self) -> None:
        """Mark dated files of which a later sibling exists."""
        families: dict[bytes, list[tuple[int, Followed]]] = defaultdict(list)
        for followed in self._books.files.values():
            date, family = dated(followed.path)
            if date is not None:
                families[family].append((date, followed))
        for members in families.values():
            newest = max(date for date, _ in members)
            for date, followed in members:
                if date < newest and followed.fate is Fate.PRESENT:
                    self._books.becomes(followed, Fate.SUPERSEDED)


def _is_folder(path: bytes) -> bool:
    with suppress(OSError):
        return stat.S_ISDIR(files.stat(path).st_mode)
    return False
