"""Power cuts and kills at every operation of the archive, also inside recovery: nothing lost, nothing twice."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

import pytest

from parsers.batch import Source
from storage.errors import ArchiveError
from tests.storage.made import LINE, lines, seen
from tests.storage.power import PowerCut, PowerDisk, Promise, Rows, check, crash_points, recover

# Ways in which each crash point's un-synced state can come out. `make soak` raises it.
OUTCOMES = int(os.environ.get("WATCHKEEP_POWER_OUTCOMES", "24"))


class Writer:
    """Drives an archive and notes on the disk what it has been promised."""

    def __init__(self, disk: PowerDisk) -> None:
        self.disk = disk
        self.archive = recover(disk)
        self.sources: list[Source] = []
        self.ends: dict[str, int] = {}
        self.promised: dict[str, int] = {}
        self.shown = 0

    def register(self, name: str) -> None:
        source = self.archive.register(seen(name))
        self.sources.append(source)
        self.ends[source.sid] = 0
        self.promised[source.sid] = 0
        self.note()

    def append(self, which: int, count: int) -> None:
        source = self.sources[which]
        parsed, chunk = lines(source, self.ends[source.sid], count)
        self.shown = self.archive.append(parsed, [chunk]).seq
        self.ends[source.sid] = chunk.end
        self.note()

    def commit(self) -> None:
        self.archive.commit()
        self.promised = dict(self.ends)
        self.note()

    def upkeep(self, work: Callable[[], object]) -> None:
        work()
        self.note()

    def note(self) -> None:
        self.disk.mark(Promise(dict(self.promised), self.shown))


def a_busy_day(disk: PowerDisk) -> Writer:
    """Commit, fold, seal, drop, snapshot, restart: every kind of record and every kind of file."""
    writer = Writer(disk)
    writer.register("a.jsonl")
    writer.append(0, 3)
    writer.commit()
    writer.register("b.jsonl")
    for round_ in range(4):
        writer.append(0, 2 + round_)
        writer.append(1, 1)
        writer.commit()
    writer.upkeep(writer.archive.fold)
    writer.upkeep(writer.archive.collect)
    writer.append(1, 40)
    writer.commit()
    writer.upkeep(writer.archive.seal)
    writer.upkeep(writer.archive.collect)
    writer.append(0, 2)
    writer.archive.close()
    writer.promised = dict(writer.ends)
    writer.note()
    writer.archive = recover(disk)
    source = writer.sources[0]
    parsed, chunk = lines(source, writer.ends[source.sid], 30)
    writer.archive.append_sealed(parsed, [chunk])
    writer.archive.commit_sealed()
    writer.ends[source.sid] = writer.promised[source.sid] = chunk.end
    writer.note()
    writer.archive.state.commits_since_snapshot = 10_000  # a snapshot of the ledger after the next commit
    writer.append(1, 1)
    writer.commit()
    writer.upkeep(lambda: writer.archive.drop("2023-11-15", dry_run=False))
    writer.upkeep(writer.archive.collect)
    writer.append(1, 1)
    writer.commit()
    return writer


def survives(disk: PowerDisk, promise: Promise, chance: random.Random, rows: Rows) -> None:
    """Crash now, recover (crashing in between, maybe several times), and check."""
    for _ in range(chance.choice((0, 0, 1, 2))):
        if chance.random() < 0.4:
            disk.kill()
        else:
            disk.cut(chance)
        disk.fuse = chance.randrange(14)
        try:
            recover(disk)
        except PowerCut:
            continue
    disk.cut(chance) if chance.random() < 0.7 else disk.kill()
    archive = recover(disk)
    check(archive, disk, promise, rows)
    archive.abandon()


def test_a_crash_at_every_operation_keeps_every_committed_line_exactly_once() -> None:
    """Over 5,000 crash states of one busy day recover to exactly what was acknowledged."""
    disk = PowerDisk()
    a_busy_day(disk)
    rows = Rows()
    states = 0
    for count, promise in crash_points(disk):
        for outcome in range(OUTCOMES):
            survives(disk.replayed(count), promise, random.Random(count * 1_000_003 + outcome), rows)
            states += 1
    assert states >= 5_000


def test_work_goes_on_after_a_crash_as_if_nothing_had_been() -> None:
    """After a crash and recovery the rest of the lines is read again from the committed offset, and all is there."""
    disk = PowerDisk()
    a_busy_day(disk)
    rows = Rows()
    chance = random.Random(7)
    for count, promise in crash_points(disk):
        if chance.random() > 0.08:
            continue
        again = disk.replayed(count)
        again.cut(chance)
        archive = recover(again)
        offsets = {}
        for state in list(archive.sources.values()):
            source = Source(state.sid, state.file, 0, None, "native", internal=False)
            parsed, chunk = lines(source, state.offset, 5)
            archive.append(parsed, [chunk])
            offsets[state.sid] = state.offset + 5 * LINE
        archive.commit()
        archive.seal()
        again.cut(chance)
        check(recover(again), again, Promise(offsets), rows)
        assert all(archive.sources[sid].offset == offset for sid, offset in offsets.items())
        del promise


def _bulk(writer: Writer) -> None:
    """Import lines as the import command does: on failure read again from what is committed."""
    source = writer.sources[0]
    for _ in range(3):
        offset = writer.archive.sources[source.sid].offset
        parsed, chunk = lines(source, offset, 40)
        try:
            writer.archive.append_sealed(parsed, [chunk])
            writer.archive.commit_sealed()
        except (ArchiveError, OSError):
            writer.archive.recover()  # the record may have reached the disk
            continue
        writer.ends[source.sid] = writer.promised[source.sid] = chunk.end
        return


WORK: dict[str, Callable[[Writer], object]] = {
    "commit": lambda writer: writer.archive.commit(),
    "fold": lambda writer: (writer.archive.commit(), writer.archive.fold()),
    "seal": lambda writer: (writer.archive.commit(), writer.archive.seal()),
    "bulk": _bulk,
}


@pytest.mark.parametrize("work", WORK)
def test_a_failing_disk_stalls_the_work_and_nothing_is_lost(work: str) -> None:
    """Whatever operation fails, the next try commits the same lines once."""
    rows = Rows()
    for fail_at in range(0, 60, 2):
        disk = PowerDisk()
        writer = Writer(disk)
        writer.register("a.jsonl")
        for _ in range(4):
            writer.append(0, 4)
            writer.commit()
        if work != "bulk":
            writer.append(0, 3)
        disk.will_fail(fail_at, errno.ENOSPC if fail_at % 4 else errno.EIO)
        try:
            WORK[work](writer)
        except (ArchiveError, OSError):
            writer.append(0, 2)  # lines go on coming while the disk is full
        untouched = disk.fault is not None
        disk.fault = None
        writer.commit()
        assert writer.archive.snapshot.hot == ()
        writer.archive.seal()
        archive = recover(disk)
        check(archive, disk, Promise(writer.promised, writer.shown), rows)
        assert {sid: state.offset for sid, state in archive.sources.items()} == writer.ends
        if untouched:
            return


class ForgetsFiles(PowerDisk):
    """A planted bug: files are never synced."""

    def on_sync(self, path: str) -> None:
        if not path.endswith(".parquet"):
            super().on_sync(path)


class ForgetsLedger(PowerDisk):
    """A planted bug: the ledger is never synced."""

    def on_sync(self, path: str) -> None:
        if not path.endswith(".ledger"):
            super().on_sync(path)


class ForgetsFolders(PowerDisk):
    """A planted bug: folders are never synced."""

    def on_sync_dir(self, path: str) -> None:
        del path


class ForgetsStaging(PowerDisk):
    """A planted bug: the folder `staging` is not synced before the record is written."""

    def on_sync_dir(self, path: str) -> None:
        if not path.endswith("staging"):
            super().on_sync_dir(path)


class KeepsTheTornTail(PowerDisk):
    """A planted bug: half a record at the end of the ledger is not cut."""

    def on_truncate(self, path: str, size: int) -> None:
        del path, size


@pytest.mark.parametrize(
    "planted", [ForgetsFiles, ForgetsLedger, ForgetsFolders, ForgetsStaging, KeepsTheTornTail]
)
def test_the_harness_finds_planted_storage_bugs(planted: type[PowerDisk]) -> None:
    """A harness that cannot find a missing sync would prove nothing."""
    disk = planted()
    a_busy_day(disk)
    rows = Rows()

    def search() -> None:
        for outcome in range(OUTCOMES):
            for count, promise in crash_points(disk):
                survives(disk.replayed(count), promise, random.Random(count * 31 + outcome), rows)

    with pytest.raises((AssertionError, ArchiveError, OSError, KeyError)):
        search()


def test_a_second_open_of_a_recovered_archive_changes_nothing() -> None:
    """Recovery twice in a row gives the same state: it is idempotent."""
    disk = PowerDisk()
    a_busy_day(disk)
    first = recover(disk)
    files = dict(first.state.files)
    sources = dict(first.sources)

    second = recover(disk)

    assert second.state.files == files
    assert dict(second.sources) == sources
