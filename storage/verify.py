"""Checking an archive against its ledger: the chain, every file's hash, the rows, and the log files that still exist.

Nothing in the archive is changed. It may run beside the daemon: what the daemon does meanwhile is looked up before
anything is called wrong. What it can prove and what a chain without a signature cannot is told in `docs/guarantees.md`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parsers.decoding import DamagedError
from storage import hashing, originals
from storage.chain import Books, Chain
from storage.errors import LedgerError
from storage.findings import Progress, Report, silent
from storage.fs import Disk, Fs
from storage.layout import EVENTS, REJECTS, ROLLUPS, Layout
from storage.lineage import lineage
from storage.originals import Mark
from storage.positions import Stretch, stretches
from storage.reader import absent, nodes, read_state
from storage.records import SourceState
from storage.recovery import never_named
from storage.rollups import ADDRESSES, COUNTED, ENTITIES, FAMILIES, ROLLUP_SCHEMA, delta
from storage.sketch import FAMILY
from storage.snapshot import File
from storage.state import State
from storage.survey import folder_names, sealed_names

_PARQUET = ".parquet"
# Kept for the heaviest keys only: which of two equally heavy ones is kept depends on the order of the rows.
_PARTIAL = [ADDRESSES.name, ENTITIES.name, FAMILY]


@dataclass(frozen=True, slots=True)
class Parts:
    """What is checked besides the chain and the files' hashes."""

    rows: bool = True
    rollups: bool = False  # reads every event: as slow as making the roll-ups
    hash_threads: int | None = None  # None: as many as there are processors, at most four
    open_source: originals.Open = field(default=originals.plain)


def verify(
    path: str,
    *,
    node: str | None = None,
    with_sources: bool = True,
    parts: Parts | None = None,
    fs: Fs | None = None,
    progress: Progress = silent,
) -> Report:
    """Check the archive at ``path`` (one node, or all) and return what was found.

    ``with_sources``: compare the log files that still exist too. Raises ArchiveError where there is nothing to check:
    of a folder that is not mounted, or a node that is not there, nothing may be called right.
    """
    disk, report, started = fs or Disk(), Report(), time.monotonic()
    root = os.path.abspath(path)
    known = nodes(root, disk)
    if node is not None and node not in known:
        raise absent(path, node, disk)
    checks = [
        _Node(disk, Layout(root, name), parts or Parts(), report, progress, log_files=with_sources)
        for name in known
    ]
    for check in checks:
        if node in {None, check.layout.node}:
            check.check()
    _strangers(disk, root, checks, report)
    if not known and report.ok:
        raise absent(path, None, disk)
    report.seconds = time.monotonic() - started
    return report


def _strangers(fs: Fs, root: str, checks: Sequence[_Node], report: Report) -> None:
    """Note what lies where a glob finds it and no node's ledger names."""
    found = [
        os.path.join(top, day, name)
        for top in (EVENTS, REJECTS, ROLLUPS)
        for day in fs.listdir(os.path.join(root, top))
        for name in fs.listdir(os.path.join(root, top, day))
        if name.endswith(_PARQUET)
    ]
    # Afterwards: a file is in its place only when its record is durable, so what is seen can be looked up.
    named = {path for check in checks for path in check.named()}
    for path in found:
        if path not in named and fs.size(os.path.join(root, path)) is not None:
            report.found("UNKNOWN", path, "no ledger names it, and whoever reads this folder reads it")


