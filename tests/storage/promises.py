"""What an archive has promised, how to crash it, and the check that it kept its word.

`Writer` drives an archive on a `PowerDisk` and notes after each step what was promised; `survives` crashes a disk, also
while it recovers, and `check` compares what is left with the promise.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

import storage.ledger
from parsers.batch import Source
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.errors import ArchiveError
from storage.layout import Layout, segments
from storage.records import Record
from tests.storage.made import LINE, lines, seen
from tests.storage.power import ROOT, PowerCut, PowerDisk

Line = tuple[str, int]  # source, offset

# What a check of a broken archive may raise: the harness has found something.
FOUND = (AssertionError, ArchiveError, OSError, KeyError, orjson.JSONDecodeError)


@dataclass(frozen=True, slots=True)
class Promise:
    """What a crash must keep.

    ``offsets``: how far each source is committed; ``shown_seq``: the highest number anybody may have seen; ``going``:
    lines that retention was told to remove, ``gone``: those it said it had; ``gaps``: recorded gaps; ``records``: how
    many ledger records were acknowledged.
    """

    offsets: dict[str, int] = field(default_factory=dict)
    shown_seq: int = 0
    going: frozenset[Line] = frozenset()
    gone: frozenset[Line] = frozenset()
    gaps: int = 0
    records: int = 0


class Rows:
    """The (source, offset, seq) of each file by content, read once however many crash states hold it."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, tuple[Line, ...], int]] = {}

    def of(self, data: bytes) -> tuple[Line, ...]:
        """Return the lines of an events file."""
        return self._read(data)[1]

    def digest(self, data: bytes) -> str:
        """Return the SHA-256 of a file."""
        return self._read(data)[0]

    def greatest_seq(self, data: bytes) -> int:
        """Return the greatest seq in an events file."""
        return self._read(data)[2]

    def _read(self, data: bytes) -> tuple[str, tuple[Line, ...], int]:
        if data not in self._known:
            digest = hashlib.sha256(data).hexdigest()
            try:
                table = pq.read_table(pa.BufferReader(data))
            except pa.ArrowInvalid as error:
                raise AssertionError("a committed file is no Parquet file") from error
            found: tuple[Line, ...] = ()
            greatest = 0
            if {"source_offset", "timestamp"} <= set(table.column_names):
                rows = table.select(["source", "source_offset", "seq"]).to_pylist()
                found = tuple((row["source"], row["source_offset"]) for row in rows)
                greatest = max(row["seq"] for row in rows)
            self._known[data] = (digest, found, greatest)
        return self._known[data]


ROWS = Rows()


def options(grace_seconds: float = 0.0) -> ArchiveOptions:
    """Return options for an archive on a `PowerDisk`: by default superseded files go at once."""
    return ArchiveOptions(path=ROOT, grace_seconds=grace_seconds, fold_files=3)


def recover(disk: PowerDisk, grace_seconds: float = 0.0) -> Archive:
    """Open the archive as after a restart."""
    return Archive.open(options(grace_seconds), fs=disk)


def check(archive: Archive, disk: PowerDisk, promise: Promise) -> None:
    """Assert that a recovered archive keeps the promise: every committed line exactly once, and nothing else."""
    assert archive.problems == []
    state = archive.state
    for sid, offset in promise.offsets.items():
        assert state.sources[sid].offset >= offset, "an acknowledged commit is gone"
    assert archive.next_seq > promise.shown_seq, "a seq number could be used twice"
    assert state.gaps >= promise.gaps, "an acknowledged gap is gone"
    if promise.gaps:
        assert all(source.size <= source.offset for source in state.sources.values()), (
            "a gap would be told again"
        )
    assert state.n >= promise.records, "an acknowledged record is gone"
    found: list[Line] = []
    for file in state.files.values():
        data = disk.read(f"{ROOT}/{file.path}")
        assert ROWS.digest(data) == file.sha256, f"{file.path} is not what was committed"
        if file.kind == "events":
            assert ROWS.greatest_seq(data) <= state.max_seq
            found += ROWS.of(data)
    expected = {(sid, at) for sid, source in state.sources.items() for at in range(0, source.offset, LINE)}
    rows = set(found)
    assert len(found) == len(rows), "a line is archived twice"
    assert rows <= expected, "a line is archived that no record covers"
    assert not rows & promise.gone, "a line came back that was removed"
    missing = expected - rows
    assert missing <= promise.going, "a committed line is not archived"
    assert not missing or missing >= promise.going, "retention removed a part of what it was told to remove"
    listed = {f"{ROOT}/{path}" for path in (*state.files, *state.retired)}
    strays = [
        name
        for name in disk.names
        if name.endswith(".parquet") and "/aside/" not in name and name not in listed
    ]
    assert strays == [], "a file that no record names was left behind"


def check_chain(disk: PowerDisk) -> None:
    """Assert that every segment of the ledger, also those that start-up does not read, is whole and linked."""
    layout = Layout(ROOT, "main")
    paths = [layout.segment(number) for number in segments(disk.listdir(layout.ledger))]
    records: list[Record] = [
        record for path in paths for record in storage.ledger.parse(disk.read(path), path).records
    ]
    for before, after in itertools.pairwise(records):
        assert after.header.prev == before.hash, "the ledger's chain is broken"
        assert after.header.n == before.header.n + 1, "a number of the ledger is missing or used twice"
        assert after.header.epoch >= before.header.epoch


