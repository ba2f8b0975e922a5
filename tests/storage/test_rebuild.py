"""A lost or damaged ledger: never gone on without, and built again from the files with every line exactly once."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from parsers.batch import Source
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.errors import LedgerError
from storage.fs import Disk
from storage.keeping import HoldsUnknownError
from storage.ledger import Ledger
from storage.provenance import parse_footer
from storage.query import Filter
from storage.rebuild import Plan, holding, plan, rebuild, usable
from storage.verify import verify
from tests.storage.made import lines, seen
from tests.storage.power import PowerCut, PowerDisk
from tests.storage.promises import recover


def add(archive: Archive, source: Source, count: int) -> None:
    """Append the next ``count`` lines of a source."""
    start = archive.uncommitted().get(source.sid, archive.sources[source.sid].offset)
    parsed, chunk = lines(source, start, count)
    archive.append(parsed, [chunk])


def a_life(archive: Archive) -> list[Source]:
    """Commits, a fold, a seal, a bulk import, commits again: every kind of file, superseded ones still there."""
    sources = archive.register_all([seen("a"), seen("b"), seen("self", internal=True)])
    for round_ in range(5):
        for source in sources[: 1 + round_ % 3]:
            add(archive, source, 3 + round_)
        archive.commit()
    archive.fold()
    add(archive, sources[0], 20)
    archive.commit()
    archive.seal()
    parsed, chunk = lines(sources[1], archive.sources[sources[1].sid].offset, 30)
    archive.bulk.append(parsed, [chunk])
    archive.bulk.commit()
    for _ in range(5):
        add(archive, sources[0], 2)
        add(archive, sources[2], 1)
        archive.commit()
    archive.fold()
    return sources


def rows(archive: Archive) -> list[tuple[str, int]]:
    """Return (source, offset) of every committed event, as often as it is there."""
    found: list[tuple[str, int]] = []
    for file in archive.state.files.values():
        if file.kind == "events":
            table = pq.read_table(archive.layout.absolute(file.path), partitioning=None)
            found += [(row["source"], row["source_offset"]) for row in table.to_pylist()]
    return sorted(found)


def remove(ledger: Path) -> None:
    """The whole folder is gone."""
    shutil.rmtree(ledger)


def cut_in_the_middle(ledger: Path) -> None:
    """The newest segment ends in the middle of some record."""
    last = sorted(ledger.iterdir())[-1]
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])


def cut_between_records(ledger: Path) -> None:
    """As after the restoration of an older backup: whole, but behind."""
    last = sorted(ledger.iterdir())[-1]
    kept = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(kept[: len(kept) // 2]))


def spoil_a_record(ledger: Path) -> None:
    """One byte of a record changes, good records follow."""
    last = sorted(ledger.iterdir())[-1]
    data = bytearray(last.read_bytes())
    data[len(data) // 3] ^= 0x10
    last.write_bytes(data)


def empty(ledger: Path) -> None:
    """The segment has no byte."""
    sorted(ledger.iterdir())[-1].write_bytes(b"")


DAMAGE = [remove, cut_in_the_middle, cut_between_records, spoil_a_record, empty]


def rebuilt(archive: Archive) -> Plan:
    """Plan and write, as the command does."""
    with holding(Disk(), archive.layout):
        found = plan(Disk(), archive.layout)
        rebuild(Disk(), archive.layout, found)
    return found


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_without_its_ledger_an_archive_does_not_open_and_nothing_is_touched(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Starting anew would read every line again beside its row, and clear live files away as unknown."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path), fold_files=4))
    a_life(archive)
    archive.close()
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")}
    damage(Path(archive.layout.ledger))
    for _ in range(2):
        with pytest.raises(LedgerError, match="doctor --rebuild-ledger"):
            Archive.open(archive.options)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.parquet")} == before
    assert usable(Disk(), archive.layout) is None


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_rebuilt_ledger_knows_every_row_once_and_every_offset(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Superseded files in their grace time are not counted; the archive goes on and verifies."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path), fold_files=4))
    sources = a_life(archive)
    archive.close()
    before, offsets = rows(archive), {s.sid: archive.sources[s.sid] for s in sources}
    shown, epoch = archive.state.max_seq, Ledger(Disk(), archive.layout, writer_version="").read(repair=False)
    damage(Path(archive.layout.ledger))

    found = rebuilt(archive)

    assert found.superseded
    assert not found.holes
    again = Archive.open(archive.options)
    assert again.problems == []
    assert rows(again) == before
    for sid, before_it in offsets.items():
        known = again.sources[sid]
        assert (known.offset, known.counts, known.seam, known.base) == (
            before_it.offset,
            before_it.counts,
            before_it.seam,
            before_it.base,
        )
    assert again.next_seq > shown
    assert again.state.sealed_seq < again.state.max_seq
    for source in sources:
        add(again, source, 2)
    again.commit()
    again.seal()
    again.close()
    assert len(rows(again)) == len(set(rows(again))) == len(before) + 6
    report = verify(str(tmp_path))
    assert report.ok, report.findings
    kept = Ledger(Disk(), archive.layout, writer_version="").read(repair=False)
    assert kept[0].body["rebuilt"]["files"] == found.files
    assert kept[0].header.epoch > epoch[-1].header.epoch
    if damage is not remove:
        assert list((tmp_path / "nodes/main/aside").glob("ledger-before-*"))
    assert usable(Disk(), archive.layout) is not None


def test_dropped_rows_do_not_come_back_with_a_rebuilt_ledger(tmp_path: Path) -> None:
    """The files that held a source are gone, and its log file may still be there: a younger file knows its offset."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path), grace_seconds=0.0))
    old, young = archive.register_all([seen("old"), seen("young")])
    add(archive, old, 20)
    archive.commit()
    archive.seal()
    parsed, chunk = lines(young, 0, 100)
    archive.append(parsed, [chunk])
    archive.commit()
    archive.seal()
    archive.drop("2023-11-17", dry_run=False)
    archive.collect()
    kept = rows(archive)
    assert all(sid == young.sid for sid, _ in kept)
    archive.close()
    remove(Path(archive.layout.ledger))
    found = rebuilt(archive)
    assert [(hole.sid, hole.start, hole.end) for hole in found.holes] == [(old.sid, 0, 200)]
    again = Archive.open(archive.options)
    assert again.sources[old.sid].offset == 200
    assert again.sources[young.sid].offset == 1000
    assert rows(again) == kept
    again.close()


