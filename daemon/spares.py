"""Sources that a kill left without a byte in the archive: no loss, once another source has archived their lines.

A process that is killed before a commit leaves a source registered, the size that its file had, and the digest of its
first lines. The next one goes on with it, unless it finds the file as it is being written anew, and half done: what it
reads then is another source. Whether that one has the same lines, their bytes alone decide.

Belongs to the tailer's thread.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from contextlib import suppress

from daemon.following import Followed
from daemon.sources import Sink
from storage.atrisk import FileKey
from storage.records import SourceState


class Spares:
    """The sources of earlier processes of which nothing is archived, although more was seen."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.archived: dict[str, int] = {}  # by sid, up to which byte another source has archived its lines
        self.by_file: dict[FileKey, list[str]] = defaultdict(list)
        self._same: dict[tuple[str, str], bool] = {}  # spare and other source: whether the lines are the same
        for state in sink.sources.values():
            if _is_spare(state):
                self.by_file[state.device, state.inode].append(state.sid)

    def waiting(self) -> list[FileKey]:
        """Return the files whose later sources may yet have a spare one's lines; forget the spare ones that are none any more."""
        for key, sids in list(self.by_file.items()):
            left = [sid for sid in sids if _is_spare(self._sink.sources[sid])]
            if left:
                self.by_file[key] = left
            else:
                del self.by_file[key]
        return list(self.by_file)

    def look(self, followed: Followed) -> None:
        """Note how far the lines of spare sources are archived under the one that their file is now."""
        state = self._sink.sources.get(followed.sid)
        if state is None or followed.reader.file.closed or followed.packed is not None:
            return
        here = followed.reader.file.identity
        for sid in self.by_file.get(followed.key, ()):
            spare = self._sink.sources[sid]
            # One that was there before has its own lines at these places.
            later = state.first_seen_us > spare.first_seen_us and state.base <= spare.base
            own = later and here.may_be(spare.device, spare.inode, spare.generation) and _is_spare(spare)
            if own and state.offset >= spare.first_end and self._has_lines(followed, spare):
                self.archived[sid] = max(self.archived.get(sid, 0), state.offset)

    def no_loss(self) -> dict[str, int]:
        """Return the spare sources that the ledger still expects bytes of, with their offsets, although all are archived."""
        states = (self._sink.sources[sid] for sid in self.archived)
        return {s.sid: s.offset for s in states if s.offset < s.size <= self.archived[s.sid]}

    def _has_lines(self, followed: Followed, spare: SourceState) -> bool:
        """Return whether a file holds the first lines of a spare source: archived, they are asked for only once."""
        pair = spare.sid, followed.sid
        if pair not in self._same:
            with suppress(OSError):
                data = followed.reader.file.pread(spare.first_end - spare.base, spare.base)
                self._same[pair] = hashlib.sha256(data).hexdigest() == spare.first_digest
        return self._same.get(pair, False)


def _is_spare(state: SourceState) -> bool:
    return bool(state.first_digest) and state.offset == state.base < state.size
