"""Committed rows come once more in their order, whatever numbers nobody has."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from storage import sql
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.meeting import source_of
from storage.replay import WINDOW_SEQS, rows_after
from tests.storage.made import lines, seen

STARTS = 6


def test_numbers_that_earlier_starts_left_out_are_stepped_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each start leaves out sixteen million numbers; a file folded from several starts is read a few times, not thousands."""
    options = ArchiveOptions(path=str(tmp_path), fold_files=2)
    for _ in range(STARTS):
        archive = Archive.open(options)
        sid = next(iter(archive.sources), None)
        source = source_of(archive.sources[sid]) if sid else archive.register(seen("a.jsonl"))
        parsed, chunk = lines(source, archive.sources[source.sid].offset, 3)
        archive.append(parsed, [chunk])
        archive.commit()
        while archive.fold():
            pass
        archive.close()
    archive = Archive.open(options)
    asked: list[str] = []
    real = sql.Statement.table

    def counted(statement: sql.Statement, cursor: duckdb.DuckDBPyConnection) -> pa.Table:
        asked.append(statement.text)
        return real(statement, cursor)

    monkeypatch.setattr(sql.Statement, "table", counted)
    numbers: list[int] = [
        number
        for table in rows_after(archive.snapshot, 0, ("event_id",))
        for number in table["seq"].to_numpy().tolist()
    ]
    archive.close()

    assert len(numbers) == 3 * STARTS
    assert numbers == sorted(set(numbers))
    assert numbers[-1] - numbers[0] > 100 * WINDOW_SEQS
    assert len(asked) <= 4 * STARTS