def test_a_rebuilt_ledger_lets_nothing_be_removed_until_holds_are_confirmed(tmp_path: Path) -> None:
    """Unread records may have told of holds: restarts and ledger snapshots do not make them known, a person does."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path)))
    source = archive.register(seen("a"))
    add(archive, source, 20)
    archive.commit()
    archive.seal()
    archive.keeping.add_hold("case", Filter.of({"user_id": ["42"]}), reason="r", author="a")
    archive.close()
    remove(Path(archive.layout.ledger))
    rebuilt(archive)
    for _ in range(2):
        archive = Archive.open(archive.options)
        assert archive.drop("2100-01-01", dry_run=True).rows == 20
        with pytest.raises(HoldsUnknownError, match="holds may be missing"):
            archive.drop("2100-01-01", dry_run=False)
        archive.state.commits_since_snapshot = 10_000
        add(archive, source, 1)
        archive.close()  # with a commit, and so with a snapshot
    archive = Archive.open(archive.options)
    archive.keeping.confirm_holds(reason="there is one no more", author="a")
    archive.close()
    archive = Archive.open(archive.options)
    assert archive.drop("2100-01-01", dry_run=False).rows == 20
    archive.close()


def test_files_dropped_a_moment_ago_stay_dropped_if_the_old_ledger_can_still_say_so(tmp_path: Path) -> None:
    """They lie there for readers that have them open; whatever records are whole are believed."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path)))
    source = archive.register(seen("a"))
    add(archive, source, 100)
    archive.commit()
    archive.seal()
    archive.drop("2023-11-16", dry_run=False)
    add(archive, source, 5)
    archive.commit()
    kept = rows(archive)
    assert 5 < len(kept) < 105
    archive.close()
    segment = sorted(Path(archive.layout.ledger).iterdir())[-1]
    segment.write_bytes(segment.read_bytes()[:-100])
    rebuilt(archive)
    again = Archive.open(archive.options)
    assert rows(again) == kept
    assert again.sources[source.sid].offset == 1050
    again.close()
    assert verify(str(tmp_path)).findings == []


