"""Rows that are visible but not committed yet, and the byte ranges they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.batch import Chunk, Counts
from parsers.columns import TIMESTAMP
from storage.records import Range
from storage.snapshot import Hot

# Neighbouring batches are joined until they have this many rows, so that a query reads tens of batches, not hundreds.
JOIN_ROWS = 16_384


def with_order(table: pa.Table, schema: pa.Schema, first_seq: int, now_us: int) -> pa.Table:
    """Return parsed rows as rows of ``schema``: seq rising from ``first_seq``, ``ingested_at`` = ``now_us``."""
    rows = table.num_rows
    given = {
        "seq": pa.array(np.arange(first_seq, first_seq + rows, dtype=np.int64)),
        "ingested_at": pa.array(np.full(rows, now_us, dtype="datetime64[us]")).cast(TIMESTAMP),
    }
    columns = [given[name] if name in given else table.column(name) for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def hot_events(table: pa.Table) -> Hot:
    """Wrap rows of EVENT_SCHEMA with their extent in time and seq; at least one row."""
    return _wrap(table, "timestamp")


def hot_rejects(table: pa.Table) -> Hot:
    """Wrap rows of REJECT_SCHEMA; their time is when they were read."""
    return _wrap(table, "ingested_at")


def _wrap(table: pa.Table, time: str) -> Hot:
    low, high = extent_us(table.column(time))
    seq = table.column("seq")
    return Hot(table, low, high, seq[0].as_py(), seq[-1].as_py())


def extent_us(times: pa.ChunkedArray[Any]) -> tuple[int, int]:
    """Return the least and greatest time of a column, in microseconds."""
    bounds = pc.min_max(times.cast(pa.int64()))
    return bounds["min"].as_py(), bounds["max"].as_py()


def joined(batches: tuple[Hot, ...], fixed: int) -> tuple[Hot, ...]:
    """Return ``batches`` with small neighbours at the end made one. The first ``fixed`` are in a commit: left alone.

    Each batch is joined only with one of at most twice its rows, so a row is copied a logarithmic number of times.
    """
    done = list(batches)
    while len(done) - fixed >= 2:
        left, right = done[-2], done[-1]
        rows = left.table.num_rows + right.table.num_rows
        if rows > JOIN_ROWS or left.table.num_rows > 2 * right.table.num_rows:
            break
        table = pa.concat_tables([left.table, right.table]).combine_chunks()
        done[-2:] = [
            Hot(
                table,
                min(left.min_time_us, right.min_time_us),
                max(left.max_time_us, right.max_time_us),
                left.min_seq,
                right.max_seq,
            )
        ]
    return tuple(done)


def concatenated(batches: Sequence[Hot], schema: pa.Schema) -> pa.Table:
    """Return the rows of some batches as one table (no copy)."""
    return pa.concat_tables([hot.table for hot in batches]) if batches else schema.empty_table()


def hot_bytes(batches: Sequence[Hot]) -> int:
    """Return about how much memory some batches hold, in bytes."""
    return sum(hot.table.nbytes for hot in batches)


def max_seq_of(table: pa.Table, *, internal: bool) -> int:
    """Return the highest seq among the daemon's own rows (or everybody else's); 0 if there is none."""
    mask = table.column("internal")
    seqs = table.column("seq").filter(mask if internal else pc.invert(mask))
    return pc.max(seqs).as_py() or 0


def extended(pending: Range | None, chunk: Chunk, counts: Counts) -> Range:
    """Return the range that ``pending`` and the next chunk of the same source make together."""
    mark, place = chunk.mark, chunk.place
    return Range(
        sid=chunk.source.sid,
        start=chunk.start if pending is None else pending.start,
        end=chunk.end,
        head=mark.head,
        head_length=mark.head_length,
        seam=mark.seam,
        seam_length=mark.seam_length,
        digest=mark.digest,
        digest_from=mark.digest_from,
        path=place.path,
        file=chunk.source.file,
        device=place.device,
        inode=place.inode,
        generation=place.generation,
        size=place.size,
        counts=counts if pending is None else pending.counts + counts,
    )
