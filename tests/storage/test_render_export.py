"""What an event looks like: in pages and in exports the same, whatever an application wrote into it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from parsers.moments import rfc3339
from storage import blocks, export, sql
from storage.engine import Engine, EngineOptions
from storage.errors import QueryError
from storage.export import Format, pieces
from storage.queries import Queries
from storage.query import ExportQuery, Filter, ListQuery, Scope
from storage.render import API_NAMES, event_texts
from storage.shapes import used_by
from storage.texts import ALL, FORMULA_STARTS, csv_row, event_json
from tests.storage.samples import START_US, Row, filled, hot_of, oracle, snapshot, table_of, write_events

texts = st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
json_texts = st.none() | st.sampled_from(
    ["{}", '{"a":1.0,"b":12345678901234567890123,"c":"\\ud800"}', '{"x":{"y":[1,null,"é"]}}', '{"big":1e400}']
)
full_row = st.fixed_dictionaries(
    {
        "time_us": st.integers(0, 4_000_000_000_000_000),
        **dict.fromkeys(
            ("username", "description", "entity_name", "category", "path", "user_agent", "city", "device"),
            texts,
        ),
        **dict.fromkeys(("metadata", "extra", "changes", "response", "request_headers"), json_texts),
        "user_id": texts
        | st.sampled_from(
            ["0", "-0", "7", "-7", "007", "1.0", " 1", "9" * 18, "9" * 38, "9" * 40, "2" * 39, "٣", "+1"]
        ),
        "tags": st.none() | st.lists(st.sampled_from(["a", 'b"', "c,d"]), max_size=2),
        "flags": st.none() | st.sampled_from([[], ["user_id_text"], ["late"]]),
        "response_time_ms": st.none()
        | st.sampled_from([0.0, 12.5, 1e-9, 1e22, float("inf"), float("nan"), -0.0]),
        "latitude": st.none() | st.floats(-90, 90),
        "status_code": st.none() | st.integers(0, 999),
        "affected_users_count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "risk_score": st.none() | st.integers(0, 100),
        "risk_reasons": st.none() | st.just([{"reason": "new", "points": 10.5, "detail": None}]),
        "internal": st.booleans(),
    }
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(EngineOptions(threads=1))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def cursor(engine: Engine) -> Iterator[duckdb.DuckDBPyConnection]:
    with engine.cursor() as cursor:
        yield cursor


@given(rows=st.lists(full_row, min_size=1, max_size=8))
@hypothesis_settings(max_examples=30)
def test_both_renderers_give_the_same_event(cursor: duckdb.DuckDBPyConnection, rows: list[Row]) -> None:
    """A page and an export show the same object, byte for byte where an application's own JSON is embedded."""
    table = table_of(filled(rows))
    cursor.register(sql.HOT, table)
    used = used_by([], [hot_of(filled(rows))]) & ALL
    exported, pruned = (
        [row[0] for row in cursor.execute(f'SELECT {text} FROM {sql.HOT} ORDER BY "seq"').fetchall()]
        for text in (event_json(), event_json(used))
    )
    assert exported == pruned
    cells, fewer = (
        [row[0] for row in cursor.execute(f'SELECT {text} FROM {sql.HOT} ORDER BY "seq"').fetchall()]
        for text in (csv_row(), csv_row(used))
    )
    assert cells == fewer
    paged = event_texts(table)
    assert [_loads(text) for text in exported] == [_loads(text) for text in paged]
    for row, text in zip(rows, exported, strict=True):
        assert "\n" not in text
        for name in ("metadata", "extra"):
            assert f'"{name}":{row[name] or "{}"}' in text


def _loads(text: str) -> Any:
    """Parse JSON, keeping numbers as they are written, less the spelling of floats."""
    import json

    def number(value: str) -> Any:
        return ("float", float(value))

    def constant(value: str) -> Any:
        raise ValueError(value)  # NaN and Infinity are not JSON

    return json.loads(text, parse_float=number, parse_constant=constant)


def test_the_event_has_the_originals_shape(cursor: duckdb.DuckDBPyConnection) -> None:
    """Absent objects are as the original had them: user and location null, the others objects of nulls."""
    event = orjson.loads(event_texts(table_of(filled([{"time_us": START_US}])))[0])
    assert tuple(event) == API_NAMES
    assert event["user"] is None
    assert event["location"] is None
    assert event["entity"] == {"type": None, "id": None, "name": None}
    assert event["request"]["method"] is None
    assert (event["metadata"], event["tags"], event["extra"], event["changes"]) == ({}, [], {}, None)
    assert event["timestamp"] == "2025-11-16T00:00:00Z"
    assert event["source"] == {"id": "0" * 32, "file": "app.jsonl", "offset": 0}
    named = orjson.loads(event_texts(table_of(filled([{"username": "ann", "latitude": 1.5}])))[0])
    assert named["user"] == {"id": None, "username": "ann"}
    assert named["location"]["latitude"] == 1.5


@pytest.mark.parametrize(
    ("user_id", "flags", "expected"),
    [("7", None, 7), ("7", ["user_id_text"], "7"), ("007", None, "007"), ("-0", None, "-0"), ("a7", None, "a7"),
     ("9007199254740993", None, 9007199254740993)],
)  # fmt: skip
def test_a_user_id_is_a_number_where_the_line_had_one(
    user_id: str, flags: list[str] | None, expected: object
) -> None:
    """`7` was a number unless the line had it in quotes; `007` never was."""
    event = orjson.loads(event_texts(table_of(filled([{"user_id": user_id, "flags": flags}])))[0])
    assert event["user"]["id"] == expected


