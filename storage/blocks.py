"""Whole rows of every matching event, newest first, at flat memory: what exports are made of.

The order comes first, as narrow (time, seq) keys of many rows at a time; whole rows follow in blocks cut
along those keys, and each block is put in order in memory. DuckDB would carry whole rows through its sort.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parsers import arrow
from storage import pages, sql
from storage.courtesy import step_aside
from storage.freeing import give_back
from storage.query import ExportQuery
from storage.scope import View

# Rows fetched at a time: a sixth of a row group, whose pages are decompressed again for each block of it.
BLOCK_ROWS = 10_240
# Twice as many cost a tenth less CPU and take 30 MiB more, which are there while one export runs but not for two.
ALONE_TIMES = 2
KEY_ROWS = 12 * BLOCK_ROWS  # keys sorted at a time: DuckDB needs 15 MiB for it
BLOCK_BYTES = 32 << 20  # what a block should take in memory; one of wider rows has fewer
MOST_BLOCK_BYTES = 2 * BLOCK_BYTES  # above it a block is given up and fetched in halves
LEAST_ROWS = 64  # of a block, however wide its rows
BATCH_ROWS = (
    2_048  # rows handed over at a time: what DuckDB works on at once, and still in the processor's cache
)

Numbers = npt.NDArray[np.int64]
Columns = Callable[[View], str]
"""What is selected of a block's rows, given the view that the block lies in."""


_KINDS: tuple[tuple[str, type[duckdb.Error]], ...] = (
    ("INTERRUPT", duckdb.InterruptException),
    ("Out of Memory", duckdb.OutOfMemoryException),
)


class _Running:
    """How many are fetching rows at this moment. For any thread."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._count -= 1

    def most_rows(self) -> int:
        """Return how many rows a block may have."""
        return BLOCK_ROWS if self._count > 1 else ALONE_TIMES * BLOCK_ROWS


_RUNNING = _Running()


class _TooWideError(Exception):
    """The rows of a block need more memory than a block may have."""


def newest_first(
    cursor: duckdb.DuckDBPyConnection, seen: View, query: ExportQuery, columns: Columns
) -> Iterator[pa.RecordBatch]:
    """Yield `columns` of the matching rows in order, newest first, in batches of at most BATCH_ROWS.

    The cursor must have the snapshot's hot rows, and nothing else may use it until the last batch.
    """
    with _RUNNING:
        widest = BLOCK_ROWS  # what the width of the rows seen last allows: nothing is known of the first
        for part, times, seqs in _keys(cursor, seen, query):
            give_back()  # once in a hundred thousand rows: what the last blocks left in many heaps would add up
            at = 0
            while at < len(times):
                last = min(at + min(widest, _RUNNING.most_rows()), len(times)) - 1
                block = part.between(int(times[last]), int(times[at]))
                statement = sql.rows_between(
                    part,
                    query.filter,
                    query.scope,
                    columns(block),
                    first=(int(times[at]), int(seqs[at])),
                    last=(int(times[last]), int(seqs[last])),
                )
                try:
                    batches = _fetched(statement.batches(cursor, BATCH_ROWS))
                except _TooWideError:
                    widest = max(LEAST_ROWS, (last - at + 1) // 2)
                    continue
                if batches:
                    width = sum(batch.nbytes for batch in batches) / (last - at + 1)
                    widest = max(LEAST_ROWS, min(ALONE_TIMES * BLOCK_ROWS, int(BLOCK_BYTES / max(width, 1))))
                at = last + 1
                yield from _ordered(batches)


def _keys(
    cursor: duckdb.DuckDBPyConnection, seen: View, query: ExportQuery
) -> Iterator[tuple[View, Numbers, Numbers]]:
    """Yield the times and seqs of matching rows, newest first, KEY_ROWS at most, with the view they lie in."""
    left = query.limit
    for part in pages.slices(seen, KEY_ROWS):
        after: tuple[int, int] | None = None
        while left is None or left > 0:
            wanted = KEY_ROWS if left is None else min(KEY_ROWS, left)
            statement = sql.keys_in_order(part, query.filter, query.scope, limit=wanted, after=after)
            keys = statement.table(cursor)
            times, seqs = keys["time_us"].to_numpy(), keys["seq"].to_numpy()
            del keys
            if len(times):
                yield part, times, seqs
            if left is not None:
                left -= len(times)
            if len(times) < wanted:
                break
            after = int(times[-1]), int(seqs[-1])
        if left == 0:
            return


def _fetched(reader: pa.RecordBatchReader) -> list[pa.RecordBatch]:
    """Return all batches; raises `_TooWideError` when they grow beyond what a block may have."""
    batches: list[pa.RecordBatch] = []
    rows = size = 0
    try:
        for batch in reader:
            step_aside()
            batches.append(batch)
            rows += batch.num_rows
            size += batch.nbytes
            if size > MOST_BLOCK_BYTES and rows > LEAST_ROWS:
                raise _TooWideError
    except (pa.ArrowException, OSError) as error:
        # On its way through Arrow an error of DuckDB loses its kind and keeps its words.
        kind = next((kind for start, kind in _KINDS if start in str(error)), duckdb.IOException)
        raise kind(str(error)) from error
    finally:
        reader.close()
    return [batch for batch in batches if batch.num_rows]


def _ordered(batches: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some batches newest first, without the keys. Empties the list as it goes on where it can."""
    if not batches:
        return
    times: Numbers = np.concatenate([batch.column(0).to_numpy() for batch in batches])
    seqs: Numbers = np.concatenate([batch.column(1).to_numpy() for batch in batches])
    later = times[1:] - times[:-1]
    if bool(np.all((later > 0) | ((later == 0) & (seqs[1:] > seqs[:-1])))):  # one sealed file: sorted by time
        while batches:
            batch = batches.pop()
            yield _rows(batch).take(arrow.rows(np.arange(batch.num_rows - 1, -1, -1)))
        return
    plain = [_rows(batch) for batch in batches]
    ends = np.cumsum([batch.num_rows for batch in plain])
    order: Numbers = np.lexsort((seqs, times))[::-1]
    for start in range(0, len(order), BATCH_ROWS):
        yield _gathered(plain, ends, order[start : start + BATCH_ROWS])


def _rows(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.select(batch.schema.names[2:])


def _gathered(batches: list[pa.RecordBatch], ends: npt.NDArray[Any], rows: Numbers) -> pa.RecordBatch:
    """Return some rows, numbered over all batches together, in the order given."""
    places = np.searchsorted(ends, rows, side="right")
    begins: Numbers = ends - np.array([batch.num_rows for batch in batches], np.int64)
    mine = np.unique(places)
    if len(mine) == 1:
        only: pa.RecordBatch = batches[mine[0]].take(arrow.rows(rows - begins[mine[0]]))
        return only
    parts, numbers = [], []
    for place in mine:
        here = np.flatnonzero(places == place)
        parts.append(batches[place].take(arrow.rows(rows[here] - begins[place])))
        numbers.append(here)
    back = np.argsort(np.concatenate(numbers))
    (joined,) = pa.Table.from_batches(parts).combine_chunks().to_batches()
    found: pa.RecordBatch = joined.take(arrow.rows(back))
    return found