class _Node:
    """The check of one node; everything is noted in ``report``."""

    def __init__(
        self, fs: Fs, layout: Layout, parts: Parts, report: Report, progress: Progress, *, log_files: bool
    ) -> None:
        self._fs = fs
        self.layout = layout
        self._log_files = log_files
        self._parts = parts
        self._report = report
        self._progress = progress
        self._books = Books()

    def check(self) -> None:
        """Check everything asked for."""
        chain = Chain(self._fs, self.layout, self._report, self._progress)
        self._books = books = chain.check()
        present = self._files(books.state)
        self._live_strangers()
        self._counts(books, present)
        if self._parts.rows:
            self._rows(books, present)
        if self._parts.rollups:
            self._rollups(present)
        self._report.sources += len(books.state.sources)
        if self._log_files:
            self._originals(books, chain)

    def named(self) -> set[str]:
        """Return every path that the ledger names, by now or when it was read."""
        state, now = self._books.state, self._now()
        return {*state.files, *state.retired, *now.files, *now.retired}

    def _now(self) -> State:
        """Return the state as a daemon may have brought it on since; an unreadable ledger was reported already."""
        try:
            return read_state(self.layout.root, self.layout.node, self._fs)
        except LedgerError:
            return self._books.state

    # Files

    def _files(self, state: State) -> list[File]:
        """Hash every file; return those whose content is right."""
        files = {self.layout.absolute(file.path): file for file in state.files.values()}
        total, done = sum(file.bytes for file in files.values()), 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            self._progress("files", done, total)

        good: list[File] = []
        gone: list[File] = []
        for path, digest in hashing.digests([*files], threads=self._parts.hash_threads, tell=tell):
            file = files[path]
            self._report.files += 1
            if digest is None:
                gone.append(file)
            elif self._right(file, digest):
                good.append(file)
        if gone:
            good += self._looked_for(gone)
        return sorted(good, key=lambda file: file.path)

    def _right(self, file: File, digest: str) -> bool:
        self._report.bytes += file.bytes
        if digest != file.sha256:
            self._report.found("MODIFIED", file.path, "its SHA-256 is not the one in the ledger")
            return False
        return True

    def _looked_for(self, gone: list[File]) -> list[File]:
        """Return the files that only had not been moved yet; those dropped or merged meanwhile are nobody's loss."""
        now = self._now()
        found: list[File] = []
        for file in gone:
            if file.path not in now.files:
                continue
            paths = [self.layout.absolute(file.path), self.layout.staged(file.path)]
            digest = next((d for _, d in hashing.digests(paths, threads=1) if d is not None), None)
            if digest is None:
                self._report.found("MISSING", file.path, "the ledger names it, the disk does not have it")
            elif self._right(file, digest) and os.path.isfile(paths[0]):
                found.append(file)
        return found

    def _live_strangers(self) -> None:
        """Note files of this node that no record names, and among them those that show the ledger's end to be missing."""
        live = list(folder_names(self._fs, self.layout, self.layout.live))
        own = [*live, *sealed_names(self._fs, self.layout)]
        named, last = self.named(), self._now().n
        for path in own:
            if path in named or self._fs.size(self.layout.absolute(path)) is None:
                continue
            if path in live:
                self._report.found("UNKNOWN", path, "no record names it")
            if never_named(self._fs, self.layout, path):
                what = f"it ends at record {last}, and a later one put {path} in its place"
                self._report.found("TRUNCATED", self.layout.ledger, what)

    # Rows

    def _counts(self, books: Books, present: list[File]) -> None:
        for kind, wanted in books.rows.items():
            held = sum(file.rows for file in books.state.files.values() if file.kind == kind)
            if held != wanted:
                self._report.found(
                    "COUNTS",
                    f"node {self.layout.node}",
                    f"{wanted} {kind} should be here, the files hold {held}",
                )
        self._report.events += sum(file.rows for file in present if file.kind == "events")
        self._report.rejects += sum(file.rows for file in present if file.kind == "rejects")
        for sid, source in books.state.sources.items():
            if not source.counts.balanced:
                self._report.found("COUNTS", f"source {sid}", f"its lines do not add up: {source.counts}")

    def _rows(self, books: Books, present: list[File]) -> None:
        files = {self.layout.absolute(f.path): f for f in present if f.kind == "events"}
        if not files:
            return
        total = sum(file.rows for file in files.values())
        found, twice = stretches(
            {path: file.rows for path, file in files.items()},
            lambda done: self._progress("rows", done, total),
        )
        for sid, count in twice.items():
            self._report.found("DUPLICATE", f"source {sid}", f"{count} rows at a place that another one has")
        held: dict[str, int] = dict.fromkeys(files, 0)
        for stretch in found:
            held[stretch.path] += stretch.rows
        for path, count in held.items():
            if count != files[path].rows and os.path.exists(path):
                self._report.found(
                    "MODIFIED", files[path].path, f"holds {count} rows, the ledger says {files[path].rows}"
                )
        every = len(files) == sum(file.kind == "events" for file in books.state.files.values())
        every = every and all(map(os.path.exists, files))  # none was merged or dropped meanwhile
        self._sources(books, found, whole=every and not books.dropped)

    def _sources(self, books: Books, found: list[Stretch], *, whole: bool) -> None:
        by_source: dict[str, list[Stretch]] = {}
        for stretch in found:
            by_source.setdefault(stretch.sid, []).append(stretch)
        for sid, mine in by_source.items():
            source, where = books.state.sources.get(sid), f"source {sid}"
            if source is None:
                self._report.found("COUNTS", where, "has rows, and no record names it")
                continue
            first, last = min(s.first for s in mine), max(s.last for s in mine)
            if first < source.base or last >= source.offset:
                self._report.found(
                    "COUNTS",
                    where,
                    f"has rows from byte {first} to {last}, committed are [{source.base}, {source.offset})",
                )
            if sum(s.rows for s in mine) > source.counts.events:
                self._report.found("COUNTS", where, "has more rows than lines that became events")
        if whole:
            for sid, source in books.state.sources.items():
                rows = sum(s.rows for s in by_source.get(sid, ()))
                if rows < source.counts.events:
                    self._report.found(
                        "COUNTS", f"source {sid}", f"has {rows} rows of {source.counts.events} events"
                    )

    def _rollups(self, present: list[File]) -> None:
        """Make each roll-up again from its events and compare what does not depend on the order of the rows."""
        events = {file.path for file in present if file.kind == "events"}
        rollups = [file for file in present if file.kind == "rollup" and file.covers in events]
        for number, file in enumerate(rollups, 1):
            assert file.covers is not None
            try:
                rows = pq.read_table(self.layout.absolute(file.covers), columns=[*COUNTED], partitioning=None)
                stored = pq.read_table(self.layout.absolute(file.path), partitioning=None)
            except FileNotFoundError:
                continue  # merged or dropped meanwhile
            if not _sums(stored).equals(_sums(_as_old_as(stored, delta(rows))).cast(_sums(stored).schema)):
                self._report.found("ROLLUP", file.path, f"is not the sum of {file.covers}")
            self._progress("roll-ups", number, len(rollups))

    # Log files

    def _originals(self, books: Books, chain: Chain) -> None:
        """Compare the log files that still exist with the digests of the ranges read from them."""
        sources = books.state.sources
        # A file that lost its end, or all it held, goes on as a source of its own: the last one says what it holds now.
        newest = {(source.path, source.device, source.inode): sid for sid, source in sources.items()}
        total = sum(sources[sid].offset for sid in newest.values())
        closed: list[OSError] = []
        for sid in newest.values():
            marks = _marks(sources, sid, books.marks)
            try:
                blocks = self._parts.open_source(sources[sid]) if marks else None
                if blocks is None:
                    continue
                read, wrong = originals.compare(blocks, marks)
            except DamagedError as error:
                self._report.sources_checked += 1
                self._report.found("SOURCE", sources[sid].path, f"can no longer be unpacked: {error}")
                continue
            except OSError as error:
                closed.append(error)
                continue
            self._report.sources_checked += 1
            self._report.source_bytes += read
            self._progress("log files", min(self._report.source_bytes, total), total)
            if wrong:
                start, end = self._located(chain, sources[sid], wrong[0])
                self._report.found(
                    "SOURCE",
                    sources[sid].path,
                    f"bytes {start} to {end} are not those that were archived (source {sid})",
                )
        if closed:
            first = os.fsdecode(closed[0].filename or "")
            what = f"{len(closed)} log files could not be read and were not compared"
            self._report.notes.append(f"{what}, first {first}: {closed[0].strerror}")

    def _located(self, chain: Chain, source: SourceState, wrong: Mark) -> tuple[int, int]:
        """Return the commit's range in which a file begins to differ."""
        marks = {
            Mark(extent.digest_from, extent.end, extent.digest): extent.start
            for extent in chain.ranges_of(source.sid)
            if extent.digest_from == wrong.start and extent.end <= wrong.end
        }
        blocks = self._parts.open_source(source) if marks else None
        if blocks is not None:
            _, differing = originals.compare(blocks, marks)
            if differing:
                first = min(differing, key=lambda mark: mark.end)
                return marks[first], first.end
        return wrong.start, wrong.end


