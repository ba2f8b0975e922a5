"""Files of which a crash would lose bytes that were seen: known to the ledger before it can happen, so that it is told.

Lines of a file that has a name are read again after a crash. Those of a file that lost its name are not, nor is it known
which lines of a rewritten file are archived until it was compared with what is. Where such bytes belong to a source, its
own entry says how many there are. Where no source has them yet, this module's entry does, by the file.

An entry holds until a source is registered from its file, the bytes are told of as a gap, or a later entry without any
bytes takes it back. So does one of a source without any: another source has archived its lines. A start that does not find the file tells of it (`daemon.losses`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

FileKey = tuple[int, int]
"""Device and inode."""

AT_RISK = "at-risk"  # the code of a `gap` record that is no gap: what it names would be lost by a crash


@dataclass(frozen=True, slots=True)
class FileAtRisk:
    """Bytes ``[start, end)`` of a file that belong to no source; none are at risk any more if it is empty.

    ``sid`` is the source that was last read from the file, empty if there is none. ``code`` is the word of
    `storage.gaps.REASONS` that says why the bytes are lost if the file is not found again.
    """

    device: int
    inode: int
    generation: int | None
    path: str
    sid: str
    start: int
    end: int
    code: str

    @property
    def key(self) -> FileKey:
        """Return what tells two files apart while both exist."""
        return self.device, self.inode

    def is_of(self, key: FileKey, generation: int | None) -> bool:
        """Return whether these numbers are the file's; an inode number may be used again."""
        return self.key == key and self.generation == generation

    def to_json(self) -> dict[str, Any]:
        """Return the value for a record's body."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> FileAtRisk:
        """Read it back; unknown keys of a newer release are ignored."""
        return cls(**{name: body[name] for name in _NAMES})

    def record(self) -> dict[str, Any]:
        """Return the body of the `gap` record that makes it known. Releases that do not know files find an empty sid."""
        return {
            "sid": "",
            "start": self.start,
            "end": self.end,
            "reason": "at risk",
            "code": AT_RISK,
            "bytes": 0,
            "file": self.to_json(),
        }


_NAMES = tuple(f.name for f in fields(FileAtRisk))


def source_record(sid: str, start: int, end: int) -> dict[str, Any]:
    """Return the body of the `gap` record that says how many bytes of a source are known."""
    return {"sid": sid, "start": start, "end": end, "reason": "at risk", "code": AT_RISK, "bytes": 0}
