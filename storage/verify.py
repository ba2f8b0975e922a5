"""Checking an archive against its ledger: the chain, every file's hash, the rows, and the log files that still exist.

Nothing is changed. What it can prove and what a chain without a signature cannot is told in `docs/guarantees.md`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from parsers.decoding import DamagedError, Stream, format_of
from storage.duck import connect
from storage.errors import LedgerError
from storage.fs import Disk, Fs
from storage.layout import Layout
from storage.ledger import GENESIS, Ledger
from storage.lineage import lineage
from storage.reader import nodes
from storage.records import Range, Record
from storage.snapshot import File
from storage.state import State

READ_BYTES = 4 << 20  # read files in 4 MiB steps: large enough for disk speed, small enough for memory
MEMORY_LIMIT_MB = 256  # of the DuckDB that counts distinct positions; it spills beyond

Progress = Callable[[str, int, int], None]  # what is checked, done, total (bytes or files)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the ledger says. ``kind`` is one of MODIFIED, MISSING, CHAIN, COUNTS, DUPLICATE, SOURCE."""

    kind: str
    where: str
    what: str


@dataclass(slots=True)
class Report:
    """What was checked and what was found; ``ok`` when nothing was."""

    records: int = 0
    files: int = 0
    bytes: int = 0
    events: int = 0
    rejects: int = 0
    sources: int = 0
    sources_checked: int = 0
    source_bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as the ledger says."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {"ok": self.ok, **asdict(self)}


def _silent(_what: str, _done: int, _total: int) -> None:
    """Report no progress."""


def verify(
    path: str,
    *,
    node: str | None = None,
    with_sources: bool = True,
    fs: Fs | None = None,
    progress: Progress = _silent,
) -> Report:
    """Check the archive at ``path`` (one node, or all) and return what was found."""
    disk = fs or Disk()
    report = Report()
    root = os.path.abspath(path)
    for name in [node] if node else nodes(root, disk):
        _Node(disk, Layout(root, name), report, progress).check(with_sources=with_sources)
    return report


