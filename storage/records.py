"""The ledger's records as values: what each kind says, and how it becomes JSON and back.

Every record has the header of `Header`. The kinds are listed in `KINDS`; a kind that is not listed is refused, because
skipping a record that somebody relied on would be a silent loss.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from parsers.batch import Counts
from storage.snapshot import File

KINDS = (
    "open",  # a process began to write: its epoch, and the seq numbers it may use
    "source",  # a file was seen for the first time; durable before its first line is visible
    "commit",  # rows became durable: files and the byte ranges they came from
    "fold",  # several live files became one
    "seal",  # live files became sealed files
    "drop",  # retention removed sealed files
    "hold",  # a legal hold was added or released: what matches it stays
    "erase",  # reserved: a file was rewritten without one person's fields
    "gap",  # bytes known to have existed that were never archived; or that are at risk
    "config",  # what was decided beside the data: a minimum age was changed, an export has written a day
    "snapshot",  # the whole state, so that start-up need not read everything
    "key",  # reserved: a signing key
    "checkpoint",  # reserved: a signed head of the chain
)


@dataclass(frozen=True, slots=True)
class Header:
    """What every record carries. ``prev`` is the SHA-256 of the record before, 64 zeros for the first.

    ``first`` is only there when several records were appended by one write: the number of the first of them. A power
    cut can leave a hole in such a write with whole records behind it, and this tells a hole from damage.
    """

    format: int
    min_reader: int
    kind: str
    n: int
    epoch: int
    node: str
    prev: str
    written_at: int  # microseconds since 1970, UTC
    writer_version: str
    schema_version: int
    first: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A record read back: header, body, and its own hash (the next record's ``prev``)."""

    header: Header
    body: dict[str, Any]
    hash: str


@dataclass(frozen=True, slots=True)
class SourceSeen:
    """A file met for the first time. ``head`` is the BLAKE2b-128 of its first ``head_length`` bytes, hex."""

    path: str
    file: str
    device: int
    inode: int
    generation: int | None
    head: str
    head_length: int
    internal: bool
    profile: str
    file_date_us: int | None
    first_seen_us: int
    # A fork: a file that still holds the beginning of what was read of another source goes on as a source of its own.
    base: int = 0  # byte at which this source begins
    continues: str = ""  # sid of the source that the bytes before it are archived under
    seam: str = ""  # of the bytes before ``base``
    seam_length: int = 0
    size: int = 0  # of the file then, bytes
    # All complete lines that were there, bytes ``[base, first_end)``, by their SHA-256, hex; empty: nobody knows.
    first_end: int = 0
    first_digest: str = ""


@dataclass(frozen=True, slots=True)
class Rung:
    """Bytes ``[start, end)`` of a source by their SHA-256, hex: what a file can be compared with block by block.

    ``seq`` was the highest committed number then: rows of this source beyond ``end`` have higher ones, earlier rows none.
    """

    start: int
    end: int
    digest: str
    seq: int


@dataclass(frozen=True, slots=True)
class SourceState:
    """What the ledger knows of a source: where it was, what its content looked like, how far it is committed.

    Its ranges begin at ``base``, which is 0 unless it is a fork of ``continues``. ``rungs`` are thinned: see `climbed`.
    """

    sid: str
    file: str
    path: str
    device: int
    inode: int
    generation: int | None
    head: str
    head_length: int
    seam: str
    seam_length: int
    offset: int
    digest: str
    digest_from: int
    first_seen_us: int
    file_date_us: int | None
    profile: str
    internal: bool
    size: int
    counts: Counts
    base: int = 0
    continues: str = ""
    first_end: int = 0  # as in `SourceSeen`, until something is committed
    first_digest: str = ""
    rungs: tuple[Rung, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the value for a record's body; without the first lines where nobody knows them, as older releases wrote it."""
        body = asdict(self)
        if not self.first_digest:
            del body["first_end"], body["first_digest"]
        return body

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> SourceState:
        """Read it back; unknown keys of a newer release are ignored, what an older one did not write is as it was."""
        known = {name: body[name] for name in _SOURCE if name in body}
        rungs = tuple(Rung(**rung) for rung in body.get("rungs", ()))
        return cls(**known, counts=Counts(**body["counts"]), rungs=rungs)


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes ``[start, end)`` of a source in one commit, what they looked like and what became of their lines."""

    sid: str
    start: int
    end: int
    head: str
    head_length: int
    seam: str
    seam_length: int
    digest: str
    digest_from: int
    path: str
    file: str
    device: int
    inode: int
    generation: int | None
    size: int
    counts: Counts

    def to_json(self) -> dict[str, Any]:
        """Return the value for a record's body."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Range:
        """Read it back; unknown keys of a newer release are ignored."""
        return cls(**{name: body[name] for name in _RANGE}, counts=Counts(**body["counts"]))


# Looked up once: start-up reads tens of thousands of these.
_SOURCE = tuple(f.name for f in fields(SourceState) if f.name not in {"counts", "rungs"})
_RANGE = tuple(f.name for f in fields(Range) if f.name != "counts")
_FILE = tuple(f.name for f in fields(File))


def file_to_json(file: File) -> dict[str, Any]:
    """Return a file's entry for a record's body."""
    return asdict(file)


def file_from_json(body: dict[str, Any]) -> File:
    """Read a file's entry back; unknown keys of a newer release are ignored."""
    return File(**{name: body[name] for name in _FILE if name in body})
