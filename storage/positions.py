"""Whether every row of the archive has a place of its own: (source, offset) never twice, in any file or between files.

Files are looked at in batches of bounded size. Between files only those need a second look whose stretches of the same
source overlap, which takes rows that came late or lie around midnight.
"""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.duck import connect

MEMORY_LIMIT_MB = 256  # beyond it DuckDB spills into a temporary folder
BATCH_ROWS = 2_000_000  # of one statement: about 100 MB of hash table


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows of one source in one file: how many, at how many places, the first and the last of these."""

    path: str
    sid: str
    rows: int
    places: int
    first: int
    last: int


def stretches(
    rows: Mapping[str, int], tell: Callable[[int], None] = lambda _rows: None
) -> tuple[list[Stretch], dict[str, int]]:
    """Look at files (absolute path → rows expected); return their stretches and, by source, rows at a place taken before.

    ``tell`` is given the rows done. Files must be readable: check their hashes first.
    """
    found: list[Stretch] = []
    twice: dict[str, int] = defaultdict(int)
    with (
        tempfile.TemporaryDirectory(prefix="watchkeep-verify-") as folder,
        connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB) as connection,
    ):
        connection.execute("SET temp_directory = $1", [folder])
        done = 0
        for batch in _batches(rows):
            found += _look(connection, batch)
            done += sum(rows[path] for path in batch)
            tell(done)
        for stretch in found:
            twice[stretch.sid] += stretch.rows - stretch.places
        for sid, paths in _overlapping(found):
            inside = sum(s.rows - s.places for s in found if s.sid == sid and s.path in paths)
            twice[sid] += max(0, _repeated(connection, sid, paths) - inside)
    return found, {sid: count for sid, count in twice.items() if count}


def _batches(rows: Mapping[str, int]) -> Iterator[list[str]]:
    batch: list[str] = []
    held = 0
    for path, count in rows.items():
        if batch and held + count > BATCH_ROWS:
            yield batch
            batch, held = [], 0
        batch.append(path)
        held += count
    if batch:
        yield batch


def _look(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> list[Stretch]:
    rows = _ask(
        connection,
        "SELECT filename, source, count(*), count(DISTINCT source_offset), min(source_offset), max(source_offset) "
        "FROM read_parquet($1, union_by_name = true, hive_partitioning = false, filename = true) GROUP BY ALL",
        paths,
    )
    return [Stretch(*row) for row in rows]


def _ask(
    connection: duckdb.DuckDBPyConnection, statement: str, paths: Sequence[str], *values: str
) -> list[tuple[Any, ...]]:
    """Run a statement over the files that are still there: the archive may have merged or dropped some since."""
    try:
        return connection.execute(statement, [list(paths), *values]).fetchall()
    except duckdb.IOException:
        present = [path for path in paths if os.path.exists(path)]
        if len(present) == len(paths):
            raise
        return _ask(connection, statement, present, *values) if present else []


def _overlapping(found: Sequence[Stretch]) -> Iterator[tuple[str, list[str]]]:
    """Yield each source with the files whose stretches of it overlap, one group after the other."""
    by_source: dict[str, list[Stretch]] = defaultdict(list)
    for stretch in found:
        by_source[stretch.sid].append(stretch)
    for sid, mine in by_source.items():
        mine.sort(key=lambda stretch: stretch.first)
        group, end = [mine[0].path], mine[0].last
        for stretch in mine[1:]:
            if stretch.first > end and len(group) > 1:
                yield sid, group
            if stretch.first > end:
                group = []
            group.append(stretch.path)
            end = max(end, stretch.last)
        if len(group) > 1:
            yield sid, group


def _repeated(connection: duckdb.DuckDBPyConnection, sid: str, paths: Sequence[str]) -> int:
    rows = _ask(
        connection,
        "SELECT count(*) - count(DISTINCT source_offset) "
        "FROM read_parquet($1, union_by_name = true, hive_partitioning = false) WHERE source = $2",
        paths,
        sid,
    )
    return int(rows[0][0]) if rows else 0