class _Node:
    """The check of one node; everything is noted in ``report``."""

    def __init__(self, fs: Fs, layout: Layout, report: Report, progress: Progress) -> None:
        self._fs = fs
        self._layout = layout
        self._report = report
        self._progress = progress

    def check(self, *, with_sources: bool) -> None:
        records = self._chain()
        state = self._fold(records)
        present = self._files(state)
        self._rows(state, present)
        if with_sources:
            self._sources(state, records)

    def _chain(self) -> list[Record]:
        ledger = Ledger(self._fs, self._layout, writer_version="")
        records: list[Record] = []
        head = GENESIS
        try:
            for number, tail in ledger.read_all():
                for record in tail.records:
                    if record.header.prev != head:
                        self._found(
                            "CHAIN", f"record {record.header.n}", "does not follow the record before it"
                        )
                    head = record.hash
                    records.append(record)
                if tail.torn_bytes:
                    self._found(
                        "CHAIN", f"segment {number}", f"{tail.torn_bytes} bytes at the end are no record"
                    )
        except LedgerError as error:
            self._found("CHAIN", error.where, error.what)
        self._report.records += len(records)
        return records

    def _fold(self, records: list[Record]) -> State:
        state = State()
        for record in records:
            if record.header.kind == "snapshot":
                expected = {name: source.offset for name, source in state.sources.items()}
                state.apply(record)
                rebuilt = "rebuilt" in record.body  # from the files, because there was no ledger before it
                if not rebuilt and expected != {
                    name: source.offset for name, source in state.sources.items()
                }:
                    self._found(
                        "CHAIN",
                        f"record {record.header.n}",
                        "the snapshot is not what the records before it say",
                    )
                continue
            try:
                state.apply(record)
            except LedgerError as error:
                self._found("CHAIN", error.where, error.what)
        return state

    def _files(self, state: State) -> list[File]:
        """Hash every file; return those whose content is right."""
        total = sum(file.bytes for file in state.files.values())
        done = 0
        good: list[File] = []
        for file in sorted(state.files.values(), key=lambda file: file.path):
            self._report.files += 1
            digest = hashlib.sha256()
            try:
                for block in _blocks(self._layout.absolute(file.path)):
                    digest.update(block)
                    done += len(block)
                    self._progress("files", done, total)
            except FileNotFoundError:
                self._found("MISSING", file.path, "the ledger names it, the disk does not have it")
                continue
            self._report.bytes += file.bytes
            if digest.hexdigest() != file.sha256:
                self._found("MODIFIED", file.path, "its SHA-256 is not the one in the ledger")
                continue
            good.append(file)
        return good

    def _rows(self, state: State, present: list[File]) -> None:
        events = [file for file in present if file.kind == "events"]
        self._report.events += sum(file.rows for file in events)
        self._report.rejects += sum(file.rows for file in present if file.kind == "rejects")
        for sid, source in state.sources.items():
            if not source.counts.balanced:
                self._found("COUNTS", f"source {sid}", f"its lines do not add up: {source.counts}")
        if not events:
            return
        paths = [self._layout.absolute(file.path) for file in events]
        with connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB) as connection:
            rows = connection.execute(
                "SELECT source, count(*), count(DISTINCT source_offset), min(source_offset), max(source_offset) "
                "FROM read_parquet($1, union_by_name = true) GROUP BY source",
                [paths],
            ).fetchall()
        for sid, count, distinct, first, last in rows:
            self._source_rows(state, sid, count, distinct, (first, last))

    def _source_rows(
        self, state: State, sid: str, count: int, distinct: int, extent: tuple[int, int]
    ) -> None:
        source = state.sources.get(sid)
        where = f"source {sid}"
        if source is None:
            self._found("COUNTS", where, f"{count} rows of a source that the ledger does not know")
            return
        if distinct != count:
            self._found("DUPLICATE", where, f"{count} rows at {distinct} positions")
        first, last = extent
        if last >= source.offset:
            self._found(
                "COUNTS", where, f"a row at byte {last}, but only {source.offset} bytes are committed"
            )
        if first < source.base:
            self._found("COUNTS", where, f"a row at byte {first}, but the source begins at {source.base}")
        if count > source.counts.events or (count < source.counts.events and not state.drops):
            self._found("COUNTS", where, f"{count} rows, the ledger says {source.counts.events}")

    def _sources(self, state: State, records: list[Record]) -> None:
        """Compare the log files that still exist with the digests of the ranges read from them."""
        marks: dict[str, list[tuple[int, int, str]]] = {}
        for record in records:
            if record.header.kind == "commit":
                for entry in record.body["ranges"]:
                    extent = Range.from_json(entry)
                    marks.setdefault(extent.sid, []).append((extent.digest_from, extent.end, extent.digest))
        self._report.sources += len(state.sources)
        # A file that lost its end, or all it held, goes on as a source of its own: the last one says what it holds now.
        newest = {(source.path, source.inode): sid for sid, source in state.sources.items()}
        for (path, inode), sid in newest.items():
            held = [
                mark
                for segment in lineage(state.sources, sid)
                for mark in marks.get(segment.source.sid, ())
                if mark[1] <= segment.end
            ]
            if held and os.path.isfile(path):
                self._source(path, inode, held)

    def _source(self, path: str, inode: int, marks: list[tuple[int, int, str]]) -> None:
        if os.stat(path).st_ino != inode:
            return  # another file has taken the name
        self._report.sources_checked += 1
        for start in sorted({mark[0] for mark in marks}):
            wanted = {end: digest for begin, end, digest in marks if begin == start}
            try:
                checked, wrong = _compare(path, start, wanted)
            except DamagedError as error:
                self._found("SOURCE", path, str(error))
                return
            self._report.source_bytes += checked
            if wrong is not None:
                self._found("SOURCE", path, f"bytes {start} to {wrong} are not those that were archived")

    def _found(self, kind: str, where: str, what: str) -> None:
        self._report.findings.append(Finding(kind, where, what))


def _compare(path: str, start: int, wanted: dict[int, str]) -> tuple[int, int | None]:
    """Hash a file from ``start``; return bytes read and the first end whose digest differs (None: all fit)."""
    digest = hashlib.sha256()
    position = start
    with open(path, "rb") as file:
        stream = Stream(file, format_of(os.fsencode(path)))  # of a compressed file: what it holds
        stream.skip(start)
        for end in sorted(wanted):
            while position < end:
                block = stream.read(min(READ_BYTES, end - position))
                if not block:
                    return position - start, end
                digest.update(block)
                position += len(block)
            if digest.copy().hexdigest() != wanted[end]:
                return position - start, end
    return position - start, None


def _blocks(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            yield block