def test_times_have_as_many_digits_as_they_need() -> None:
    """Whole seconds have none, milliseconds three, microseconds six."""
    assert [rfc3339(us) for us in (0, 1_500_000, 1_000_123, 1_123_000)] == [
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:01.5Z",
        "1970-01-01T00:00:01.000123Z",
        "1970-01-01T00:00:01.123Z",
    ]


async def body(queries: Queries, query: ExportQuery, form: Format) -> bytes:
    return b"".join([piece async for piece in queries.export(query, form)])


ROWS = filled(
    [
        {
            "time_us": START_US + n * 1000 * (n % 11),
            "level": ["info", "error"][n % 2],
            "description": f"=cmd|' /C calc'!A{n}" if n % 3 else 'say "hi", twice\nor not',
            "username": ["@ann", "-ben", "+cid", "\tdot", "\reve", "fay"][n % 6],
            "metadata": f'{{"n":{n}}}',
            "longitude": -3.5,
            "internal": n % 10 == 0,
        }
        for n in range(400)
    ]
)


@pytest.fixture
def queries(engine: Engine, tmp_path: Path) -> Queries:
    files = [write_events(tmp_path, ROWS[:150], "a"), write_events(tmp_path, ROWS[150:300], "b")]
    snap = snapshot(tmp_path, files, [ROWS[300:]])
    return Queries(engine, lambda: snap)


@pytest.mark.parametrize(("keys", "block"), [(60, 100_000), (100_000, 50), (90, 40)])
async def test_an_export_is_exactly_the_list(
    queries: Queries, monkeypatch: pytest.MonkeyPatch, keys: int, block: int
) -> None:
    """JSON and NDJSON hold what the pages show, in their order, however the work is cut into blocks."""
    monkeypatch.setattr(blocks, "KEY_ROWS", keys)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", block)
    wanted = Filter.of({"level": ["error"]})
    page = await queries.page(ListQuery(wanted, limit=500))
    assert len(page.rows) == len(oracle(ROWS, wanted))
    expected = [orjson.loads(row) for row in page.rows]
    assert orjson.loads(await body(queries, ExportQuery(wanted), "json")) == expected
    lines = (await body(queries, ExportQuery(wanted), "ndjson")).splitlines()
    assert [orjson.loads(line) for line in lines] == expected
    limited = await body(queries, ExportQuery(wanted, limit=13), "ndjson")
    assert limited.splitlines() == lines[:13]


async def test_an_empty_export_is_still_well_formed(queries: Queries) -> None:
    """No events: an empty array, nothing, a header."""
    nothing = ExportQuery(Filter.of({"category": ["none"]}))
    assert orjson.loads(await body(queries, nothing, "json")) == []
    assert await body(queries, nothing, "ndjson") == b""
    assert (await body(queries, nothing, "csv")).decode().strip().split(",") == list(API_NAMES)


async def test_no_cell_of_a_csv_is_a_formula_and_every_cell_survives(queries: Queries) -> None:
    """Texts that a spreadsheet would run get an apostrophe; quotes, commas and line ends come back as they were."""
    text = (await body(queries, ExportQuery(scope=Scope(internal="include")), "csv")).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(ROWS)
    by_id = {row["event_id"]: row for row in ROWS}
    for row in rows:
        source = by_id[row["eventId"]]
        for name, value in row.items():
            assert not value.startswith(FORMULA_STARTS), name
        assert row["description"].removeprefix("'") == source["description"]
        assert orjson.loads(row["user"])["username"] == source["username"]
        assert orjson.loads(row["location"])["longitude"] == -3.5
        assert row["metadata"] == source["metadata"]
        assert int(row["seq"]) == source["seq"]


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_each_formula_start_is_neutralised(cursor: duckdb.DuckDBPyConnection, start: str) -> None:
    """The table of dangerous first characters drives the SQL."""
    cursor.register(sql.HOT, table_of(filled([{"category": f"{start}x"}])))
    line = cursor.execute(f"SELECT {csv_row()} FROM {sql.HOT}").fetchall()[0][0]
    cells = next(csv.reader([line]))
    assert cells[API_NAMES.index("category")] == f"'{start}x"


async def test_a_failed_export_never_looks_whole(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be read ends the body before the array is closed, with an error."""
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 50)
    snap = snapshot(tmp_path, [write_events(tmp_path, ROWS[:150], "a")], [ROWS[300:]])
    queries = Queries(engine, lambda: snap)
    got = bytearray()

    async def read() -> None:
        async for piece in queries.export(ExportQuery(), "json"):
            got.extend(piece)
            (tmp_path / snap.events[0].path).unlink(missing_ok=True)

    with pytest.raises(QueryError, match="could not be read"):
        await read()
    assert got.startswith(b"[")
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(got)


def test_pieces_are_small(
    cursor: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No piece is larger than it should be, whatever the export holds: memory does not grow with it."""
    monkeypatch.setattr(export, "PIECE_BYTES", 4_000)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 128)
    snap = snapshot(tmp_path, [], [ROWS])
    made = list(pieces(cursor, snap, ExportQuery(scope=Scope(internal="include")), "ndjson"))
    assert b"".join(made).count(b"\n") == len(ROWS)
    assert max(len(piece) for piece in made) <= 4_000
