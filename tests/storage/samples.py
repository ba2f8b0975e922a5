"""Small archives for query tests: deterministic event tables, written as Parquet files and held in a Snapshot.

The rows follow the shape of real traffic: Zipf users, repeated addresses, five levels, ten categories, a few
unknown words, missing users, places and metadata. The same seed gives the same rows.
"""

from __future__ import annotations

import hashlib
import ipaddress
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parsers.columns import EVENT_SCHEMA, REJECT_SCHEMA, TIMESTAMP
from storage.rollups import ROLLUP_SCHEMA, delta
from storage.snapshot import File, Hot, Snapshot

DAY_US = 86_400_000_000
START_US = 1_763_251_200_000_000  # 2025-11-16T00:00:00Z
ROW_GROUP_ROWS = 122_880

LEVELS = np.array(["debug", "info", "warning", "error", "critical"], dtype=object)
LEVEL_SHARE = (0.118, 0.773, 0.087, 0.021, 0.001)
PAIRS = [
    ("authentication", "login"),
    ("authentication", "logout"),
    ("authorization", "permission_change"),
    ("user_management", "update"),
    ("user_management", "create"),
    ("data_management", "read"),
    ("data_management", "update"),
    ("data_management", "create"),
    ("data_management", "delete"),
    ("data_management", "export"),
    ("system_management", "system_event"),
    ("security", "security_event"),
    ("workflow", "workflow_execute"),
    ("api", "api_call"),
    ("file_management", "file_upload"),
    ("file_management", "file_download"),
    ("configuration", "update"),
    ("billing", "invoice_sent"),
]
OUTCOMES = np.array(["success", "failure", "denied", None], dtype=object)
COUNTRIES = np.array(["DE", "US", "FR", "NL", "GB", "IN", "BR", None], dtype=object)
AGENTS = np.array(
    [f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.{n} Chrome/{100 + n}.0" for n in range(245)]
)


def _zipf(rng: np.random.Generator, size: int, count: int, power: float = 1.05) -> np.ndarray:
    weights = 1.0 / np.arange(1, size + 1) ** power
    edges = np.cumsum(weights / weights.sum())
    return np.minimum(np.searchsorted(edges, rng.random(count)), size - 1)


def _text(values: np.ndarray | Sequence[str | None]) -> pa.Array:
    return pa.array(values, pa.string(), from_pandas=True)


def _uuids(rng: np.random.Generator, count: int) -> np.ndarray:
    raw = rng.bytes(16 * count)
    return np.array([str(uuid.UUID(bytes=raw[16 * i : 16 * i + 16])) for i in range(count)], dtype=object)


def event_table(
    count: int,
    *,
    seed: int = 1,
    start_us: int = START_US,
    span_us: int = 7 * DAY_US,
    first_seq: int = 1,
    users: int = 5000,
    addresses: int = 20_000,
    entities: int = 200_000,
    internal_share: float = 0.0,
) -> pa.Table:
    """Return ``count`` rows of EVENT_SCHEMA between ``start_us`` and ``start_us + span_us``, rising in time and seq."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.integers(start_us, start_us + span_us, count))
    pair = _zipf(rng, len(PAIRS), count, 0.9)
    categories = np.array([p[0] for p in PAIRS], dtype=object)[pair]
    actions = np.array([p[1] for p in PAIRS], dtype=object)[pair]
    level = rng.choice(5, count, p=LEVEL_SHARE)
    user = _zipf(rng, users, count)
    user_id = np.array([str(n + 1) for n in range(users)], dtype=object)[user]
    username = np.array([f"user{n + 1}" for n in range(users)], dtype=object)[user]
    nobody = rng.random(count) < 0.04
    user_id[nobody] = None
    username[nobody & (rng.random(count) < 0.7)] = None
    address = (user * 4 + rng.integers(0, 4, count)) % addresses
    ips = [ipaddress.ip_address((10 << 24) + 7919 * n % (1 << 24)) for n in range(addresses)]
    if addresses > 3:
        ips[3] = ipaddress.ip_address("2001:db8::17")
    packed = [i.packed if i.version == 6 else bytes(10) + b"\xff\xff" + i.packed for i in ips]
    ip_text = np.array([str(i) for i in ips], dtype=object)[address]
    ip_bytes = pa.array(packed, pa.binary(16)).take(pa.array(address))
    types = np.array(["project", "file", "user", "task", "invoice", None], dtype=object)
    entity_type = types[rng.integers(0, 6, count)]
    entity = _zipf(rng, max(entities // 5, 1), count, 0.7)
    entity_id = np.array([str(1000 + n) for n in range(max(entities // 5, 1))], dtype=object)[entity]
    entity_id[entity_type == None] = None  # noqa: E711 - elementwise
    repeats = np.maximum(rng.poisson(0.82, count) + 1, 1)
    correlations = np.repeat(_uuids(rng, count), repeats)[:count]
    risk = np.where(rng.random(count) < 0.1, rng.integers(31, 101, count), rng.integers(0, 31, count))
    no_risk = rng.random(count) < 0.2
    status = np.array([200, 201, 204, 302, 401, 403, 404, 500])[_zipf(rng, 8, count, 1.2)]
    suspicious = rng.random(count) < 0.004
    path = np.array([f"/api/v1/things/{n}" for n in range(2000)], dtype=object)[_zipf(rng, 2000, count)]
    description = np.array(
        [
            f"User {u} {'suspicious ' if s else ''}{a} {c} item {e}"
            for u, s, a, c, e in zip(username, suspicious, actions, categories, entity, strict=True)
        ],
        dtype=object,
    )
    metadata = np.array(
        [f'{{"device_type":"desktop","duration":{n % 977},"tab":{n % 13}}}' for n in range(count)]
    )
    session = np.array([f"s{n:07d}" for n in (user * 31 + times // DAY_US)], dtype=object)
    columns: dict[str, pa.Array] = {
        "event_id": _text(_uuids(rng, count)),
        "correlation_id": _text(correlations),
        "session_id": _text(session),
        "timestamp": pa.array(times, pa.int64()).cast(TIMESTAMP),
        "ingested_at": pa.array(times + 40_000, pa.int64()).cast(TIMESTAMP),
        "seq": pa.array(np.arange(first_seq, first_seq + count), pa.int64()),
        "level": _text(LEVELS[level]),
        "category": _text(categories),
        "action": _text(actions),
        "outcome": _text(OUTCOMES[rng.choice(4, count, p=(0.9, 0.06, 0.02, 0.02))]),
        "user_id": _text(user_id),
        "username": _text(username),
        "entity_type": _text(entity_type),
        "entity_id": _text(entity_id),
        "entity_name": pc.binary_join_element_wise(_text(entity_type), _text(entity_id), " "),
        "method": _text(np.array(["GET", "POST", "PUT", "DELETE"], dtype=object)[_zipf(rng, 4, count)]),
        "path": _text(path),
        "ip": _text(ip_text),
        "ip_bytes": ip_bytes,
        "user_agent": _text(AGENTS[address % 245]),
        "status_code": pa.array(status, pa.int32()),
        "response_time_ms": pa.array(np.round(rng.gamma(2, 40, count), 1), pa.float64()),
        "country_code": _text(COUNTRIES[address % 8]),
        "city": _text(
            np.where(
                address % 3 == 0,
                None,
                np.array([f"City {n % 50}" for n in range(addresses)], dtype=object)[address],
            )
        ),
        "description": _text(description),
        "metadata": _text(metadata),
        "tags": pa.array([["a", "b"] if n % 7 == 0 else None for n in range(count)], pa.list_(pa.string())),
        "risk_score": pa.array(risk, pa.int32(), mask=no_risk),
        "risk_score_reported": pa.array(risk, pa.float64(), mask=no_risk),
        "server": _text(np.array(["app-1", "app-2", "app-3"], dtype=object)[address % 3]),
        "environment": _text(np.full(count, "production", dtype=object)),
        "version": _text(np.full(count, "1.4.2", dtype=object)),
        "internal": pa.array(rng.random(count) < internal_share, pa.bool_()),
        "retention_class": _text(np.full(count, "default", dtype=object)),
        "node": _text(np.full(count, "main", dtype=object)),
        "parser": _text(np.full(count, "native", dtype=object)),
        "source": _text(np.full(count, "0" * 31 + "1", dtype=object)),
        "source_file": _text(np.full(count, "app/app-2025-11-16.jsonl", dtype=object)),
        "source_offset": pa.array(np.arange(count) * 830, pa.int64()),
    }
    return pa.table(
        [
            columns[field.name] if field.name in columns else pa.nulls(count, field.type)
            for field in EVENT_SCHEMA
        ],
        schema=EVENT_SCHEMA,
    )


def _bounds(table: pa.Table, column: str) -> tuple[int, int]:
    values = table[column].cast(pa.int64())
    found = pc.min_max(values)
    return int(found["min"].as_py()), int(found["max"].as_py())


def write_events(
    root: Path, table: pa.Table, name: str, *, day: str | None = None, row_group_rows: int = ROW_GROUP_ROWS
) -> tuple[File, File]:
    """Write rows sorted by time as one events file and its roll-up; return both as `File` values."""
    table = table.sort_by([("timestamp", "ascending"), ("seq", "ascending")])
    path = f"events/date={day}/{name}.parquet" if day else f"nodes/main/live/{name}.parquet"
    bloom = {"event_id": True, "correlation_id": True, "session_id": True}
    events = _write(root, path, table, row_group_rows, bloom_filter_options=bloom)
    sums = delta(table)
    assert sums.schema.equals(ROLLUP_SCHEMA)
    low_time, high_time = _bounds(table, "timestamp")
    low_seq, high_seq = _bounds(table, "seq")
    internal = pc.unique(table["internal"]).to_pylist()
    base = File(
        path=path,
        kind="events",
        node="main",
        rows=table.num_rows,
        bytes=(root / path).stat().st_size,
        sha256=hashlib.sha256((root / path).read_bytes()).hexdigest(),
        min_time_us=low_time,
        max_time_us=high_time,
        min_seq=low_seq,
        max_seq=high_seq,
        day=day,
        retention_class="default" if day else None,
        internal=internal[0] if len(internal) == 1 else None,
    )
    sums_path = f"rollups/{name}.parquet"
    written = _write(root, sums_path, sums, 16_384)
    return events and base, replace(
        base, path=sums_path, kind="rollup", rows=sums.num_rows, bytes=written, covers=path
    )


def _write(root: Path, path: str, table: pa.Table, row_group_rows: int, **options: object) -> int:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table,
        target,
        compression="zstd",
        compression_level=1,
        row_group_size=row_group_rows,
        write_page_checksum=True,
        write_page_index=True,
        **options,  # type: ignore[arg-type]  # stubs do not know every option
    )
    return target.stat().st_size


def hot(table: pa.Table) -> Hot:
    """Hold rows as a hot batch."""
    low_time, high_time = _bounds(table, "timestamp" if "timestamp" in table.schema.names else "ingested_at")
    low_seq, high_seq = _bounds(table, "seq")
    return Hot(table, low_time, high_time, low_seq, high_seq)


def reject_table(count: int, first_seq: int = 1) -> pa.Table:
    """Return rows of REJECT_SCHEMA."""
    at = pa.array([START_US + n * 1_000_000 for n in range(count)], pa.int64()).cast(TIMESTAMP)
    values = {
        "source": pa.array(["0" * 31 + "1"] * count),
        "source_file": pa.array(["app/app.jsonl"] * count),
        "source_offset": pa.array([n * 100 for n in range(count)], pa.int64()),
        "length": pa.array([9] * count, pa.int64()),
        "sha256": pa.array(["ab" * 32] * count),
        "reason": pa.array(["not JSON"] * count),
        "raw": pa.array([b"broken \xff" + str(n).encode() for n in range(count)], pa.binary()),
        "internal": pa.array([False] * count),
        "node": pa.array(["main"] * count),
        "ingested_at": at,
        "seq": pa.array(range(first_seq, first_seq + count), pa.int64()),
    }
    return pa.table([values[field.name] for field in REJECT_SCHEMA], schema=REJECT_SCHEMA)


def snapshot(
    root: Path,
    files: Sequence[tuple[File, File]] = (),
    hot_tables: Sequence[pa.Table] = (),
    *,
    drops: int = 0,
) -> Snapshot:
    """Compose a Snapshot of events files with their roll-ups, and hot tables."""
    hots = tuple(hot(table) for table in hot_tables)
    events = tuple(sorted((f[0] for f in files), key=lambda f: -f.max_time_us))
    top = max([f.max_seq for f in events] + [h.max_seq for h in hots] + [0])
    return Snapshot(
        root=str(root),
        node="main",
        seq=top,
        seq_internal=0,
        seq_external=top,
        view_seq=0,
        sealed_seq=0,
        commit=len(files),
        drops=drops,
        events=events,
        rollups=tuple(f[1] for f in files),
        rejects=(),
        hot=hots,
        hot_rejects=(),
    )


def by_day(table: pa.Table) -> list[tuple[str, pa.Table]]:
    """Split rows by UTC day."""
    times = table["timestamp"].cast(pa.int64()).to_numpy()
    days = times // DAY_US
    result = []
    for day in np.unique(days):
        name = str(np.datetime64(int(day), "D"))
        result.append((name, table.filter(pa.array(days == day))))
    return result
