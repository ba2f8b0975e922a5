"""Losses of one node, written into its ledger: bytes that are lost, bytes that a crash would lose, and who was told.

`storage.gaps` and `storage.atrisk` know what the records say; here they are made, so that none hides another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from storage.atrisk import FileAtRisk, FileKey, source_record
from storage.books import Books
from storage.gaps import Gap, Hole
from storage.turns import Turns


class Losses:
    """What is lost, or at risk. Any thread; ``writing`` is the archive's lock for what touches the disk."""

    def __init__(self, books: Books, *, writing: Turns, recover: Callable[[], None]) -> None:
        self.told = 0  # events were made of the gaps up to this number
        self._books = books
        self._writing = writing
        self._recover = recover

    # What is lost

    def gap(
        self, sid: str, start: int, end: int, code: str, path: str = "", *, file: FileAtRisk | None = None
    ) -> None:
        """Record that bytes ``[start, end)`` of a source are known to have existed and can never be archived.

        ``code`` is one of `storage.gaps.REASONS`; ``sid`` is empty for a file that never became a source. ``file``: the
        bytes are those of a file that was at risk, and is so no more.
        """
        entry = Hole(sid, path, start, end, end - start, code).entry()
        if file is not None:
            entry["file"] = file.to_json()
        with self._writing:
            self._recover()
            self._books.record([("gap", entry)])

    def untold(self) -> list[Gap]:
        """Return the recorded gaps of which no event was made yet, oldest first."""
        return [gap for gap in self._books.state.gap_book.untold() if gap.number > self.told]

    def tell(self, number: int) -> None:
        """Note that events were made of the gaps up to ``number``; the next commit says so durably."""
        self.told = max(self.told, number)

    # What a crash would lose

    @property
    def files_at_risk(self) -> Mapping[FileKey, FileAtRisk]:
        """The files of which a crash would lose bytes that no source has."""
        return MappingProxyType(self._books.state.files_at_risk)

    def at_risk(self, sizes: Mapping[str, int], files: Sequence[FileAtRisk]) -> None:
        """Record, with one sync, what a crash would lose, so that it cannot hide it.

        ``sizes``: how many bytes of a source are known, by sid; no more than are committed: those beyond are no loss.
        ``files``: those whose bytes no source has; an empty one takes back what was recorded of it.
        """
        with self._writing:
            self._recover()
            sources = self._books.state.sources
            known = [(sources[sid], size) for sid, size in sizes.items() if sid in sources]
            bodies = [
                source_record(s.sid, s.offset, max(s.offset, size))
                for s, size in known
                if size > max(s.offset, s.size) or size <= s.offset < s.size
            ]
            bodies += [file.record() for file in files]
            if bodies:
                self._books.record([("gap", body) for body in bodies])