class Writer:
    """Drives an archive and notes on the disk what it has been promised."""

    def __init__(self, disk: PowerDisk, grace_seconds: float = 0.0) -> None:
        self.disk = disk
        self.grace_seconds = grace_seconds
        self.archive = recover(disk, grace_seconds)
        self.sources: list[Source] = []
        self.ends: dict[str, int] = {}
        self.promise = Promise()
        self.note()

    def register(self, *names: str) -> None:
        """Meet new files."""
        for source in self.archive.register_all([seen(name) for name in names]):
            self.sources.append(source)
            self.ends[source.sid] = 0
        self.note(
            offsets={**self.promise.offsets, **{source.sid: 0 for source in self.sources[-len(names) :]}}
        )

    def append(self, which: int, count: int) -> None:
        """Make lines visible."""
        source = self.sources[which]
        parsed, chunk = lines(source, self.ends[source.sid], count)
        shown = self.archive.append(parsed, [chunk]).seq
        self.ends[source.sid] = chunk.end
        self.note(shown_seq=max(self.promise.shown_seq, shown))

    def commit(self) -> None:
        self.archive.commit()
        self.committed()

    def committed(self) -> None:
        """Note that everything visible is durable now."""
        self.note(offsets={**self.promise.offsets, **self.ends}, records=self.archive.state.n)

    def fold(self) -> None:
        self.archive.fold()
        self.note(records=self.archive.state.n)

    def seal(self) -> None:
        self.archive.seal()
        self.note(records=self.archive.state.n)

    def collect(self) -> None:
        self.archive.collect()
        self.note()

    def bulk(self, which: int, count: int) -> None:
        """Import lines as the import command does."""
        source = self.sources[which]
        parsed, chunk = lines(source, self.archive.sources[source.sid].offset, count)
        self.archive.bulk.append(parsed, [chunk])
        self.archive.bulk.commit()
        self.ends[source.sid] = chunk.end
        self.committed()

    def drop(self, before_day: str) -> None:
        """Let retention remove days."""
        paths = self.archive.drop(before_day, dry_run=True).paths
        files = [self.archive.state.files[path] for path in paths]
        doomed = _lines_of(self.disk, (file.path for file in files if file.kind == "events"))
        self.note(going=self.promise.gone | doomed)
        self.archive.drop(before_day, dry_run=False)
        self.note(gone=self.promise.going, records=self.archive.state.n)

    def gap(self, which: int) -> None:
        """Record bytes that are lost."""
        sid = self.sources[which].sid
        end = self.archive.sources[sid].offset
        self.archive.at_risk({sid: end + LINE}, [])
        self.archive.losses.gap(sid, end, end + LINE, "truncated")
        self.note(gaps=self.promise.gaps + 1, records=self.archive.state.n)

    def snapshot_due(self) -> None:
        """Let the next commit begin a new segment of the ledger with the whole state."""
        self.archive.state.commits_since_snapshot = 10_000

    def restart(self) -> None:
        """Stop in good order and start again."""
        self.archive.close()
        self.committed()
        self.archive = recover(self.disk, self.grace_seconds)

    def note(self, **changes: object) -> None:
        """Note what is promised from here on."""
        self.promise = replace(self.promise, **changes)  # type: ignore[arg-type]  # checked by the dataclass
        if self.disk.journal is not None:
            self.disk.mark(self.promise)


def _lines_of(disk: PowerDisk, paths: Iterable[str]) -> frozenset[Line]:
    return frozenset(line for path in paths for line in ROWS.of(disk.read(f"{ROOT}/{path}")))


def survives(
    disk: PowerDisk, promise: Promise, chance: random.Random, *, recoveries: int | None = None
) -> None:
    """Crash now, recover (crashing in between, maybe several times), and check.

    ``recoveries``: how many recoveries are cut short; by default a matter of chance.
    """
    for _ in range(chance.choice((0, 0, 1, 1, 2)) if recoveries is None else recoveries):
        disk.kill() if chance.random() < 0.5 else disk.cut(chance)
        disk.fuse = chance.randrange(24)
        try:
            recover(disk)
        except PowerCut:
            continue
    disk.cut(chance) if chance.random() < 0.7 else disk.kill()
    archive = recover(disk)
    check(archive, disk, promise)
    if chance.random() < 0.25:  # what was recovered must be as durable as what was written
        disk.cut(chance)
        check(recover(disk), disk, promise)


DROPPED_BEFORE = "2023-11-15"  # the first lines of these tests are of the day before


def a_busy_day(disk: PowerDisk) -> Writer:
    """Commit, fold, seal, import, drop, snapshot, gap, restart: every kind of record and every kind of file."""
    writer = Writer(disk)
    writer.register("a.jsonl")
    writer.append(0, 3)
    writer.commit()
    writer.register("b.jsonl", "c.jsonl", "d.jsonl")
    for round_ in range(4):
        writer.append(0, 2 + round_)
        writer.append(1, 1)
        writer.commit()
    writer.fold()
    writer.collect()
    writer.append(1, 40)
    writer.commit()
    writer.seal()
    writer.collect()
    writer.append(0, 2)
    writer.restart()
    writer.bulk(0, 30)
    writer.snapshot_due()
    writer.append(1, 1)
    writer.commit()
    writer.gap(1)
    writer.drop(DROPPED_BEFORE)
    writer.collect()
    writer.snapshot_due()
    writer.append(1, 1)
    writer.commit()
    return writer


def a_short_day(disk: PowerDisk) -> Writer:
    """The least that has all steps: for sweeps in which every operation also fails once."""
    writer = Writer(disk)
    writer.register("a.jsonl", "b.jsonl")
    writer.append(0, 3)
    writer.commit()
    writer.append(1, 2)
    writer.snapshot_due()
    writer.commit()
    writer.seal()
    writer.append(0, 1)
    writer.commit()
    return writer