def test_rows_that_came_late_and_wait_are_known_again(tmp_path: Path) -> None:
    """They are in a live file that a seal left behind: its siblings tell of the same bytes, and nothing counts twice."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path), grace_seconds=0.0))
    source = archive.register(seen("a"))
    for _ in range(3):
        add(archive, source, 10)
        archive.commit()
    now_us = 1_700_000_000_000_000
    assert archive.seal_due(now_us) >= 0
    add(archive, source, 10)
    archive.commit()
    archive.seal_due(now_us)
    archive.collect()
    kept, known = rows(archive), archive.sources[source.sid]
    archive.close()
    remove(Path(archive.layout.ledger))
    found = rebuilt(archive)
    assert not found.holes
    again = Archive.open(archive.options)
    assert rows(again) == kept
    assert (again.sources[source.sid].offset, again.sources[source.sid].counts) == (
        known.offset,
        known.counts,
    )
    again.seal()
    for file in again.snapshot.events:
        told = parse_footer(pq.read_metadata(again.layout.absolute(file.path)).metadata)
        assert told is not None
        assert all(each.covered.counts.events <= 40 for each in told.sources.values())
    again.close()
    assert verify(str(tmp_path)).findings == []


def test_damaged_and_foreign_files_are_named_and_kept(tmp_path: Path) -> None:
    """What cannot be read is moved aside, never deleted; its source goes on behind it."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path)))
    source = archive.register(seen("a"))
    for _ in range(3):
        add(archive, source, 4)
        archive.commit()
    archive.close()
    bad = next(f for f in archive.snapshot.events if f.min_seq == 5)
    path = tmp_path / bad.path
    path.chmod(0o640)
    path.write_bytes(b"PAR1" + path.read_bytes()[4:-4] + b"XXXX")
    copy = path.with_name("main-0000000000000099-events.parquet")
    good = next(f for f in archive.snapshot.events if f.min_seq == 1)
    shutil.copy(tmp_path / good.path, copy)
    remove(Path(archive.layout.ledger))

    found = rebuilt(archive)

    whys = dict(found.unusable)
    assert "cannot be read" in whys[bad.path]
    assert "copy of" in whys[str(copy.relative_to(tmp_path))]
    again = Archive.open(archive.options)
    assert [offset for _, offset in rows(again)] == [0, 10, 20, 30, 80, 90, 100, 110]
    assert again.sources[source.sid].offset == 120
    assert len(list((tmp_path / "nodes/main/aside").iterdir())) == 3
    again.close()


def test_a_commit_that_a_crash_left_in_staging_counts_once(tmp_path: Path) -> None:
    """Its record was durable, its files had not moved yet: they are recognised as whole, and their lines not read again."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path)))
    source = archive.register(seen("a"))
    for _ in range(3):
        add(archive, source, 4)
        archive.commit()
    archive.close()
    layout = archive.layout
    newest = max(archive.snapshot.events, key=lambda file: file.min_seq)
    moved = [f for f in archive.state.files.values() if f.min_seq == newest.min_seq]
    for file in moved:
        shutil.move(layout.absolute(file.path), layout.staged(file.path))
    remove(Path(layout.ledger))
    rebuilt(archive)
    again = Archive.open(archive.options)
    assert again.sources[source.sid].offset == 120
    assert len(rows(again)) == 12
    again.close()

    # Half of them: such a commit cannot be told from one that never was, and its lines are read again.
    shutil.move(layout.absolute(newest.path), layout.staged(newest.path))
    for file in moved:
        if file.kind != "events":
            Path(layout.absolute(file.path)).unlink()
    data = Path(layout.staged(newest.path))
    data.chmod(0o640)
    data.write_bytes(data.read_bytes()[:-9])
    remove(Path(layout.ledger))
    found = rebuilt(again)
    assert found.unfinished == [f"nodes/main/staging/{data.name}"]
    third = Archive.open(archive.options)
    assert third.sources[source.sid].offset == 80
    assert len(rows(third)) == 8
    third.close()


def test_the_power_may_go_at_any_moment_of_a_rebuild() -> None:
    """Either there is no ledger, and it is refused and rebuilt again, or there is the new one."""
    disk = PowerDisk()
    archive = recover(disk)
    sources = a_life(archive)
    archive.close()
    layout = archive.layout
    expected = {source.sid: archive.sources[source.sid].offset for source in sources}
    segment = next(name for name in disk.names if name.endswith(".ledger"))
    inode = disk.names[segment]
    inode.data = inode.stable = inode.data[: len(inode.data) // 2]
    whole = copied(disk)
    rebuild(whole, layout, plan(whole, layout))
    operations = len(whole.journal or ())
    assert operations > 5
    for fuse in range(operations):
        for seed in range(3):
            torn = copied(disk)
            found = plan(torn, layout)
            torn.fuse = fuse
            with pytest.raises(PowerCut):
                rebuild(torn, layout, found)
            torn.cut(random.Random(seed))
            if usable(torn, layout) is None:
                with pytest.raises(LedgerError):
                    recover(torn)
                rebuild(torn, layout, plan(torn, layout))
            again = recover(torn)
            assert {sid: again.sources[sid].offset for sid in expected} == expected
            assert [name for name in torn.names if "/ledger/" in name] == [
                layout.segment(again.state.n - 1),
            ]


def copied(disk: PowerDisk) -> PowerDisk:
    """Return another disk with the same files, all of them durable."""
    fresh = disk.clone()
    fresh.harden()
    fresh.journal = []
    return fresh
