"""Every format holds the same events in the same order, whatever is asked, however rows lie and work is cut up."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from parsers.columns import EVENT_SCHEMA
from storage import blocks, columnar
from storage.engine import Engine, EngineOptions
from storage.export import Format, pieces
from storage.packing import packed
from storage.query import ExportQuery, Filter, Scope
from storage.snapshot import Snapshot
from tests.storage.samples import START_US, filled, oracle, snapshot, write_events

ROWS = filled(
    [
        {
            "time_us": START_US + n * 1000 * (n % 11),
            "level": ["info", "error", "debug"][n % 3],
            "username": f"user-{n % 4}",
            "risk_score": n % 101,
            "description": "=x" * (n % 5),
            "internal": n % 10 == 0,
        }
        for n in range(300)
    ]
)
filters = st.builds(
    lambda level, user, low, high: Filter.of({"level": level, "username": user}, min_risk=low, max_risk=high),
    st.lists(st.sampled_from(["info", "error", "!debug"]), max_size=2, unique=True),
    st.lists(st.sampled_from(["user-1", "!user-2"]), max_size=2, unique=True),
    st.none() | st.integers(0, 60),
    st.none() | st.integers(40, 100),
)


@pytest.fixture(scope="module")
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    engine = Engine(EngineOptions(threads=1))
    with engine.cursor() as cursor:
        yield cursor
    engine.close()


@pytest.fixture(scope="module")
def snap(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Two files that overlap in time, and hot rows."""
    root = tmp_path_factory.mktemp("archive")
    mixed = [*ROWS[:200:2], *ROWS[1:200:2]]
    files = [write_events(root, mixed[:100], "a"), write_events(root, mixed[100:], "b")]
    return snapshot(root, files, [ROWS[200:]])


def ids(form: Format, body: bytes) -> list[Any]:
    """Return the ids of the events in a body, in its order."""
    match form:
        case "json":
            return [event["eventId"] for event in orjson.loads(body)]
        case "ndjson":
            return [orjson.loads(line)["eventId"] for line in body.splitlines()]
        case "csv":
            return [row["eventId"] for row in csv.DictReader(io.StringIO(body.decode(), newline=""))]
        case "parquet":
            return pq.read_table(io.BytesIO(body))["event_id"].to_pylist()
        case "arrow":
            return pa.ipc.open_stream(body).read_all()["event_id"].to_pylist()


@given(
    wanted=filters,
    scope=st.sampled_from([Scope(), Scope(internal="include"), Scope(internal="only")]),
    limit=st.none() | st.integers(1, 320),
    rows=st.sampled_from([(64, 7), (7, 64), (1_000, 1_000)]),
)
@hypothesis_settings(max_examples=10, deadline=None)
def test_every_format_holds_the_events_that_match_newest_first(
    cursor: duckdb.DuckDBPyConnection,
    snap: Snapshot,
    wanted: Filter,
    scope: Scope,
    limit: int | None,
    rows: tuple[int, int],
) -> None:
    """As the oracle finds them in the rows themselves; compressed as well."""
    matching = [row["event_id"] for row in oracle(ROWS, wanted, scope)][:limit]
    query = ExportQuery(wanted, scope, limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "KEY_ROWS", rows[0])
        patch.setattr(blocks, "BLOCK_ROWS", rows[1])
        for form in ("json", "ndjson", "csv", "parquet", "arrow"):
            body = b"".join(pieces(cursor, snap, query, form))
            assert ids(form, body) == matching, form
        squeezed = b"".join(packed(pieces(cursor, snap, query, "ndjson"), "gzip"))
        assert ids("ndjson", gzip.decompress(squeezed)) == matching


def test_the_bytes_of_parquet_depend_on_the_rows_alone(
    cursor: duckdb.DuckDBPyConnection, snap: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the rows lie in files and in memory, and in however many statements they are fetched."""
    monkeypatch.setattr(columnar, "BATCH_ROWS", 32)
    monkeypatch.setattr(columnar, "GROUP_ROWS", 96)
    query = ExportQuery(scope=Scope(internal="include"))
    one_file = snapshot(tmp_path, [write_events(tmp_path, ROWS, "all")], [])
    whole = b"".join(pieces(cursor, snap, query, "parquet"))
    assert b"".join(pieces(cursor, one_file, query, "parquet")) == whole
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 17)
    assert b"".join(pieces(cursor, snap, query, "parquet")) == whole
    assert pq.ParquetFile(io.BytesIO(whole)).num_row_groups == 4


def test_wide_rows_come_in_smaller_blocks(
    cursor: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that grows beyond its bytes is given up and fetched in halves: memory has a bound, nothing is lost."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 100_000)
    monkeypatch.setattr(blocks, "MOST_BLOCK_BYTES", 200_000)
    wide = filled([{"time_us": START_US + n, "description": "x" * 1_000} for n in range(2_000)])
    snap = snapshot(tmp_path, [write_events(tmp_path, wide, "wide")], [])
    taken: list[int] = []
    fetched = blocks._fetched

    def watching(reader: pa.RecordBatchReader) -> list[pa.RecordBatch]:
        batches = fetched(reader)
        taken.append(sum(batch.nbytes for batch in batches))
        return batches

    monkeypatch.setattr(blocks, "_fetched", watching)
    monkeypatch.setattr(blocks, "BATCH_ROWS", 64)
    body = b"".join(pieces(cursor, snap, ExportQuery(), "ndjson"))
    assert len(body.splitlines()) == 2_000
    assert max(taken) < 300_000
    assert EVENT_SCHEMA.names == columnar.schema_of(()).names
