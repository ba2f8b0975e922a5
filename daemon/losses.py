"""Bytes that were there and will perhaps never be archived: told as gaps once nothing has taken them over in time."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from daemon import files
from daemon.discovery import Found, Scan
from daemon.notes import Note
from daemon.sources import Catalogue, Known
from parsers.decoding import format_of
from storage.atrisk import FileAtRisk
from storage.gaps import REASONS
from storage.records import SourceState

LOST_WAIT_SECONDS = (
    15.0  # a copy made before a truncation is found by then: longer than the time between listings
)


@dataclass(frozen=True, slots=True)
class _Lost:
    """A source whose file no longer holds it, with bytes that were seen and not read."""

    known: Known
    path: str
    since: float
    code: str


class Losses:
    """What was seen of files, is not read, and has no file any more. Belongs to the binder."""

    def __init__(
        self,
        catalogue: Catalogue,
        states: Iterable[SourceState],
        wait_seconds: float,
        tell: Callable[[Note], None],
        archived: Mapping[str, int],
    ) -> None:
        """``archived`` says of some sources up to which byte another one has their lines."""
        self._catalogue = catalogue
        self._wait_seconds = wait_seconds
        self._tell = tell
        self._archived = archived
        self._lost: list[_Lost] = []
        self._unopened: dict[tuple[int, int], Found] = {}  # files that were there and could never be opened
        # Sources of which more was seen than is committed, until their files are found.
        self._missing = {state.sid: state.path for state in states if state.size > state.offset}

    @property
    def waiting(self) -> bool:
        """Return whether something may yet be taken over."""
        return bool(self._lost)

    def unopened(self, found: Found) -> None:
        """Remember a file that may not be opened."""
        self._unopened[found.key] = found

    def miss_unopened(
        self, scan: Scan, listed: Container[tuple[int, int]], followed: Container[tuple[int, int]]
    ) -> None:
        """Report files that are gone and never could be opened."""
        for key, found in list(self._unopened.items()):
            if key in followed:
                del self._unopened[key]
            elif key not in listed and scan.covers(found.path):
                del self._unopened[key]
                self.gap("", files.spelled(found.path), 0, found.size, "unopened")

    def miss(self, scan: Scan, now: float) -> None:
        """Give up sources whose files are gone since the daemon last ran: once their folders can be looked at."""
        for sid, path in list(self._missing.items()):
            known = self._catalogue.orphans.get(sid)
            if known is None:
                del self._missing[sid]
            elif self._archived.get(sid, 0) >= known.size:
                del self._missing[sid]
                known.size = known.offset
            elif scan.covers(os.fsencode(path)):
                size = files.size_of(os.fsencode(path), known.key)
                # A file that is still there is only followed no more: its folder or its pattern was taken out.
                if size is None or (size < known.offset and format_of(os.fsencode(path)) is None):
                    del self._missing[sid]
                    self.lose(known, path, now, "gone" if size is None else "truncated")

    def lose(self, known: Known, path: str, now: float, code: str) -> None:
        """Note that no file holds a source any more; if it was not read to its end, that will be a gap."""
        if known.size > known.offset:
            self._lost.append(_Lost(known, path, now, code))

    def gap(self, sid: str, path: str, start: int, end: int, code: str) -> None:
        """Report bytes as lost."""
        self._tell(Note("gap", path, sid, start, end, REASONS[code], code))

    def gap_of(self, file: FileAtRisk) -> None:
        """Report bytes of a file that no source has as lost."""
        reason = REASONS[file.code]
        self._tell(Note("gap", file.path, file.sid, file.start, file.end, reason, file.code, file))

    def settle(self, now: float, *, hold: bool) -> None:
        """Report as gaps what nothing has taken over in time; ``hold``: a file may still turn out to hold it."""
        waiting: list[_Lost] = []
        for lost in self._lost:
            known = lost.known
            if known.source.sid not in self._catalogue.orphans:
                continue  # a file holds it again
            if now - lost.since < self._wait_seconds or hold:
                waiting.append(lost)
                continue
            start = max(known.offset, self._archived.get(known.source.sid, 0))
            if known.size > start:  # not told of already
                self.gap(known.source.sid, lost.path, start, known.size, lost.code)
            known.size = known.offset
        self._lost = waiting
