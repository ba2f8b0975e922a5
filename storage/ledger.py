r"""The ledger: append-only segments of hash-chained records. A record that is durable here *is* the commit.

A line of a segment is ``<sha256 of the JSON, hex> <JSON>\n``. A segment begins with a snapshot (the first one with the
first record), so that start-up reads one segment. A last line that is incomplete or whose hash does not fit was
torn by a crash and is cut; a damaged line with others behind it is corruption and is never cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from storage.errors import CommitError, LedgerError
from storage.fs import Fs, Handle
from storage.layout import FORMAT_VERSION, MIN_READER, SCHEMA_VERSION, Layout, segments
from storage.records import KINDS, Header, Record

GENESIS = "0" * 64  # `prev` of the very first record
HASH_LENGTH = 64
REBUILD_HINT = (
    "restore the ledger from a backup that is not older than the archive, or see with "
    "'watchkeep doctor --rebuild-ledger' what can be built again from the files"
)


@dataclass(frozen=True, slots=True)
class Tail:
    """What reading a segment found: its records, how many bytes of it are whole, and whether the rest was torn."""

    records: tuple[Record, ...]
    good_bytes: int
    torn_bytes: int


def encode(header: Header, body: dict[str, Any]) -> tuple[bytes, str]:
    """Return a record's line and its hash."""
    text = orjson.dumps({**asdict(header), "body": body})
    digest = hashlib.sha256(text).hexdigest()
    return digest.encode() + b" " + text + b"\n", digest


def decode(line: bytes, where: str) -> Record:
    """Read one line without its newline; LedgerError if it is damaged or too new."""
    digest, _, text = line.partition(b" ")
    if len(digest) != HASH_LENGTH or hashlib.sha256(text).hexdigest().encode() != digest:
        raise LedgerError("a ledger record is damaged", where=where, hint=REBUILD_HINT)
    document = orjson.loads(text)
    if document["min_reader"] > FORMAT_VERSION:
        raise LedgerError(
            f"the ledger needs format {document['min_reader']}, this release reads {FORMAT_VERSION}",
            where=where,
            hint="use the release that wrote it, or a newer one",
        )
    if document["kind"] not in KINDS:
        raise LedgerError(
            f"unknown kind of record: {document['kind']!r}", where=where, hint="use the release that wrote it"
        )
    header = Header(**{f.name: document[f.name] for f in fields(Header)})
    return Record(header, document["body"], digest.decode())


def parse(data: bytes, where: str) -> Tail:
    """Read a segment's bytes. Only the last line may be torn; any other damage raises LedgerError."""
    records: list[Record] = []
    position = 0
    while position < len(data):
        end = data.find(b"\n", position)
        if end < 0:
            break
        try:
            record = decode(data[position:end], f"{where}, byte {position}")
        except LedgerError:
            if data.find(b"\n", end + 1) < 0 and not _readable(data[position:end]):
                break  # the last line, and its hash does not fit: torn
            raise
        if records and record.header.prev != records[-1].hash:
            raise LedgerError(
                "the ledger's chain is broken",
                where=f"{where}, record {record.header.n}",
                hint=REBUILD_HINT,
            )
        records.append(record)
        position = end + 1
    return Tail(tuple(records), position, len(data) - position)


def salvage(data: bytes, where: str) -> list[Record | str]:
    """Return every whole record of a segment that may be damaged, and in place of each that is none where it is.

    Raises LedgerError for a whole record that this release cannot read: then another release should.
    """
    found: list[Record | str] = []
    position = 0
    *lines, rest = data.split(b"\n")
    for line in lines:
        place = f"{where}, byte {position}"
        position += len(line) + 1
        try:
            found.append(decode(line, place))
        except LedgerError:
            if _readable(line):
                raise
            found.append(place)
    if rest:
        found.append(f"{where}, byte {position}")
    return found


def _readable(line: bytes) -> bool:
    """Whether a line's hash fits: then a refusal is about its content, not about a torn write."""
    digest, _, text = line.partition(b" ")
    return hashlib.sha256(text).hexdigest().encode() == digest


