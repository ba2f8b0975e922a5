"""Pages of lines that could not be parsed, newest first by seq."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from parsers.columns import REJECT_SCHEMA
from parsers.moments import rfc3339
from storage import sql
from storage.cursors import Mark, decode, encode
from storage.filters import Bind, quote
from storage.query import RejectQuery
from storage.scope import path_of
from storage.snapshot import File, Snapshot


@dataclass(frozen=True, slots=True)
class RejectPage:
    """Rejects as JSON-able objects, how many match in all, where the next page begins, and the snapshot's seq."""

    rows: list[dict[str, Any]]
    total: int
    next: str | None
    snapshot: int


def reject_page(cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, query: RejectQuery) -> RejectPage:
    """Return one page of rejects."""
    sql.register(cursor, snapshot.hot_rejects, REJECT_SCHEMA)
    mark = decode(query.cursor, query.source, query.scope) if query.cursor else None
    limit_seq = mark.snapshot if mark else query.snapshot
    seq = snapshot.seq if limit_seq is None else min(limit_seq, snapshot.seq)
    below = mark.seq if mark else None
    files = [file for file in snapshot.rejects if file.min_seq <= seq]
    total = int(_statement(snapshot, files, query, seq, None, "count(*)").rows(cursor)[0][0])
    found: list[tuple[Any, ...]] = []
    columns = ", ".join(quote(name) for name in _COLUMNS) + f", epoch_us({quote('ingested_at')})"
    if total:
        statement = _statement(snapshot, files, query, seq, below, columns, limit=query.limit + 1)
        found = statement.rows(cursor)
    rows = [_row(row) for row in found[: query.limit]]
    following = None
    if len(found) > query.limit:
        following = encode(Mark(0, rows[-1]["seq"], seq), query.source, query.scope)
    return RejectPage(rows, total, following, seq)


_COLUMNS = ("source", "source_file", "source_offset", "length", "sha256", "reason", "raw", "seq")


def _row(row: tuple[Any, ...]) -> dict[str, Any]:
    source, file, offset, length, sha256, reason, raw, seq, time_us = row
    return {
        "source": source,
        "file": file,
        "offset": offset,
        "length": length,
        "sha256": sha256,
        "reason": reason,
        "raw": (raw or b"").decode("utf-8", "replace"),
        "timestamp": rfc3339(time_us),
        "seq": seq,
    }


def _statement(
    snapshot: Snapshot,
    files: list[File],
    query: RejectQuery,
    seq: int,
    below: int | None,
    columns: str,
    *,
    limit: int | None = None,
) -> sql.Statement:
    bind = Bind()
    item = sql.rows_of([path_of(snapshot.root, file) for file in files], bind)
    parts = [f"{quote('seq')} <= {bind(seq)}"]
    if below is not None:
        parts.append(f"{quote('seq')} < {bind(below)}")
    if query.scope.internal != "include":
        parts.append(quote("internal") if query.scope.internal == "only" else f"NOT {quote('internal')}")
    if query.source is not None:
        place = bind(query.source)
        parts.append(f"({quote('source')} = {place} OR {quote('source_file')} = {place})")
    order = "" if limit is None else f" ORDER BY {quote('seq')} DESC LIMIT {bind(limit)}"
    return sql.Statement(f"SELECT {columns} FROM {item} WHERE {' AND '.join(parts)}{order}", bind.values)
