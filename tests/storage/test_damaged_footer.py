"""A file whose footer is damaged: questions say so in their own words, the log and the metric say which file."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from daemon.metrics import Metrics
from storage.engine import Engine, EngineOptions
from storage.errors import ArchiveError, UnreadableError
from storage.queries import Queries
from storage.query import Filter, ListQuery, StatisticsQuery
from tests.storage.asking import rows
from tests.storage.stock import opened, stock

# A filter that no roll-up answers, over all times.
EVERYTHING = Filter.of({"path": ["/x"]}, start_us=0, end_us=2 * 10**15)
DAY_START_US = 1_780_185_600_000_000  # 2026-05-31T00:00:00Z
MAGIC = 4  # bytes of "PAR1" at the end; four bytes of the footer's length stand before it


def damage(path: Path) -> None:
    """Overwrite the middle of a Parquet file's footer, whose length stays the same."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[-8:-MAGIC], "little")
    start = len(data) - 8 - length
    for place in range(start, start + length // 2):
        data[place] ^= 0xFF
    os.chmod(path, 0o640)
    path.write_bytes(data)


async def test_a_damaged_footer_is_told_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not as a fault of the program; the name is that below the archive, so no path of the machine is told."""
    archive = opened(tmp_path / "archive")
    stock(archive, [{"day": "2026-05-30"}, {"day": "2026-05-31"}])
    archive.close()
    archive = opened(tmp_path / "archive")  # with nothing remembered of its files
    first = min(archive.snapshot.events, key=lambda file: file.max_time_us)
    damage(tmp_path / "archive" / first.path)
    metrics = Metrics()
    engine = Engine(EngineOptions(), metrics)
    queries = Queries(engine, lambda: archive.snapshot)
    try:
        with (
            caplog.at_level(logging.ERROR),
            pytest.raises(UnreadableError, match="could not be read") as caught,
        ):
            await queries.statistics(StatisticsQuery(EVERYTHING))
        assert caught.value.retry
        assert f"could not be read: {first.path}" in caplog.text
        assert f'unreadable_archive_files_total{{file="{first.path}"}} 1.0' in metrics.exposition().decode()
        day = Filter.of({}, start_us=DAY_START_US)
        whole = await queries.page(ListQuery(day, limit=1))
        assert len(whole.rows) == 1  # questions about other files are answered
    finally:
        engine.close()
        archive.close()


def test_sql_tells_a_damaged_footer_too(tmp_path: Path) -> None:
    """DuckDB's words, with the name below the archive."""
    archive = opened(tmp_path / "archive")
    stock(archive, [{"day": "2026-05-30"}])
    archive.close()
    file = archive.snapshot.events[0].path
    damage(tmp_path / "archive" / file)
    with pytest.raises(ArchiveError) as caught:
        rows(tmp_path / "archive", "SELECT count(level) FROM events")
    assert str(tmp_path) not in str(caught.value)
    assert file in str(caught.value)