def _marks(
    sources: Mapping[str, SourceState], sid: str, known: Mapping[str, Mapping[int, tuple[int, str]]]
) -> list[Mark]:
    """Return what a source's file must hash to; of the sources that it continues, what lies before the fork."""
    marks: dict[int, Mark] = {}
    for segment in lineage(sources, sid):
        own = [Mark(start, end, digest) for start, (end, digest) in known.get(segment.source.sid, {}).items()]
        own += [Mark(rung.start, rung.end, rung.digest) for rung in segment.source.rungs]
        for mark in own:
            longest = marks.get(mark.start)
            if mark.start < mark.end <= segment.end and (longest is None or longest.end < mark.end):
                marks[mark.start] = mark
    return list(marks.values())


def _as_old_as(stored: pa.Table, made: pa.Table) -> pa.Table:
    """Return a roll-up without the families that the release which wrote the other one did not have."""
    known = set(pc.unique(stored["family"]).to_pylist())
    newer = [family.name for family in FAMILIES.values() if family.marked and family.name not in known]
    return made.filter(~pc.field("family").isin(pa.array(newer, pa.string())))


def _sums(table: pa.Table) -> pa.Table:
    """Return a roll-up's rows without the partial families, in an order of their own."""
    kept = table.select(ROLLUP_SCHEMA.names).filter(~pc.field("family").isin(_PARTIAL))
    return kept.sort_by([(name, "ascending") for name in kept.schema.names])
