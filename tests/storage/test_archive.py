"""The archive on a real disk: visible at once, durable after a commit, sealed once, readable by anybody."""

from __future__ import annotations

import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parsers.batch import Counts, Parsed, Source
from parsers.columns import EVENT_SCHEMA, PARSED_REJECT_SCHEMA, PARSED_SCHEMA
from storage import rollups
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.errors import ArchiveError
from storage.parquet import ROW_GROUP_ROWS
from storage.reader import read_snapshot
from storage.verify import verify
from tests.storage.made import lines, seen


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive that folds early and keeps nothing superseded."""
    return Archive.open(ArchiveOptions(path=str(tmp_path), grace_seconds=0.0, fold_files=4))


def add(archive: Archive, source: Source, start: int, count: int) -> int:
    """Append ``count`` lines and return where the next begins."""
    parsed, chunk = lines(source, start, count)
    archive.append(parsed, [chunk])
    return chunk.end


def glob(archive: Archive, what: str = "count(*)") -> tuple[object, ...]:
    """Ask a plain DuckDB over the documented glob."""
    row = duckdb.execute(
        f"SELECT {what} FROM read_parquet('{archive.layout.root}/events/*/*.parquet')"
    ).fetchone()
    assert row is not None
    return row


def in_order(times: pa.ChunkedArray[Any]) -> bool:
    """Return whether a column of times never falls."""
    numbers = times.cast(pa.int64()).to_numpy()
    return bool((numbers[1:] >= numbers[:-1]).all())


def test_rows_are_visible_before_they_are_durable(archive: Archive) -> None:
    """A hot row is in the snapshot; after the commit it is in a file instead, never in both."""
    source = archive.register(seen("a"))
    add(archive, source, 0, 5)
    assert sum(hot.table.num_rows for hot in archive.snapshot.hot) == 5
    assert not archive.snapshot.events
    assert archive.uncommitted() == {source.sid: 50}

    archive.commit()

    assert archive.snapshot.hot == ()
    assert sum(file.rows for file in archive.snapshot.events) == 5
    assert archive.uncommitted() == {}
    assert archive.sources[source.sid].offset == 50
    archive.close()


def test_a_chunk_that_leaves_a_hole_or_repeats_bytes_is_refused(archive: Archive) -> None:
    """The archive itself guards exactly-once: ranges of a source are contiguous."""
    source = archive.register(seen("a"))
    end = add(archive, source, 0, 5)
    for start in (0, 40, end + 10):
        parsed, chunk = lines(source, start, 2)
        with pytest.raises(ValueError, match="continues at 50"):
            archive.append(parsed, [chunk])
    parsed, chunk = lines(source, end, 2)
    with pytest.raises(ValueError, match="continues at 50"):
        archive.append(replace(parsed, counts=(Counts(lines=3, events=2),)), [chunk])
    archive.close()


def test_blank_lines_move_the_offset_without_rows(archive: Archive) -> None:
    """Bytes that make no event are committed too, or they would be read again for ever."""
    source = archive.register(seen("a"))
    _, chunk = lines(source, 0, 2)
    nothing = Parsed(
        PARSED_SCHEMA.empty_table(), PARSED_REJECT_SCHEMA.empty_table(), (Counts(lines=2, blanks=2),), {}
    )
    archive.append(nothing, [chunk])
    archive.commit()
    assert archive.sources[source.sid].offset == 20
    assert archive.sources[source.sid].counts == Counts(lines=2, blanks=2)
    assert archive.snapshot.events == ()
    archive.close()


def test_sealing_gives_one_file_a_day_sorted_and_read_only(archive: Archive) -> None:
    """The glob holds every row up to ``sealed_seq``; files carry their day and are never written again."""
    source = archive.register(seen("a"))
    end = add(archive, source, 0, 30)
    archive.commit()
    end = add(archive, source, end, 30)
    archive.commit()
    archive.seal()

    days = {file.day or "": file for file in archive.snapshot.events}
    assert sorted(days) == ["2023-11-14", "2023-11-15", "2023-11-16", "2023-11-17"]
    assert archive.snapshot.sealed_seq == archive.snapshot.seq
    assert glob(archive, "count(*), count(DISTINCT (source, source_offset))") == (60, 60)
    for day, file in days.items():
        path = Path(archive.layout.absolute(file.path))
        times = pq.read_table(path)["timestamp"]
        assert in_order(times)
        assert {str(time)[:10] for time in times.to_pylist()} == {day}
        assert stat.S_IMODE(path.stat().st_mode) == 0o440
    archive.close()


def test_late_rows_become_their_own_file_of_their_day(archive: Archive) -> None:
    """A published file is never replaced, so a late row makes a second one."""
    first, second = archive.register_all([seen("a"), seen("b")])
    add(archive, first, 0, 10)
    archive.commit()
    archive.seal()
    before = {file.path: file.sha256 for file in archive.snapshot.events}
    add(archive, second, 0, 10)
    archive.commit()
    archive.seal()

    after = {file.path: file.sha256 for file in archive.snapshot.events}

    assert before.items() <= after.items()
    assert len(after) == 2 * len(before)
    archive.close()


def test_folding_keeps_rows_and_sums_and_bounds_the_number_of_files(archive: Archive) -> None:
    """Commits by the second do not become thousands of files."""
    source = archive.register(seen("a"))
    end = 0
    for _ in range(20):
        end = add(archive, source, end, 3)
        archive.commit()
        archive.fold()
    snapshot = archive.snapshot
    assert len(snapshot.events) <= 4
    assert sum(file.rows for file in snapshot.events) == 60
    assert {file.covers for file in snapshot.rollups} == {file.path for file in snapshot.events}
    counted = sum(
        sum(
            n or 0
            for n, family in zip(t["events"].to_pylist(), t["family"].to_pylist(), strict=True)
            if family == "counts"
        )
        for t in (pq.read_table(archive.layout.absolute(file.path)) for file in snapshot.rollups)
    )
    assert counted == 60
    archive.close()


def test_internal_rows_never_share_a_sealed_file_with_others(archive: Archive) -> None:
    """``internal`` is a property of the source, and of the file."""
    own, theirs = archive.register_all([seen("self", internal=True), seen("a")])
    add(archive, own, 0, 5)
    add(archive, theirs, 0, 5)
    archive.commit()
    archive.seal()
    assert {(file.internal, file.rows) for file in archive.snapshot.events} == {
        (True, 2),
        (True, 3),
        (False, 2),
        (False, 3),
    }
    assert glob(archive, "count(*) FILTER (NOT internal)") == (5,)
    archive.close()


def test_bulk_rows_go_straight_into_sealed_files(archive: Archive) -> None:
    """An import writes each row once, and commits it with its range in one record."""
    source = archive.register(seen("a"))
    add(archive, source, 0, 7)
    end = 70
    for _ in range(3):
        parsed, chunk = lines(source, end, 1000, step_us=60_000_000)
        archive.bulk.append(parsed, [chunk])
        end = chunk.end
    assert glob(archive) == (7,), "bulk rows are not visible before their commit"
    archive.bulk.commit()
    assert glob(archive, "count(*), count(DISTINCT source_offset)") == (3007, 3007)
    assert archive.sources[source.sid].offset == end
    assert archive.snapshot.sealed_seq == archive.snapshot.seq
    archive.close()
    assert verify(archive.layout.root).ok


def test_a_bulk_import_out_of_order_still_writes_sorted_files(archive: Archive) -> None:
    """Rows that fall back in time begin another file."""
    first, second = archive.register_all([seen("a"), seen("b")])
    for source in (first, second):
        parsed, chunk = lines(source, 0, ROW_GROUP_ROWS + 10, step_us=1_000_000)
        archive.bulk.append(parsed, [chunk])
    archive.bulk.commit()
    assert glob(archive) == (2 * (ROW_GROUP_ROWS + 10),)
    for file in archive.snapshot.events:
        assert in_order(pq.read_table(archive.layout.absolute(file.path), columns=["timestamp"])["timestamp"])
    archive.close()


def test_an_import_that_was_not_committed_leaves_nothing(archive: Archive) -> None:
    """Its ranges are not committed without its rows: the lines are read again."""
    source = archive.register(seen("a"))
    parsed, chunk = lines(source, 0, 50)
    archive.bulk.append(parsed, [chunk])
    with pytest.raises(ValueError, match=r"bulk\.commit"):
        archive.commit()
    archive.close()

    again = Archive.open(archive.options)

    assert again.sources[source.sid].offset == 0
    assert again.snapshot.events == ()
    again.close()


def test_an_import_that_fails_when_it_is_committed_leaves_nothing_staged(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Days that had ended already, days that were still open, and the source itself: all of it is read again."""
    source = archive.bulk.meet(seen("a"))
    parsed, chunk = lines(source, 0, 300)
    archive.bulk.append(parsed, [chunk])

    def full(_path: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(archive._fs, "sync_file", full)
        with pytest.raises(OSError, match="No space"):
            archive.bulk.commit()
    assert list(Path(archive.layout.staging).iterdir()) == []
    assert source.sid not in archive.sources
    again = archive.bulk.meet(seen("a"))
    parsed, chunk = lines(again, 0, 300)
    archive.bulk.append(parsed, [chunk])
    archive.bulk.commit()
    assert glob(archive, "count(*), count(DISTINCT source_offset)") == (300, 300)
    assert archive.sources[again.sid].counts.events == 300
    archive.close()
    assert verify(archive.layout.root).ok


def test_dropped_days_stay_dropped_after_a_restart(archive: Archive) -> None:
    """The ledger outlives the data: a source that is still on disk does not bring its rows back."""
    source = archive.register(seen("a"))
    add(archive, source, 0, 60)
    archive.commit()
    archive.seal()
    plan = archive.drop("2023-11-16", dry_run=True)
    assert [day.day for day in plan.days] == ["2023-11-14", "2023-11-15"]
    assert glob(archive) == (60,)

    report = archive.drop("2023-11-16", dry_run=False)
    archive.collect()

    assert (report.rows, report.files) == (plan.rows, plan.files)
    assert glob(archive) == (60 - report.rows,)
    archive.close()
    again = Archive.open(archive.options)
    assert sum(file.rows for file in again.snapshot.events) == 60 - report.rows
    assert again.sources[source.sid].offset == 600
    again.close()


def test_seq_rises_across_restarts_and_is_never_reused(archive: Archive) -> None:
    """A row that was only visible before a crash does not lend its number to another."""
    source = archive.register(seen("a"))
    add(archive, source, 0, 5)
    shown = archive.snapshot.seq
    archive.abandon()

    again = Archive.open(archive.options)
    add(again, source, 0, 1)

    assert again.snapshot.hot[0].min_seq > shown
    again.close()


def test_a_reader_without_the_lock_sees_what_is_committed(archive: Archive, tmp_path: Path) -> None:
    """Commands beside a running daemon read the ledger and write nothing."""
    source = archive.register(seen("a"))
    end = add(archive, source, 0, 5)
    archive.commit()
    add(archive, source, end, 5)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())

    snapshot = read_snapshot(str(tmp_path))

    assert sum(file.rows for file in snapshot.events) == 5
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == files
    archive.close()
    with pytest.raises(ArchiveError, match="no archive"):
        read_snapshot(str(tmp_path / "nowhere"))


