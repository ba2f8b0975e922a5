"""A long time, a clock that jumps, a ledger of a year: numbers rise, memory stays, and starting stays quick."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from benchmarks.startup import a_year, opened
from parsers.batch import Source
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.fs import Disk
from storage.layout import Layout
from storage.ledger import Ledger
from tests.storage.made import FIRST_TIME_US, lines, seen

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
YEAR_US = 365 * DAY_US
MEBIBYTE = 1 << 20


class Clock:
    """A wall clock that somebody else sets."""

    def __init__(self) -> None:
        self.us = FIRST_TIME_US

    def __call__(self) -> int:
        return self.us


def add(archive: Archive, source: Source, count: int, *, step_us: int = 1_000_000) -> None:
    parsed, chunk = lines(source, archive.sources[source.sid].offset, count, step_us=step_us)
    archive.append(parsed, [chunk])
    archive.commit()


def test_numbers_rise_and_graces_hold_whatever_the_clock_does(tmp_path: Path) -> None:
    """Two hours back, a year ahead, back again: the ledger's index and seq rise, and nothing goes too early."""
    clock = Clock()
    archive = Archive.open(ArchiveOptions(path=str(tmp_path), grace_seconds=900), clock=clock)
    source = archive.register(seen("a.jsonl"))
    records, numbers = [archive.state.n], [archive.next_seq]
    for jump in (0, -2 * HOUR_US, YEAR_US, -YEAR_US, 0):
        clock.us += jump
        add(archive, source, 5)
        archive.seal()
        assert archive.collect() == 0, "superseded files stay for their grace, whatever the clock says"
        records.append(archive.state.n)
        numbers.append(archive.next_seq)
    assert records == sorted(set(records))
    assert numbers == sorted(set(numbers))
    archive.close()

    archive = Archive.open(ArchiveOptions(path=str(tmp_path)), clock=clock)
    assert archive.problems == []
    assert archive.next_seq > numbers[-1]
    assert sum(file.rows for file in archive.snapshot.events) == 25
    archive.close()


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def a_day(folder: Path, *, commits_an_hour: int) -> tuple[list[int], list[int], Archive]:
    """Live a day of commits, folds, seals and collections; returns memory and open files after each hour."""
    clock = Clock()
    options = ArchiveOptions(path=str(folder), grace_seconds=0.0, fold_files=4)
    archive = Archive.open(options, clock=clock)
    source = archive.register(seen("a.jsonl"))
    memory: list[int] = []
    descriptors: list[int] = []
    for _ in range(24):
        for _ in range(commits_an_hour):
            clock.us += HOUR_US // commits_an_hour
            add(archive, source, 20, step_us=HOUR_US // commits_an_hour // 20)
            archive.fold()
        archive.seal()
        archive.collect()
        memory.append(_memory())
        descriptors.append(len(os.listdir("/proc/self/fd")))
    return memory, descriptors, archive


def flat(folder: Path, *, commits_an_hour: int) -> None:
    threads = threading.active_count()
    memory, descriptors, archive = a_day(folder, commits_an_hour=commits_an_hour)
    growth = max(memory[16:]) - max(memory[4:12])
    print(
        f"{24 * commits_an_hour} commits: memory {memory[4] >> 20} → {memory[-1] >> 20} MiB, {growth} bytes more"
    )
    assert growth < 16 * MEBIBYTE
    assert max(descriptors[4:]) == min(descriptors[4:])
    assert threading.active_count() == threads
    days = {file.day for file in archive.snapshot.events}
    assert len(days) == 2
    assert len(archive.snapshot.events) == 24 + 1, "a file an hour, and one more where an hour spans midnight"
    assert os.listdir(archive.layout.live) == []
    archive.close()


def test_a_day_of_commits_folds_and_seals_leaves_memory_and_descriptors_as_they_were(tmp_path: Path) -> None:
    """The short form: a day of a fake clock with few commits an hour."""
    flat(tmp_path, commits_an_hour=6)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_whole_day_of_a_commit_every_five_seconds_is_flat(tmp_path: Path) -> None:
    """The long form: 17,280 commits."""
    flat(tmp_path, commits_an_hour=720)


def test_starting_with_a_long_past_reads_a_snapshot_and_a_tail(tmp_path: Path) -> None:
    """Two weeks of seals: one record stands for all of them. `python -m benchmarks startup` measures a year."""
    a_year(tmp_path, hours=14 * 24, tail=7)

    wall, cpu = opened(tmp_path)

    print(f"opened in {wall:.2f} s, {cpu:.2f} s of CPU")
    records = Ledger(Disk(), Layout(str(tmp_path), "main"), writer_version="").read(repair=False)
    assert [record.header.kind for record in records] == ["snapshot", *["commit"] * 7, "open"]
    archive = Archive.open(ArchiveOptions(path=str(tmp_path)))
    assert len(archive.snapshot.events) == 14 * 24
    archive.abandon()
