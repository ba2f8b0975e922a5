"""Small archives for query tests: rows given as dicts, written as Parquet files and held in a Snapshot.

`oracle` says in plain Python what a filter must find, so that SQL is compared with something that is not SQL.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA
from storage.filters import address_range
from storage.parquet import BLOOM_COLUMNS
from storage.query import Filter, Scope
from storage.rollups import delta
from storage.sketch import sketch, with_sketches
from storage.snapshot import File, Hot, Snapshot

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START_US = 1_763_251_200_000_000  # 2025-11-16T00:00:00Z

Row = dict[str, Any]
Pair = tuple[File, File]
"""An events file and its roll-up."""


def filled(rows: Sequence[Row], *, first_seq: int = 1) -> list[Row]:
    """Give rows what they do not name; ``time_us`` is a row's time."""
    return [
        {
            "event_id": f"e{first_seq + number}",
            "seq": first_seq + number,
            "time_us": START_US + number,
            "level": "info",
            "internal": False,
            "retention_class": "default",
            "node": "main",
            "parser": "native",
            "source": "0" * 32,
            "source_file": "app.jsonl",
            "source_offset": 100 * number,
            **row,
        }
        for number, row in enumerate(rows)
    ]


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Return filled rows as a table of EVENT_SCHEMA."""
    stored = [
        {
            **row,
            "timestamp": EPOCH + timedelta(microseconds=row["time_us"]),
            "ingested_at": EPOCH + timedelta(microseconds=row["time_us"]),
            "ip_bytes": packed(row["ip"]) if row.get("ip") else None,
        }
        for row in rows
    ]
    columns: list[Any] = [pa.array([row.get(f.name) for row in stored], f.type) for f in EVENT_SCHEMA]
    return pa.table(columns, schema=EVENT_SCHEMA)


def packed(address: str) -> bytes:
    """Return an address as 16 bytes."""
    parsed = ipaddress.ip_address(address)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def write_events(
    root: Path,
    rows: Sequence[Row],
    name: str,
    *,
    day: str | None = None,
    without: Sequence[str] = (),
    sketched: bool = True,
) -> Pair:
    """Write filled rows, sorted by time, as an events file and its roll-up. ``without`` names missing columns.

    With ``sketched`` the roll-up holds sketches, as those of sealed files do.
    """
    ordered = sorted(rows, key=lambda row: (row["time_us"], row["seq"]))
    table = table_of(ordered)
    path = f"events/date={day}/{name}.parquet" if day else f"nodes/main/live/{name}.parquet"
    group = max(16, len(rows) // 4)
    size = _write(root / path, table.drop_columns(list(without)), row_group_rows=group)
    internal = {row["internal"] for row in rows}
    events = File(
        path=path,
        kind="events",
        node="main",
        rows=len(rows),
        bytes=size,
        sha256=hashlib.sha256((root / path).read_bytes()).hexdigest(),
        min_time_us=ordered[0]["time_us"],
        max_time_us=ordered[-1]["time_us"],
        min_seq=min(row["seq"] for row in rows),
        max_seq=max(row["seq"] for row in rows),
        day=day,
        retention_class="default" if day else None,
        internal=internal.pop() if len(internal) == 1 else None,
    )
    sums = delta(table)
    if sketched:
        parts = [table.slice(at, group) for at in range(0, table.num_rows, group)]
        sums = with_sketches(sums, [sketch(part) for part in parts])
    sums_path = f"rollups/{name}.parquet"
    size = _write(root / sums_path, sums, row_group_rows=64)
    rollup = replace(events, path=sums_path, kind="rollup", rows=sums.num_rows, bytes=size, covers=path)
    return events, rollup


def _write(path: Path, table: pa.Table, *, row_group_rows: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    blooms = {name: {"ndv": 16, "fpp": 0.05} for name in BLOOM_COLUMNS if name in table.schema.names}
    options: dict[str, Any] = {"bloom_filter_options": blooms} if blooms else {}
    pq.write_table(table, path, compression="zstd", row_group_size=row_group_rows, **options)
    return path.stat().st_size


def hot_of(rows: Sequence[Row]) -> Hot:
    """Hold filled rows as a hot batch."""
    times = [row["time_us"] for row in rows]
    seqs = [row["seq"] for row in rows]
    return Hot(table_of(rows), min(times), max(times), min(seqs), max(seqs))


def snapshot(
    root: Path, files: Iterable[Pair] = (), hot: Iterable[Sequence[Row]] = (), *, drops: int = 0, **more: Any
) -> Snapshot:
    """Compose a Snapshot of events files with their roll-ups, and batches of hot rows."""
    pairs = list(files)
    batches = tuple(hot_of(rows) for rows in hot if rows)
    events = tuple(sorted((pair[0] for pair in pairs), key=lambda file: -file.max_time_us))
    seqs = [file.max_seq for file in events] + [batch.max_seq for batch in batches]
    top = max(seqs, default=0)
    values: dict[str, Any] = {
        "root": str(root),
        "node": "main",
        "seq": top,
        "seq_internal": 0,
        "seq_external": top,
        "view_seq": 0,
        "sealed_seq": 0,
        "commit": len(pairs),
        "drops": drops,
        "events": events,
        "rollups": tuple(pair[1] for pair in pairs),
        "rejects": (),
        "hot": batches,
        "hot_rejects": (),
        **more,
    }
    return Snapshot(**values)


def rejects_of(count: int, *, first_seq: int = 1) -> Hot:
    """Hold ``count`` rejects as a hot batch."""
    rows = [
        {
            "source": "0" * 32,
            "source_file": "app.jsonl",
            "source_offset": 100 * number,
            "length": 9,
            "sha256": "ab" * 32,
            "reason": "not JSON",
            "raw": b"broken \xff " + str(number).encode(),
            "internal": False,
            "node": "main",
            "ingested_at": EPOCH + timedelta(microseconds=START_US + number),
            "seq": first_seq + number,
        }
        for number in range(count)
    ]
    columns: list[Any] = [pa.array([row[f.name] for row in rows], f.type) for f in REJECT_SCHEMA]
    table = pa.table(columns, schema=REJECT_SCHEMA)
    return Hot(table, START_US, START_US + count - 1, first_seq, first_seq + count - 1)


def oracle(
    rows: Iterable[Row], wanted: Filter, scope: Scope | None = None, *, seq: int | None = None
) -> list[Row]:
    """Return the rows a filter must find, newest first."""
    asked = scope or Scope()
    found = [
        row
        for row in rows
        if _visible(row, asked) and _matches(row, wanted) and (seq is None or row["seq"] <= seq)
    ]
    return sorted(found, key=lambda row: (row["time_us"], row["seq"]), reverse=True)


def _visible(row: Row, scope: Scope) -> bool:
    if scope.tenant is not None and row.get("tenant") != scope.tenant:
        return False
    return scope.internal == "include" or row["internal"] == (scope.internal == "only")


def _matches(row: Row, wanted: Filter) -> bool:
    if wanted.start_us is not None and row["time_us"] < wanted.start_us:
        return False
    if wanted.end_us is not None and row["time_us"] > wanted.end_us:
        return False
    score = row.get("risk_score")
    if wanted.min_risk is not None and (score is None or score < wanted.min_risk):
        return False
    if wanted.max_risk is not None and (score is None or score > wanted.max_risk):
        return False
    if wanted.search is not None:
        texts = (row.get(name) or "" for name in ("description", "entity_name", "username"))
        if not any(wanted.search.lower() in text.lower() for text in texts):
            return False
    groups: dict[tuple[str, bool], list[str]] = {}
    for term in wanted.terms:
        groups.setdefault((term.field, term.exclude), []).append(term.value)
    return all(
        any(_is(row, name, value) for value in values) != exclude
        for (name, exclude), values in groups.items()
    )


_COLUMNS = {"country": "country_code"}


def _is(row: Row, name: str, value: str) -> bool:
    if name == "ip":
        low, high = address_range(value)
        return bool(row.get("ip")) and low <= packed(row["ip"]) <= high
    if name == "risk":
        score = row.get("risk_score")
        bands = {"low": range(31), "medium": range(31, 71), "high": range(71, 101)}
        return score is not None and score in bands[value]
    if name == "tag":
        return value in (row.get("tags") or ())
    if name == "source":
        return value in {row["source"], row["source_file"]}
    if name == "status_code":
        return bool(row.get("status_code") == int(value))
    return bool(row.get(_COLUMNS.get(name, name)) == value)
