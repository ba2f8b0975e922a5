"""What lies where, what could be better, and how much of it questions read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from storage.engine import Engine
from storage.occupancy import MANY_FILES, occupancy
from storage.pruning import Figures
from storage.queries import Queries
from storage.query import Filter, ListQuery, Scope
from storage.snapshot import Snapshot
from tests.storage.samples import HOUR_US, START_US, filled, snapshot, write_events

SEAL_BYTES = 64_000_000


def a_day(root: Path, files: int, *, rows: int = 64) -> Snapshot:
    """Return a snapshot of a day with so many files, one after the other."""
    width = 24 * HOUR_US // files
    pairs = [
        write_events(
            root,
            filled(
                [{"time_us": START_US + number * width + row * (width // rows)} for row in range(rows)],
                first_seq=number * rows + 1,
            ),
            f"main-{number:016}-default",
            day="2025-11-16",
        )
        for number in range(files)
    ]
    return snapshot(root, pairs)


@pytest.fixture(scope="module")
def hours(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """A day of eight files with four row groups each."""
    return a_day(tmp_path_factory.mktemp("hours"), 8)


async def test_a_page_of_one_hour_reads_one_file_of_the_day(hours: Snapshot) -> None:
    """Files outside the range, and row groups outside it in the file that is read, are counted as left out."""
    engine = Engine()
    queries = Queries(engine, lambda: hours)
    start = START_US + 6 * HOUR_US
    await queries.page(
        ListQuery(Filter(start_us=start, end_us=start + HOUR_US // 4 - 1), Scope(), limit=5, count=False)
    )
    figures = engine.pruning.recent
    engine.close()
    assert (figures.questions, figures.files, figures.files_read) == (1, 8, 1)
    assert (figures.row_groups_read, figures.rows_read) == (1, 16)
    assert figures.rows == 8 * 64
    assert figures.to_json()["rows_skipped_percent"] == 96.9


async def test_what_roll_ups_answer_reads_no_rows(hours: Snapshot) -> None:
    """Which words occur is told by the roll-ups: every row stays unread."""
    engine = Engine()
    queries = Queries(engine, lambda: hours)
    assert await queries.observed("level") == ["info"]
    figures = engine.pruning.recent
    engine.close()
    assert figures.files_rolled == 8
    assert figures.rows_read == 0


def test_days_are_told_with_their_row_groups_and_older_ones_counted(hours: Snapshot) -> None:
    """Footers are read of the listed days only."""
    found = occupancy(hours, days=5, seal_bytes=SEAL_BYTES)
    (day,) = found.days
    assert (day.files, day.rows, day.row_groups, day.median_group_rows, day.late_files) == (
        8,
        8 * 64,
        32,
        16,
        0,
    )
    assert (found.files, found.hints) == (16, [])
    assert occupancy(hours, days=0, seal_bytes=SEAL_BYTES).older_days == 1


def test_hints_say_what_can_be_done(tmp_path: Path) -> None:
    """Many small files, late rows that wait, questions that read everything: each has a sentence."""
    many = a_day(tmp_path, MANY_FILES + 1, rows=1)
    waiting = write_events(tmp_path, filled([{}], first_seq=10_000), "late")
    live = replace(waiting[0], late=True), waiting[1]
    whole = replace(many, events=(*many.events, live[0]))
    everything = Figures(questions=500, rows=1000, rows_read=900)
    hints = " ".join(occupancy(whole, days=3, seal_bytes=SEAL_BYTES, pruned=everything).hints)
    assert "seal_seconds" in hints
    assert "1 events came when their day was over" in hints
    assert "90 % of all rows" in hints