def test_strangers_and_damage_are_reported_and_start_up_goes_on(archive: Archive) -> None:
    """A file of ours that no record names is set aside, never deleted; a lost file is reported."""
    source = archive.register(seen("a"))
    add(archive, source, 0, 30)
    archive.commit()
    archive.seal()
    archive.close()
    root = Path(archive.layout.root)
    lost, kept, *others = (root / file.path for file in archive.snapshot.events)
    stranger = kept.with_name("main-9999999999999999-default.parquet")
    stranger.write_bytes(kept.read_bytes())
    elsewhere = kept.with_name("theirs.parquet")
    elsewhere.write_bytes(b"not ours")
    lost.unlink()

    again = Archive.open(archive.options)

    assert sorted(problem.what.split(":")[0] for problem in again.problems) == [
        "missing",
        "not in the ledger",
    ]
    assert not stranger.exists()
    assert len(list((root / "nodes/main/aside").iterdir())) == 1
    assert elsewhere.exists()
    assert [root / file.path for file in again.snapshot.events] == [kept, *others]
    again.close()


def test_the_view_shows_committed_rows_and_can_be_copied(
    archive: Archive, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`watchkeep.duckdb` holds live and sealed rows; paths are relative, so the folder may move."""
    source = archive.register(seen("a"))
    assert archive.publish()
    end = add(archive, source, 0, 30)
    archive.commit()
    archive.seal()
    end = add(archive, source, end, 4)
    archive.commit()
    add(archive, source, end, 9)
    assert archive.publish()
    assert not archive.publish(), "nothing changed"
    assert archive.snapshot.view_seq == archive.state.max_seq
    moved = tmp_path_factory.mktemp("copy") / "archive"
    Path(archive.layout.root).rename(moved)

    with duckdb.connect(str(moved / "watchkeep.duckdb"), read_only=True) as connection:
        connection.execute(f"SET file_search_path = '{moved}'")
        row = connection.execute("SELECT count(*), count(DISTINCT source_offset) FROM events").fetchone()
        columns = [column[0] for column in connection.execute("DESCRIBE events").fetchall()]

    assert row == (34, 34)
    assert columns == EVENT_SCHEMA.names
    archive.abandon()


def test_the_published_sql_runs_as_it_stands(archive: Archive) -> None:
    """`watchkeep.sql` makes the same views in any DuckDB."""
    source = archive.register(seen("a"))
    add(archive, source, 0, 6)
    archive.commit()
    archive.publish()
    with duckdb.connect() as connection:
        connection.execute(f"SET file_search_path = '{archive.layout.root}'")
        connection.execute(Path(archive.layout.root, "watchkeep.sql").read_text())
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (6,)
        assert connection.execute("SELECT count(*) FROM rejects").fetchone() == (0,)
    archive.close()


def test_appending_goes_on_while_a_commit_writes(archive: Archive) -> None:
    """Rows that come during a commit belong to the next one; none is lost or doubled."""
    source = archive.register(seen("a"))
    stop = threading.Event()

    def keep_committing() -> None:
        while not stop.is_set():
            archive.commit()

    committer = threading.Thread(target=keep_committing)
    committer.start()
    end = 0
    for _ in range(300):
        end = add(archive, source, end, 2)
    stop.set()
    committer.join()
    archive.commit()
    archive.seal()
    assert glob(archive, "count(*), count(DISTINCT source_offset), count(DISTINCT seq)") == (600, 600, 600)
    archive.close()


def test_a_roll_up_reads_only_the_columns_that_sealing_keeps() -> None:
    """Sealing keeps the narrow columns of a whole file for its roll-up: they are enough."""
    source = Source("0" * 32, "a", 0, None, "native", internal=False)
    parsed, _ = lines(source, 0, 50)
    whole = rollups.delta(parsed.events)
    narrow = rollups.delta(rollups.narrowed(parsed.events))
    assert whole.equals(narrow)


def test_verify_finds_what_was_changed_behind_the_archives_back(archive: Archive) -> None:
    """A flipped bit, a missing file and a doubled row are each found and named."""
    source = archive.register(seen("a"))
    add(archive, source, 0, 60)
    archive.commit()
    archive.seal()
    archive.close()
    root = archive.layout.root
    assert verify(root).ok
    assert verify(root).events == 60
    first, second, *_ = (Path(root) / file.path for file in archive.snapshot.events)
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.chmod(0o640)
    first.write_bytes(data)
    second.unlink()

    found = {
        (finding.kind, Path(finding.where).name)
        for finding in verify(root).findings
        if finding.kind != "COUNTS"
    }

    assert found == {("MODIFIED", first.name), ("MISSING", second.name)}
