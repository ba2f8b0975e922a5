r"""The ledger: append-only segments of hash-chained records. A record that is durable here *is* the commit.

A line of a segment is ``<sha256 of the JSON, hex> <JSON>\n``. A segment begins with a snapshot (the first one with the
first record), so that start-up reads one segment. A last line that is incomplete or whose hash does not fit was
torn by a crash and is cut, and so is a hole within the last append. Any other damaged line is corruption and is never
cut.

Before the last append is trusted it is written over with its own bytes and synced: whoever wrote it may have been
killed before the sync, or the sync may have failed, which the system tells only once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import orjson

from storage.errors import CommitError, FencedError, LedgerError
from storage.fs import Fs, Handle
from storage.layout import FORMAT_VERSION, MIN_READER, SCHEMA_VERSION, Layout, segments
from storage.records import KINDS, Header, Record

GENESIS = "0" * 64  # `prev` of the very first record
HASH_LENGTH = 64
REBUILD_HINT = (
    "restore the ledger from a backup that is not older than the archive, or see with "
    "'watchkeep doctor --rebuild-ledger' what can be built again from the files"
)
_FENCED = "this process ends, and the other one has every line; see that only one daemon uses this archive"
_ALWAYS = tuple(f.name for f in fields(Header) if f.name != "first")


@dataclass(frozen=True, slots=True)
class Tail:
    """What reading a segment found: its records, how many bytes of it are whole, and whether the rest was torn.

    ``last_append`` is the byte where the last append begins of which a record is whole.
    """

    records: tuple[Record, ...]
    good_bytes: int
    torn_bytes: int
    last_append: int = 0


def encode(header: Header, body: dict[str, Any]) -> tuple[bytes, str]:
    """Return a record's line and its hash."""
    document = {name: value for name, value in asdict(header).items() if name != "first" or value is not None}
    text = orjson.dumps({**document, "body": body})
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
    header = Header(**{name: document[name] for name in _ALWAYS}, first=document.get("first"))
    return Record(header, document["body"], digest.decode())


def parse(data: bytes, where: str) -> Tail:
    """Read a segment's bytes. Only the last append may be torn; any other damage raises LedgerError."""
    records: list[Record] = []
    position = last_append = 0
    while position < len(data):
        end = data.find(b"\n", position)
        if end < 0:
            break
        try:
            record = decode(data[position:end], f"{where}, byte {position}")
        except LedgerError:
            if _torn(data[position:], records[-1].header.n + 1 if records else 0):
                break
            raise
        if records and record.header.prev != records[-1].hash:
            raise LedgerError(
                "the ledger's chain is broken",
                where=f"{where}, record {record.header.n}",
                hint=REBUILD_HINT,
            )
        if record.header.first in {None, record.header.n}:
            last_append = position
        records.append(record)
        position = end + 1
    return Tail(tuple(records), position, len(data) - position, last_append)


def _torn(rest: bytes, number: int) -> bool:
    """Whether ``rest``, which begins with the damaged record ``number``, is what a crash left of one append.

    The last line may be cut anywhere. With lines behind it, what is damaged must show the zeros that a hole consists
    of (JSON has none), and what is whole must belong to the same append.
    """
    damaged, *others = rest.split(b"\n")[:-1]
    if _readable(damaged):
        return False  # the hash fits: a refusal is about the content
    if not others:
        return True
    for line in (damaged, *others):
        if not _readable(line):
            if b"\0" not in line:
                return False
        else:
            first = decode(line, "").header.first
            if first is None or first > number:
                return False
    return True


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

        With ``repair`` the ledger is made durable *before it is trusted*, a torn end is cut, and a segment that holds
        no whole record is removed.
        """
        if repair:
            self._fs.sync_dir(self._layout.ledger)
        numbers = segments(self._fs.listdir(self._layout.ledger))
        while numbers:
            path = self._layout.segment(numbers[-1])
            data = self._fs.read(path)
            tail = parse(data, path.rsplit("/", 1)[-1])
            if tail.records:
                if repair:
                    self._make_trustworthy(path, data, tail)
                return tail.records
            # A crash while a segment was begun: nothing in it was ever acknowledged.
            numbers.pop()
            if repair:
                self._fs.unlink(path)
                self._fs.sync_dir(self._layout.ledger)
        return ()

    def resume(self, records: Sequence[Record]) -> None:
        """Continue after ``records`` (from `read`). FencedError if another process wrote after we had begun to."""
        self.close()
        if self.epoch and records and records[-1].header.epoch > self.epoch:
            raise FencedError("another process writes this ledger", where=self._layout.ledger, hint=_FENCED)
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
        first = n + 1 if len(records) > 1 else None
        for kind, body in records:
            n += 1
            header = self._header(kind, n, head, now_us, first)
            line, head = encode(header, body)
            lines.append(line)
            written.append(Record(header, body, head))
        try:
            handle = self._open()
            self._refuse_if_grown(handle)
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

    def _refuse_if_grown(self, handle: Handle) -> None:
        """Only we append to this segment: if it is longer than we left it, somebody else has begun to."""
        if self._fs.size(self._layout.segment(self._segment)) != handle.tell():
            self.broken = True
            raise FencedError("another process writes this ledger", where=self._layout.ledger, hint=_FENCED)

    def _header(self, kind: str, n: int, prev: str, now_us: int, first: int | None = None) -> Header:
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
            first=first,
        )

    def _open(self) -> Handle:
        if self._handle is None:
            path = self._layout.segment(self._segment)
            fresh = self._fs.size(path) is None
            self._handle = self._fs.append(path)
            if fresh:
                self._fs.sync_dir(self._layout.ledger)
        return self._handle

    def _make_trustworthy(self, path: str, data: bytes, tail: Tail) -> None:
        if tail.torn_bytes:
            self._fs.truncate(path, tail.good_bytes)
        self._fs.rewrite(path, tail.last_append, data[tail.last_append : tail.good_bytes])