class Ledger:
    """Appends records of one node. Not thread-safe: `storage.archive` serialises its callers."""

    def __init__(self, fs: Fs, layout: Layout, *, writer_version: str) -> None:
        self._fs = fs
        self._layout = layout
        self._version = writer_version
        self._handle: Handle | None = None
        self.head = GENESIS  # hash of the last record
        self.n = 0  # number of the last record
        self.epoch = 0
        self.broken = False  # an append or sync failed: recover before the next

    def read(self, *, repair: bool) -> tuple[Record, ...]:
        """Return the records of the newest whole segment, in order.

        With ``repair`` the ledger is made durable *before it is trusted* (a killed process may have left records
        only in the page cache), a torn last line is cut, and a segment that holds no whole record is removed.
        """
        if repair:
            self._sync_everything()
        numbers = segments(self._fs.listdir(self._layout.ledger))
        while numbers:
            path = self._layout.segment(numbers[-1])
            tail = parse(self._fs.read(path), path.rsplit("/", 1)[-1])
            if tail.records:
                if tail.torn_bytes and repair:
                    self._fs.truncate(path, tail.good_bytes)
                return tail.records
            # A crash while a segment was begun: nothing in it was ever acknowledged.
            numbers.pop()
            if repair:
                self._fs.unlink(path)
                self._fs.sync_dir(self._layout.ledger)
        return ()

    def resume(self, records: Sequence[Record]) -> None:
        """Continue after ``records`` (from `read`)."""
        self.close()
        if records:
            last = records[-1]
            self.head, self.n, self.epoch = last.hash, last.header.n, last.header.epoch
            self._segment = records[0].header.n
        else:
            self.head, self.n, self.epoch, self._segment = GENESIS, 0, 0, 1
        self.broken = False

    def append(self, records: Sequence[tuple[str, dict[str, Any]]], *, now_us: int) -> list[Record]:
        """Append (kind, body) pairs as one durable write. CommitError if that failed: then `broken` is set."""
        if self.broken:
            raise CommitError("the ledger must be recovered first", where=self._layout.ledger, retry=True)
        lines: list[bytes] = []
        written: list[Record] = []
        head, n = self.head, self.n
        for kind, body in records:
            n += 1
            header = self._header(kind, n, head, now_us)
            line, head = encode(header, body)
            lines.append(line)
            written.append(Record(header, body, head))
        try:
            handle = self._open()
            handle.write(b"".join(lines))
            handle.sync()
        except OSError as error:
            self.broken = True
            raise CommitError(
                f"the ledger could not be written: {error.strerror or error}",
                where=self._layout.ledger,
                hint="free space or repair the disk; the daemon tries again by itself",
                retry=True,
            ) from error
        self.head, self.n = head, n
        return written

    def begin_segment(self, snapshot: dict[str, Any], *, now_us: int) -> None:
        """Start a new segment with a snapshot record. A failure leaves the old segment in use."""
        n = self.n + 1
        line, digest = encode(self._header("snapshot", n, self.head, now_us), snapshot)
        path = self._layout.segment(n)
        try:
            handle = self._fs.create(path)
            try:
                handle.write(line)
                handle.sync()
            finally:
                handle.close()
            self._fs.sync_dir(self._layout.ledger)
        except OSError as error:
            self.broken = True  # the half-made segment must go before anything else is appended
            raise CommitError(
                f"the ledger's snapshot could not be written: {error.strerror or error}",
                where=path,
                retry=True,
            ) from error
        self.close()
        self.head, self.n, self._segment = digest, n, n

    def close(self) -> None:
        """Close the segment's handle; `append` opens it again."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _header(self, kind: str, n: int, prev: str, now_us: int) -> Header:
        return Header(
            format=FORMAT_VERSION,
            min_reader=MIN_READER,
            kind=kind,
            n=n,
            epoch=self.epoch,
            node=self._layout.node,
            prev=prev,
            written_at=now_us,
            writer_version=self._version,
            schema_version=SCHEMA_VERSION,
        )

    def _open(self) -> Handle:
        if self._handle is None:
            path = self._layout.segment(self._segment)
            fresh = self._fs.size(path) is None
            self._handle = self._fs.append(path)
            if fresh:
                self._fs.sync_dir(self._layout.ledger)
        return self._handle

    def _sync_everything(self) -> None:
        for number in segments(self._fs.listdir(self._layout.ledger))[-2:]:
            self._fs.sync_file(self._layout.segment(number))
        if self._fs.listdir(self._layout.ledger):
            self._fs.sync_dir(self._layout.ledger)
