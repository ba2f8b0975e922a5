"""Folding and sealing beside commits: how many files there are, which rows wait, and what `sealed_seq` may say."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.upkeep import Upkeep
from parsers.batch import Counts, Parsed, Source
from parsers.columns import EVENT_SCHEMA, PARSED_REJECT_SCHEMA, PARSED_SCHEMA, TIMESTAMP
from storage import rearrange
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.books import Books
from storage.errors import CommitError
from storage.fs import Disk
from storage.hot import with_order
from storage.late import Key, LateRules, Waiting, late, most_late_files, ripe
from storage.layout import Layout
from storage.merge import Inputs
from storage.observer import Silent
from storage.reader import read_snapshot
from storage.rearrange import prefix
from storage.retention import DropReport, Policy
from storage.seal import Stager
from storage.snapshot import File
from storage.turns import Turns
from storage.verify import verify
from tests.storage.made import FIRST_TIME_US, lines, seen

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
MIDNIGHT_US = FIRST_TIME_US // DAY_US * DAY_US + DAY_US  # 2023-11-15
RULES = LateRules(slack_us=HOUR_US, wait_us=HOUR_US, files=16, bytes=1000, total_bytes=4000)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        return self.now_us


class Feed:
    """An application that logs one source into an archive with a clock of its own."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.clock = Clock(MIDNIGHT_US)
        self.archive = Archive.open(ArchiveOptions(path=str(root), **options), clock=self.clock)
        self.source = self.archive.register(seen("a"))
        self.end = 0
        self.upkeep = Upkeep(
            self.archive,
            Silent(),
            clock=lambda: self.clock.now_us / 1e6,
            wall=lambda: self.clock.now_us / 1e6,
        )

    def log(self, first_us: int, count: int, step_us: int = 1_000_000) -> None:
        """Log ``count`` events from ``first_us`` on, and commit them."""
        parsed, chunk = lines(self.source, self.end, count, step_us=step_us)
        shift = first_us - FIRST_TIME_US - self.end // 10 * step_us
        place = parsed.events.schema.get_field_index("timestamp")
        moved = pa.array(parsed.events["timestamp"].cast(pa.int64()).to_numpy() + shift).cast(TIMESTAMP)
        events = parsed.events.set_column(place, parsed.events.schema.field(place), moved)
        self.archive.append(Parsed(events, parsed.rejects, parsed.counts, {}), [chunk])
        self.end = chunk.end
        self.archive.commit()

    def tick(self) -> None:
        """Let upkeep look whether anything is to be folded or sealed."""

        async def look() -> None:
            await self.upkeep._fold()
            await self.upkeep._seal()

        asyncio.run(look())

    def close(self) -> None:
        self.upkeep.close()
        self.archive.close()

    def files_by_day(self) -> Counter[str]:
        return Counter(file.day for file in self.archive.snapshot.events if file.day)


@pytest.fixture
def feed(tmp_path: Path) -> Any:
    feed = Feed(tmp_path, grace_seconds=0.0, fold_files=8)
    yield feed
    feed.close()


def glob_rows(archive: Archive) -> list[tuple[int, int]]:
    """Return (offset, seq) of every row that a plain glob finds."""
    if not any(file.day for file in archive.snapshot.events):
        return []
    return duckdb.execute(
        f"SELECT source_offset, seq FROM read_parquet('{archive.layout.root}/events/*/*.parquet')"
    ).fetchall()


def live_rows(archive: Archive) -> list[tuple[int, int]]:
    """Return (offset, seq) of every row in the files that the ledger says are live."""
    found: list[tuple[int, int]] = []
    for file in archive.state.files.values():
        if file.kind == "events" and file.day is None:
            table = pq.read_table(archive.layout.absolute(file.path), columns=["source_offset", "seq"])
            found += zip(table["source_offset"].to_numpy(), table["seq"].to_numpy(), strict=True)
    return found


