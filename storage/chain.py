"""The ledger's chain, checked record by record from the first one on, and the books kept beside it.

One segment is in memory at a time. What the records lead to is folded twice, in a way: into the state that a daemon
would have, and into sums of lines and rows that every commit, seal and drop must keep.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from storage.errors import LedgerError
from storage.findings import Progress, Report
from storage.fs import Fs
from storage.layout import Layout, segments
from storage.ledger import GENESIS, salvage
from storage.records import Range, Record, SourceState, file_from_json
from storage.retention import class_of, day_before
from storage.snapshot import File
from storage.state import State, advanced

# While a daemon writes, the end of the newest segment may be read half-written: then it is read again.
TAIL_TRIES = 5
TAIL_WAIT_SECONDS = 0.05

# Kinds of files whose rows are lines.
_ROW_KINDS = ("events", "rejects")
# Parts of a snapshot that need not be what the records before it say: files collected meanwhile are no longer listed.
_FREE = frozenset({"retired", "rebuilt"})


@dataclass(slots=True)
class Books:
    """What the chain leads to. ``rows`` are those that must be in files, by kind; ``marks`` what log files must hash to.

    ``marks``: sid → first byte → (end, SHA-256 of the bytes between), the longest of each.
    """

    state: State = field(default_factory=State)
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_ROW_KINDS, 0))
    dropped: bool = False  # rows have left the archive, so that a source may have fewer than its lines say
    marks: dict[str, dict[int, tuple[int, str]]] = field(default_factory=dict)


class Chain:
    """The check of one node's ledger."""

    def __init__(self, fs: Fs, layout: Layout, report: Report, progress: Progress) -> None:
        self._fs = fs
        self._layout = layout
        self._report = report
        self._progress = progress
        self._broken = (
            False  # a record could not be read: what follows cannot be compared with what came before
        )
        self.books = Books()

    def check(self) -> Books:
        """Read every record, note what is wrong, and return what they lead to."""
        head, n, epoch = GENESIS, 0, 0
        for record, first in self._records():
            header = record.header
            rebuilt = first and "rebuilt" in record.body
            if rebuilt:
                self._report.notes.append(
                    f"the ledger was rebuilt from the files: record {header.n} is the first of the new chain"
                )
            elif (header.prev, header.n) != (head, n + 1) and not self._broken:
                self._found("CHAIN", record, f"does not follow record {n}" if n else "is not the first one")
            if header.node != self._layout.node or header.epoch < epoch:
                self._found("CHAIN", record, f"says node {header.node!r}, epoch {header.epoch} after {epoch}")
            self._apply(record, rebuilt=rebuilt)
            head, n, epoch = record.hash, header.n, header.epoch
            self._broken = False
        return self.books

    def ranges_of(self, sid: str) -> Iterator[Range]:
        """Yield every committed range of a source, for a second look."""
        for record, _ in self._records(quiet=True):
            if record.header.kind == "commit":
                for entry in record.body["ranges"]:
                    if entry["sid"] == sid:
                        yield Range.from_json(entry)

    # Reading

    def _records(self, *, quiet: bool = False) -> Iterator[tuple[Record, bool]]:
        """Yield each whole record, and whether it is the first one there is."""
        numbers = segments(self._fs.listdir(self._layout.ledger))
        total = sum(self._fs.size(self._layout.segment(number)) or 0 for number in numbers)
        done, first = 0, True
        for number in numbers:
            path = self._layout.segment(number)
            name = os.path.basename(path)
            records, damage, size = self._whole(path, name, newest=number == numbers[-1], quiet=quiet)
            for record in records:
                if isinstance(record, str):
                    self._broken = True
                    continue
                yield record, first
                first = False
            if quiet:
                continue
            for place in damage:
                self._report.found("CHAIN", place, "no whole record")
            done += size
            self._progress("ledger", done, total)
            self._report.records += sum(isinstance(record, Record) for record in records)

    def _whole(
        self, path: str, name: str, *, newest: bool, quiet: bool
    ) -> tuple[list[Record | str], list[str], int]:
        """Return a segment's records, a place instead of each that is damaged, and the places."""
        data = self._fs.read(path)
        for _ in range(TAIL_TRIES if newest else 0):
            if data.endswith(b"\n"):
                break
            time.sleep(TAIL_WAIT_SECONDS)
            data = self._fs.read(path)
        try:
            found = salvage(data, name)
        except LedgerError as error:  # whole, and of a newer release
            if not quiet:
                self._report.found("CHAIN", error.where, error.what)
            return [], [], len(data)
        return found, [entry for entry in found if isinstance(entry, str)], len(data)

    # Folding

    def _apply(self, record: Record, *, rebuilt: bool) -> None:
        kind, books = record.header.kind, self.books
        if kind == "snapshot":
            self._snapshot(record, rebuilt=rebuilt)
            return
        before = books.state.files
        match kind:
            case "commit":
                self._commit(record)
            case "fold" | "seal":
                self._exchange(record, before)
            case "drop":
                self._drop(record, before)
            case _:
                pass
        try:
            books.state.apply(record)
        except LedgerError as error:
            self._report.found("SOURCE_GAP" if kind == "commit" else "CHAIN", error.where, error.what)
            self._force(record)
        except (KeyError, TypeError, ValueError) as error:
            self._found("CHAIN", record, f"cannot be understood: {error!r}")

    def _commit(self, record: Record) -> None:
        files = _files(record)
        expected = dict.fromkeys(_ROW_KINDS, 0)
        for entry in record.body["ranges"]:
            extent = Range.from_json(entry)
            counts = extent.counts
            if not counts.balanced:
                self._found("COUNTS", record, f"the lines of source {extent.sid} do not add up: {counts}")
            if extent.end < extent.start:
                self._found("SOURCE_GAP", record, f"range [{extent.start}, {extent.end}) of {extent.sid}")
            expected["events"] += counts.events
            # Lines that are too long or torn leave what there is of them among the rejects.
            expected["rejects"] += counts.rejects + counts.oversize + counts.torn
            mine = self.books.marks.setdefault(extent.sid, {})
            if extent.end > mine.get(extent.digest_from, (0, ""))[0]:
                mine[extent.digest_from] = (extent.end, extent.digest)
        for kind in _ROW_KINDS:
            held = _rows(files, kind)
            self.books.rows[kind] += held
            if held != expected[kind]:
                self._found("COUNTS", record, f"{expected[kind]} lines became {kind}, its files hold {held}")

    def _exchange(self, record: Record, before: dict[str, File]) -> None:
        removed = [before[path] for path in record.body["removes"] if path in before]
        if len(removed) != len(record.body["removes"]):
            self._found("CHAIN", record, "takes the place of files that no record named")
        for kind in _ROW_KINDS:
            gone, came = _rows(removed, kind), _rows(_files(record), kind)
            self.books.rows[kind] += came - gone
            if gone != came:
                self._found("COUNTS", record, f"{gone} {kind} became {came}")

    def _drop(self, record: Record, before: dict[str, File]) -> None:
        removed = [before[path] for path in record.body["removes"] if path in before]
        self.books.dropped = True
        for kind in _ROW_KINDS:
            self.books.rows[kind] -= _rows(removed, kind)
        # What was forbidden then: a minimum that a person lowered before counts as lowered.
        day = str(np.datetime64(record.header.written_at, "us").astype("datetime64[D]"))
        for file in removed:
            minimum = self.books.state.minimums.get(class_of(file), 0)
            if minimum and file.day is not None and file.day >= day_before(day, minimum):
                what = f"dropped by record {record.header.n} before it was {minimum} days old"
                self._report.found("EARLY", file.path, what)

    def _snapshot(self, record: Record, *, rebuilt: bool) -> None:
        books = self.books
        if not rebuilt and not self._broken:
            expected = orjson.loads(orjson.dumps(books.state.to_json()))
            differing = [
                name
                for name, value in record.body.items()
                if name in expected and name not in _FREE and expected[name] != value
            ]
            if differing:
                self._found("CHAIN", record, f"is not what the records before it say: {', '.join(differing)}")
        books.state.apply(record)
        if rebuilt or self._broken:
            files = books.state.files.values()
            books.rows = {kind: _rows(files, kind) for kind in _ROW_KINDS}
            books.dropped = True
            books.marks = {sid: _rungs(source) for sid, source in books.state.sources.items()}

    def _force(self, record: Record) -> None:
        """Take a commit that contradicts the state for what it says, so that one fault is one finding."""
        state, body = self.books.state, record.body
        for entry in body.get("ranges", ()):
            extent = Range.from_json(entry)
            if extent.sid in state.sources:
                state.sources[extent.sid] = advanced(state.sources[extent.sid], extent, body["max_seq"])
        for file in _files(record):
            state.files[file.path] = file
        state.max_seq = max(state.max_seq, body.get("max_seq", 0))
        state.n, state.head = record.header.n, record.hash
        self.books.dropped = True

    def _found(self, kind: str, record: Record, what: str) -> None:
        self._report.found(kind, f"record {record.header.n} ({record.header.kind})", what)


def _files(record: Record) -> list[File]:
    return [file_from_json(entry) for entry in record.body.get("files", ())]


def _rows(files: Any, kind: str) -> int:
    return sum(file.rows for file in files if file.kind == kind)


def _rungs(source: SourceState) -> dict[int, tuple[int, str]]:
    """Return what a source's log file must hash to, as far as its own state tells."""
    found: dict[int, tuple[int, str]] = {}
    for rung in source.rungs:
        if rung.end > found.get(rung.start, (rung.start, ""))[0]:
            found[rung.start] = (rung.end, rung.digest)
    return found
