"""What a crash would lose: told to the ledger before it can happen, taken back when it cannot any more.

A file that has its name is found again by the next start. Two kinds of bytes are not: those of a file that lost its name
and that are not committed, and those of a file that was rewritten, as long as nobody knows which of its lines are
archived: it may lose its name as well while the daemon is down. The ledger is what counts here: what it holds is
compared, after each turn, with what ought to be in it, and the difference is recorded with one sync.

Belongs to the tailer's thread.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from daemon import files
from daemon.discovery import Scan
from daemon.files import Identity
from daemon.following import Fate, Followed
from daemon.sources import Sink
from storage.atrisk import FileAtRisk, FileKey

GROWTH = 2  # a file that has its name is recorded again once it has grown so many times: then it is found again anyway
AWAY = {Fate.MOVED, Fate.UNLINKED}  # no name that we look at leads to it


class Exposure:
    """What of the followed files is at risk."""

    def __init__(self, sink: Sink, followed: Mapping[FileKey, Followed]) -> None:
        self._sink = sink
        self._followed = followed
        self._unfound = set(sink.files_at_risk)  # of an earlier process: they have not turned up yet
        self._telling: set[FileKey] = (
            set()
        )  # a gap is on its way to the ledger: until then they stay recorded

    def found(self, identity: Identity) -> None:
        """Note that a file was found: whether something of it is at risk is decided anew."""
        at_risk = self._sink.files_at_risk.get(identity.key)
        if at_risk is not None and at_risk.generation == identity.generation:
            self._unfound.discard(identity.key)

    def missing(self, scan: Scan, listed: Container[FileKey]) -> list[FileAtRisk]:
        """Return, each once, the files of an earlier process that are nowhere any more."""
        recorded = self._sink.files_at_risk
        self._unfound &= recorded.keys()
        self._telling &= recorded.keys()
        gone = [recorded[key] for key in self._unfound if self._is_gone(recorded[key], scan, listed)]
        for at_risk in gone:
            self._unfound.discard(at_risk.key)
            self._telling.add(at_risk.key)
        return gone

    def _is_gone(self, at_risk: FileAtRisk, scan: Scan, listed: Container[FileKey]) -> bool:
        if at_risk.key in self._followed:
            return True  # `found` would know it: its inode number was given to another file
        path = os.fsencode(at_risk.path)
        return at_risk.key not in listed and scan.covers(path) and not files.leads_to(path, at_risk.key)

    def lost(self, followed: Followed, code: str) -> FileAtRisk | None:
        """Return what is lost of a file that is given up and belongs to no source; None if that is nothing."""
        entry = _entry(followed, code)
        if followed.known is not None or entry.end <= entry.start:
            return None
        self._telling.add(entry.key)
        return entry

    def settle(
        self, away: Iterable[Followed], climbing: Iterable[Followed], no_loss: Mapping[str, int]
    ) -> None:
        """Record what is at risk now, of the files that lost their name, those that are compared, and recorded ones.

        ``no_loss``: sources that lack bytes which are archived all the same, and the offsets to which they are to be read.
        Blocks. Raises what the archive raises: then it is tried again after the next turn.
        """
        sizes: dict[str, int] = dict(no_loss)
        due: list[FileAtRisk] = []
        wanted: set[FileKey] = set()
        recorded = dict(self._sink.files_at_risk)
        held = [f for key in recorded if (f := self._followed.get(key)) is not None]
        for followed in {*away, *climbing, *held}:
            self._size(followed, sizes)
            before = recorded.get(followed.key)
            if before is not None and before.key in (self._unfound | self._telling):
                continue  # another file's, that had its inode number before
            entry = self._file(followed, before)
            if entry is not None:
                wanted.add(entry.key)
                if before is None or _is_news(entry, before, followed):
                    due.append(entry)
        # What takes something back comes last: of records written together a power cut may keep only the first.
        over = recorded.keys() - wanted - self._unfound - self._telling
        due += [replace(recorded[key], start=0, end=0) for key in over]
        if sizes or due:
            self._sink.at_risk(sizes, due)

    def _size(self, followed: Followed, sizes: dict[str, int]) -> None:
        """Add what is known of a source whose file does not hold it any more, or is found no more."""
        known = followed.known if followed.fate in AWAY else None
        end = 0
        if known is not None:
            end = max(known.size, followed.reader.offset)
        elif followed.climb is not None and not followed.climb.copy:
            known = followed.climb.known
            end = max(known.size, followed.climb.limit)
        state = self._sink.sources.get(known.source.sid) if known is not None else None
        if state is not None and end > max(state.offset, state.size):
            sizes[state.sid] = end

    def _file(self, followed: Followed, recorded: FileAtRisk | None) -> FileAtRisk | None:
        """Return what is at risk of a file that belongs to no source."""
        if followed.known is not None or not followed.unread:
            return None
        climb = followed.climb
        if climb is None:
            # It is about to be read, and then a source has its bytes.
            exposed = followed.fate in AWAY or recorded is not None
            return _entry(followed, recorded.code if recorded else "gone") if exposed else None
        if followed.repeats:
            # But for half a line that nobody will complete any more.
            half = followed.fate in AWAY and not climb.copy and followed.half
            return _entry(followed, "uncompared") if half else None
        if climb.copy and followed.fate not in AWAY and recorded is None:
            return None  # a new file like any other, until it is deleted
        return _entry(followed, "uncompared")


def _entry(followed: Followed, code: str) -> FileAtRisk:
    climb, origin = followed.climb, followed.origin
    former = climb or origin.former
    return FileAtRisk(
        device=followed.device,
        inode=followed.inode,
        generation=followed.generation,
        path=files.spelled(followed.path),
        sid=former.known.source.sid if former else origin.continues,
        start=followed.size - followed.half if followed.repeats else 0 if climb else origin.base,
        end=followed.size,
        code=code,
    )


def _is_news(entry: FileAtRisk, recorded: FileAtRisk, followed: Followed) -> bool:
    """Return whether an entry says more than what is recorded, by enough to be worth a sync."""
    return entry != recorded if followed.fate in AWAY else entry.end >= GROWTH * recorded.end