def holds_the_contract(archive: Archive) -> None:
    """Every committed row is in the glob or live, once, and the glob has every row up to `sealed_seq`."""
    sealed, live = glob_rows(archive), live_rows(archive)
    offsets = [offset for offset, _ in (*sealed, *live)]
    committed = sum(state.offset for state in archive.sources.values()) // 10
    assert sorted(offsets) == [10 * n for n in range(committed)]
    assert all(seq > archive.snapshot.sealed_seq for _, seq in live)


@pytest.mark.parametrize(
    ("days", "minutes"), [(1, 40), pytest.param(30, 10, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_an_event_a_minute_makes_one_file_an_hour(feed: Feed, days: int, minutes: int) -> None:
    """A quiet stream: each interval's end seals what it brought, whatever the number of commits."""
    for minute in range(minutes, days * 24 * 60 + minutes, minutes):
        feed.clock.now_us = MIDNIGHT_US + minute * 60_000_000
        feed.log(feed.clock.now_us - minutes * 60_000_000, minutes, 60_000_000)
        feed.tick()
    feed.clock.now_us += HOUR_US
    feed.tick()
    counts = feed.files_by_day()
    assert len(counts) == days
    assert all(12 <= files <= 25 for files in counts.values()), (
        "one an interval, one for what was on its way at midnight"
    )
    assert len([file for file in feed.archive.snapshot.rollups if file.day]) == counts.total()
    holds_the_contract(feed.archive)


def test_a_busy_stream_makes_files_of_the_size_that_is_set(tmp_path: Path) -> None:
    """Files are as large as `seal_bytes` says, so their number is the volume divided by it."""
    feed = Feed(tmp_path, grace_seconds=0.0, fold_files=4, seal_bytes=60_000)
    volume = 0
    for second in range(0, 240, 5):
        feed.clock.now_us = MIDNIGHT_US + second * 1_000_000
        before = {file.path for file in feed.archive.snapshot.events}
        feed.log(feed.clock.now_us, 400, 1000)
        volume += sum(f.bytes for f in feed.archive.snapshot.events if f.path not in before)
        feed.tick()
        assert sum(1 for file in feed.archive.snapshot.events if file.day is None) <= 5
    files = feed.files_by_day()["2023-11-15"]
    assert 3 <= files <= 1.5 * volume / 60_000 + 1
    holds_the_contract(feed.archive)
    feed.close()


def test_a_large_backlog_is_sealed_in_steps_of_equal_size() -> None:
    """What waits is divided evenly and at boundaries of seq, so that no step is huge and no rest is tiny."""
    files = [_live(n * 10, n * 10 + 9, rows=10, size=10) for n in range(26)]
    first = prefix(files, 64, 1000)
    assert len(first) in (6, 7)
    assert prefix(files[:7], 64, 1000) == files[:7]
    assert len(prefix(files, 10_000, 100)) in (8, 9), "rows bound a step too"
    across = _live(35, 78, rows=2, size=2)
    chosen = prefix([*files, across], 40, 1000)
    assert max(file.max_seq for file in chosen) < min(
        file.min_seq for file in [*files, across] if file not in chosen
    )


def _live(first: int, last: int, *, rows: int, size: int) -> File:
    return File(f"live/{first}", "events", "main", rows, size, "", 0, 0, first, last)


def test_late_rows_wait_and_hold_sealed_seq_back(feed: Feed) -> None:
    """A row whose day is over is in no sealed file before its time; `sealed_seq` stays below it, queries see it."""
    feed.log(MIDNIGHT_US, 5)
    feed.clock.now_us = MIDNIGHT_US + 26 * HOUR_US
    feed.tick()
    assert feed.archive.snapshot.sealed_seq == 5
    feed.log(MIDNIGHT_US + HOUR_US, 2)  # late
    feed.log(MIDNIGHT_US + 26 * HOUR_US, 3)  # in time
    feed.clock.now_us += HOUR_US // 2
    feed.log(MIDNIGHT_US + 26 * HOUR_US, 1)

    feed.archive.seal_due()

    assert feed.archive.snapshot.sealed_seq == 5
    assert len(glob_rows(feed.archive)) == 9
    assert [(file.rows, file.late) for file in feed.archive.snapshot.events if file.day is None] == [
        (2, True)
    ]
    holds_the_contract(feed.archive)
    assert verify(feed.archive.layout.root).ok

    feed.clock.now_us += HOUR_US
    feed.archive.seal_due()

    assert feed.archive.snapshot.sealed_seq == 11
    assert [(f.day, f.rows) for f in feed.archive.snapshot.events if f.late] == [("2023-11-15", 2)]
    holds_the_contract(feed.archive)


def test_waiting_rows_survive_a_restart_and_go_on_waiting(feed: Feed, tmp_path: Path) -> None:
    """How long a row has waited is told by the row itself."""
    feed.clock.now_us = MIDNIGHT_US + 26 * HOUR_US
    feed.log(MIDNIGHT_US, 2)
    feed.archive.seal_due()
    feed.archive.close()

    again = Archive.open(ArchiveOptions(path=str(tmp_path), grace_seconds=0.0), clock=feed.clock)
    feed.clock.now_us += HOUR_US // 2
    assert again.seal_due() == 0
    feed.clock.now_us += HOUR_US
    assert again.seal_due() == 2
    holds_the_contract(again)
    again.close()


def test_a_trickle_of_late_rows_makes_a_logarithmic_number_of_files(feed: Feed) -> None:
    """One late event an hour: the day gains as many files as there are doublings, not one an hour."""
    hours = 33
    for hour in range(26, 26 + hours):
        feed.clock.now_us = MIDNIGHT_US + hour * HOUR_US
        feed.log(MIDNIGHT_US + hour * 1_000_000, 1)
        feed.tick()
    files = feed.files_by_day()["2023-11-15"]
    rules = feed.archive.options.late_rules
    assert 3 <= files <= most_late_files(rules, hours * HOUR_US) == 5
    assert sum(1 for file in feed.archive.snapshot.events if file.day is None) <= rearrange.LATE_FILES + 1
    holds_the_contract(feed.archive)
    feed.archive.seal()
    assert feed.archive.snapshot.sealed_seq == feed.archive.state.max_seq, (
        "`watchkeep seal` leaves nothing waiting"
    )
    holds_the_contract(feed.archive)


def test_a_day_gains_no_more_late_files_than_are_set(tmp_path: Path) -> None:
    """When the number is used up, rows wait until they are worth a file, or until somebody seals."""
    feed = Feed(tmp_path, late_files=2, late_seconds=3600.0, fold_files=8, grace_seconds=0.0)
    for hour in range(26, 38):
        feed.clock.now_us = MIDNIGHT_US + hour * HOUR_US
        feed.log(MIDNIGHT_US + hour * 1_000_000, 1)
        feed.tick()
    assert feed.files_by_day()["2023-11-15"] == 2
    holds_the_contract(feed.archive)
    feed.close()


@pytest.mark.parametrize("before", ["2023-11-16", None], ids=["asked for", "by age"])
def test_late_rows_of_a_day_that_retention_removes_go_with_it(tmp_path: Path, before: str | None) -> None:
    """However many late files the day has had: only sealed files go, so they are sealed first. Others go on waiting."""
    policy = Policy(event_days=30)
    feed = Feed(tmp_path, late_files=0, policy=policy, grace_seconds=0.0)
    feed.log(MIDNIGHT_US, 5)
    feed.clock.now_us = MIDNIGHT_US + 26 * HOUR_US
    feed.tick()
    feed.clock.now_us = MIDNIGHT_US + 40 * DAY_US
    feed.log(MIDNIGHT_US + HOUR_US, 2)
    feed.log(MIDNIGHT_US + 30 * DAY_US, 3)
    feed.log(feed.clock.now_us, 1)
    feed.clock.now_us += 2 * HOUR_US
    feed.tick()
    feed.log(feed.clock.now_us, 1)
    since = feed.archive.state.unsealed_since_us
    today = "2023-12-25"

    def remove() -> DropReport:
        keeping = feed.archive.keeping
        if before is not None:
            return keeping.asked(before, dry_run=False, day=today)
        return keeping.old(dry_run=False, day=today)

    assert remove().rows == 5
    assert feed.archive.keeping.take_late(before, day=today) == 2, "events and their roll-up"
    assert remove().rows == 2
    assert feed.archive.keeping.take_late(before, day=today) == 0
    live = [(file.rows, file.late) for file in feed.archive.snapshot.events if file.day is None]
    assert sorted(live) == [(1, False), (3, True)]
    assert feed.archive.state.unsealed_since_us == since
    holds_the_contract(feed.archive)
    assert verify(feed.archive.layout.root).ok
    feed.close()


def test_lateness_is_a_property_of_the_row() -> None:
    """In time is what is read within its day, give or take an interval of sealing."""
    noon = MIDNIGHT_US + 12 * HOUR_US
    arrived = np.array(
        [noon, noon + 12 * HOUR_US, noon + 13 * HOUR_US, noon - 12 * HOUR_US, noon - 14 * HOUR_US]
    )
    times = np.full(5, noon, np.int64)
    assert late(times, arrived, HOUR_US).tolist() == [False, False, True, False, True]


def test_the_heaviest_keys_go_first_when_too_much_waits() -> None:
    """Waiting rows are bounded in all, so that their files stay small."""
    keys = [Key(f"2023-11-{day:02}", "default", internal=False) for day in range(1, 11)]
    waiting = {key: Waiting(10, 400 + place, since_us=0) for place, key in enumerate(keys)}
    assert ripe(waiting, {}, RULES, 1) == {keys[-1]}
    assert ripe({keys[0]: Waiting(10, 1000, 0)}, {}, RULES, 1) == {keys[0]}
    assert ripe({keys[0]: Waiting(10, 1, 0)}, {keys[0]: 3}, RULES, 8 * HOUR_US) == {keys[0]}
    assert ripe({keys[0]: Waiting(10, 1, 0)}, {keys[0]: 3}, RULES, 8 * HOUR_US - 1) == set()
    ahead = Waiting(10, 1, since_us=365 * 24 * HOUR_US)
    assert ripe({keys[0]: ahead}, {}, RULES, 0) == {keys[0]}, "read while the clock was a year ahead"


def test_commits_and_appends_go_on_while_a_seal_merges(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge holds no lock: commits land in the middle of it and belong to the next seal."""
    feed.log(MIDNIGHT_US, 20)
    merging, go_on = threading.Event(), threading.Event()
    original = Stager.done

    def held(stager: Stager) -> list[File]:
        merging.set()
        assert go_on.wait(30)
        return original(stager)

    monkeypatch.setattr(Stager, "done", held)
    sealing = threading.Thread(target=feed.archive.seal)
    sealing.start()
    assert merging.wait(30)
    feed.log(MIDNIGHT_US + HOUR_US, 7)
    between = feed.archive.snapshot
    go_on.set()
    sealing.join()

    assert sum(file.rows for file in between.events) == 27
    assert feed.archive.snapshot.sealed_seq == 20
    assert feed.archive.state.unsealed_since_us > 0
    assert len(live_rows(feed.archive)) == 7
    holds_the_contract(feed.archive)


def test_a_recovery_in_the_middle_of_a_merge_voids_it(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery clears `staging`: a merge that wrote there before is not recorded, and the next one is."""
    feed.log(MIDNIGHT_US, 20)
    original = Stager.done

    def interrupted(stager: Stager) -> list[File]:
        feed.archive.recover()
        return original(stager)

    monkeypatch.setattr(Stager, "done", interrupted)
    with pytest.raises(CommitError, match="recovery"):
        feed.archive.seal()
    monkeypatch.undo()
    holds_the_contract(feed.archive)
    feed.archive.seal()
    assert len(glob_rows(feed.archive)) == 20
    assert verify(feed.archive.layout.root).ok


def test_files_that_the_published_view_names_are_not_collected(feed: Feed) -> None:
    """When the view cannot be written for longer than the grace time, its readers still find every file."""
    feed.log(MIDNIGHT_US, 20)
    feed.archive.publish()
    feed.archive.seal()
    assert feed.archive.collect() == 1, "its roll-up, which no view names"
    with duckdb.connect(
        str(Path(feed.archive.layout.root, "watchkeep.duckdb")), read_only=True
    ) as connection:
        connection.execute(f"SET file_search_path = '{feed.archive.layout.root}'")
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (20,)
    feed.archive.publish()
    assert feed.archive.collect() == 1


def test_a_reader_between_record_and_move_sees_every_row(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seal's record is durable before its files are in their places: readers of the ledger find the rows all the same."""
    feed.log(MIDNIGHT_US, 20)
    between: list[int] = []
    original = Books.place

    def looked(books: Books, files: Sequence[File]) -> None:
        before = feed.archive.snapshot
        snapshot = read_snapshot(feed.archive.layout.root, patience=0.0)
        between.append(sum(file.rows for file in snapshot.events))
        paths = [feed.archive.layout.absolute(file.path) for file in snapshot.events]
        between.append(sum(pq.read_table(path).num_rows for path in paths))
        shown = feed.archive.append(
            Parsed(PARSED_SCHEMA.empty_table(), PARSED_REJECT_SCHEMA.empty_table(), (), {}), []
        )
        assert shown.sealed_seq == before.sealed_seq, "readers of the glob are told when the files are there"
        original(books, files)

    monkeypatch.setattr(Books, "place", looked)
    feed.archive.seal()
    assert between == [20, 20]
    assert feed.archive.snapshot.sealed_seq == 20


def test_a_thread_that_commits_without_a_pause_starves_nobody() -> None:
    """The lock is given in the order in which it was asked for."""
    turns, stop = Turns(), threading.Event()
    rounds = 0

    def greedy() -> None:
        nonlocal rounds
        while not stop.is_set():
            with turns, turns:
                rounds += 1

    thread = threading.Thread(target=greedy)
    thread.start()
    for _ in range(200):
        with turns:
            before = rounds
        with turns:
            assert rounds <= before + 1
    stop.set()
    thread.join()


def test_rejects_are_folded_and_sealed_too(tmp_path: Path) -> None:
    """Lines that could not be parsed do not become thousands of files either."""
    feed = Feed(tmp_path, fold_files=4, grace_seconds=0.0)
    for hour in range(12):
        feed.clock.now_us = MIDNIGHT_US + hour * HOUR_US // 20
        _reject(feed.archive, feed.source, feed)
        feed.tick()
        assert len([file for file in feed.archive.snapshot.rejects if file.day is None]) <= 5
    feed.archive.seal()
    assert [(file.day, file.rows) for file in feed.archive.snapshot.rejects] == [("2023-11-15", 12)]
    assert verify(feed.archive.layout.root).ok
    feed.close()


def _reject(archive: Archive, source: Source, feed: Feed) -> None:
    _, chunk = lines(source, feed.end, 1)
    given: dict[str, list[Any]] = {
        "source": [source.sid],
        "source_file": [source.file],
        "source_offset": [feed.end],
        "length": [9],
        "sha256": ["0" * 64],
        "reason": ["json"],
        "raw": [b"x"],
        "internal": [False],
        "node": ["main"],
    }
    rejects = pa.table(
        [pa.array(given[field.name], field.type) for field in PARSED_REJECT_SCHEMA],
        schema=PARSED_REJECT_SCHEMA,
    )
    archive.append(Parsed(PARSED_SCHEMA.empty_table(), rejects, (Counts(lines=1, rejects=1),), {}), [chunk])
    feed.end = chunk.end
    archive.commit()


def test_classes_and_origins_get_files_of_their_own_in_folds_and_seals(feed: Feed) -> None:
    """A sealed file holds one day, one retention class, internal or not, whatever the live files mixed."""
    own = feed.archive.register(seen("self", internal=True))
    ends = {feed.source.sid: 0, own.sid: 0}
    for turn in range(10):
        for source in (feed.source, own):
            parsed, chunk = lines(source, ends[source.sid], 12)
            place = parsed.events.schema.get_field_index("retention_class")
            classes = pa.array([f"class-{(turn + row) % 3}" for row in range(12)])
            events = parsed.events.set_column(place, parsed.events.schema.field(place), classes)
            feed.archive.append(Parsed(events, parsed.rejects, parsed.counts, {}), [chunk])
            ends[source.sid] = chunk.end
        feed.archive.commit()
        feed.archive.fold()
    feed.archive.seal()
    files = feed.archive.snapshot.events
    assert {file.retention_class for file in files} == {"class-0", "class-1", "class-2"}
    assert {file.internal for file in files} == {True, False}
    for file in files:
        table = pq.read_table(feed.archive.layout.absolute(file.path))
        assert table["retention_class"].unique().to_pylist() == [file.retention_class]
        assert table["internal"].unique().to_pylist() == [file.internal]
        assert {str(time)[:10] for time in table["timestamp"].to_pylist()} == {file.day}
    assert sum(file.rows for file in files) == 240
    assert verify(feed.archive.layout.root).ok


def test_inputs_of_hundreds_of_row_groups_come_out_sorted_and_whole(tmp_path: Path) -> None:
    """Whatever the files look like: many small groups that overlap in time, columns that one of them lacks."""
    layout, disk = Layout(str(tmp_path), "main"), Disk()
    files: list[File] = []
    for number in range(3):
        parsed, _ = lines(
            Source("s" * 32, "a", 0, None, "native", internal=False), number * 3000, 300, step_us=60_000_000
        )
        table = with_order(parsed.events, EVENT_SCHEMA, 1 + number * 300, FIRST_TIME_US)
        shuffled = table.take(np.random.default_rng(number).permutation(300))
        if number == 2:
            shuffled = shuffled.drop_columns(["asn", "city"])
        path = f"{number}.parquet"
        pq.write_table(shuffled, tmp_path / path, row_group_size=2)
        files.append(File(path, "events", "main", 300, 1, "", 0, 0, 1 + number * 300, 300 + number * 300))
    with Inputs(disk, layout, files, "events") as inputs:
        assert inputs.rows == 900
        keys = list(inputs.by_key())
        got = pa.concat_tables([table for _, positions in keys for table in inputs.slices(positions)])
    assert [key.day for key, _ in keys] == sorted({key.day for key, _ in keys})
    assert got["seq"].to_pylist() == list(range(1, 901))
    assert got["event_id"].to_pylist() == [f"ssssssss-{offset}" for offset in range(0, 9000, 10)]
    assert set(got["level"].to_pylist()) == {"info"}
    assert got["city"].null_count == 900


def test_a_lost_live_file_keeps_no_other_from_being_sealed(tmp_path: Path) -> None:
    """Nor from being folded; `sealed_seq` stays before its rows, and once it is back it is sealed as well."""
    root = tmp_path / "archive"
    feed = Feed(root, fold_files=4)
    for number in range(3):
        feed.log(MIDNIGHT_US + number * 60_000_000, 10)
    feed.archive.close()
    missing = min(feed.archive.snapshot.events, key=lambda file: file.min_seq)
    kept = (root / missing.path).read_bytes()
    (root / missing.path).unlink()

    feed = Feed(root, fold_files=4)
    assert feed.archive.seal() == 2  # with its roll-up
    assert [(file.rows, file.day is not None) for file in feed.archive.snapshot.events] == [(20, True)]
    assert feed.archive.snapshot.sealed_seq == missing.min_seq - 1
    assert feed.archive.seal() == 0
    feed.archive.close()
    assert [finding.kind for finding in verify(str(root)).findings] == ["MISSING"]

    (root / missing.path).write_bytes(kept)
    feed = Feed(root, fold_files=4)
    assert feed.archive.seal() == 2  # with its roll-up
    assert sum(file.rows for file in feed.archive.snapshot.events) == 30
    assert feed.archive.snapshot.sealed_seq == feed.archive.snapshot.seq
    feed.archive.close()
    assert verify(str(root)).findings == []
