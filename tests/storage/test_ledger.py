"""The ledger: chained records, torn ends, damage, snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.books import SNAPSHOT_EVERY
from storage.errors import LedgerError, LockedError
from storage.fs import Disk
from storage.layout import Layout
from storage.ledger import Ledger, encode
from storage.records import Header
from tests.storage.made import lines, seen


def _archive(path: Path) -> Archive:
    return Archive.open(ArchiveOptions(path=str(path), grace_seconds=0.0))


def _segments(path: Path) -> list[Path]:
    return sorted((path / "nodes/main/ledger").iterdir())


def test_every_record_names_the_hash_of_the_one_before(tmp_path: Path) -> None:
    """Changing, removing or swapping a record breaks the chain."""
    archive = _archive(tmp_path)
    archive.register_all([seen("a"), seen("b"), seen("c")])
    archive.close()

    records = Ledger(Disk(), Layout(str(tmp_path), "main"), writer_version="").read(repair=False)

    assert [record.header.kind for record in records] == ["open", "source", "source", "source"]
    assert [record.header.prev for record in records[1:]] == [record.hash for record in records[:-1]]
    assert [record.header.n for record in records] == [1, 2, 3, 4]


@pytest.mark.parametrize("keep", [0, 1, 40, 100])
def test_a_torn_last_record_is_cut_and_the_archive_opens(tmp_path: Path, keep: int) -> None:
    """Half a record at the end was never acknowledged."""
    archive = _archive(tmp_path)
    archive.register(seen("a"))
    archive.abandon()
    segment = _segments(tmp_path)[0]
    whole = segment.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    segment.write_bytes(whole[: last + keep])

    archive = _archive(tmp_path)

    assert archive.sources == {}
    assert archive.problems == []
    archive.close()


def test_a_damaged_record_with_others_behind_it_is_never_cut(tmp_path: Path) -> None:
    """Damage in the middle is corruption: start-up refuses, says where, and changes nothing."""
    archive = _archive(tmp_path)
    archive.register_all([seen("a"), seen("b")])
    archive.close()
    segment = _segments(tmp_path)[0]
    damaged = segment.read_bytes().replace(b'"file":"a"', b'"file":"z"')
    segment.write_bytes(damaged)

    with pytest.raises(LedgerError, match="damaged"):
        _archive(tmp_path)

    assert segment.read_bytes() == damaged


def test_a_hole_in_the_last_append_is_cut_though_whole_records_stand_behind_it(tmp_path: Path) -> None:
    """A power cut loses any block of a write that was not synced; none of its records was acknowledged."""
    archive = _archive(tmp_path)
    archive.register(seen("before"))
    archive.register_all([seen("a"), seen("b"), seen("c")])
    archive.abandon()
    segment = _segments(tmp_path)[0]
    whole = segment.read_bytes()
    at = whole.index(b'"file":"b"')
    segment.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])

    archive = _archive(tmp_path)

    assert [source.file for source in archive.sources.values()] == ["before", "a"]
    assert archive.problems == []
    archive.close()


def test_a_hole_in_an_earlier_append_is_damage(tmp_path: Path) -> None:
    """It was acknowledged: cutting it would lose what stands behind it, too."""
    archive = _archive(tmp_path)
    archive.register_all([seen("a"), seen("b")])
    archive.register_all([seen("c"), seen("d")])
    archive.abandon()
    segment = _segments(tmp_path)[0]
    whole = segment.read_bytes()
    at = whole.index(b'"file":"a"')
    segment.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])

    with pytest.raises(LedgerError, match="damaged"):
        _archive(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"), [({"min_reader": 99}, "format 99"), ({"kind": "magic"}, "unknown kind")]
)
def test_records_of_a_newer_release_are_refused_not_skipped(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Skipping a record that somebody relied on would be a silent loss, even if it is the last."""
    _archive(tmp_path).close()
    segment = _segments(tmp_path)[0]
    first = orjson.loads(segment.read_bytes().split(b" ", 1)[1])
    fields = {name: first.get(name) for name in Header.__dataclass_fields__}
    header = Header(**{**fields, "n": 2, "prev": segment.read_bytes().split(b" ", 1)[0].decode(), **change})
    segment.write_bytes(segment.read_bytes() + encode(header, {})[0])

    with pytest.raises(LedgerError, match=message):
        _archive(tmp_path)


def test_a_snapshot_begins_a_segment_and_start_up_reads_only_that(tmp_path: Path) -> None:
    """State after a snapshot is what it was before, from one record."""
    archive = _archive(tmp_path)
    source = archive.register(seen("a"))
    end = 0
    for _ in range(2):
        parsed, chunk = lines(source, end, 3)
        archive.append(parsed, [chunk])
        archive.state.commits_since_snapshot = SNAPSHOT_EVERY - 1
        archive.commit()
        end = chunk.end
    before = archive.state
    archive.abandon()

    archive = _archive(tmp_path)

    assert len(_segments(tmp_path)) == 3
    assert archive.sources == before.sources
    assert archive.state.files == before.files
    assert archive.state.max_seq == before.max_seq
    archive.close()


def test_two_processes_cannot_write_one_node(tmp_path: Path) -> None:
    """The second is told who has the archive and what to do."""
    first = _archive(tmp_path)

    with pytest.raises(LockedError, match=r"pid \d+"):
        _archive(tmp_path)

    first.close()
    _archive(tmp_path).close()
