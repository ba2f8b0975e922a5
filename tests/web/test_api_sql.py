"""SQL over HTTP: what it answers, in which forms, what it refuses, what it leaves behind."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from storage.adhoc import Limits
from storage.keyring import Keyring
from storage.spares import SpareOptions
from tests.web.station import Station, event, served

LOOP = pytest.mark.asyncio(loop_scope="module")
OPTIONS = SpareOptions(deadline_seconds=20, max_rows=500, max_bytes=200_000, limits=Limits(128, 1))
EVENTS = 20
ENDLESS = "SELECT sum(a.range * b.range) FROM range(100000000) a, range(10000000) b"


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with committed events, one rejected line, and one event that is not committed."""
    station = Station(tmp_path_factory.mktemp("sql"))
    lines: list[Any] = [event(eventId=f"e{n}", level=["info", "error"][n % 2]) for n in range(EVENTS)]
    station.write("app-2026-06-01.log", [*lines, b"not JSON"])
    station.archive.commit()
    station.write("app-2026-06-01.log", [event(eventId="hot")])
    yield station
    station.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(answering: Station) -> AsyncIterator[TestClient]:
    """A client of it."""
    async with served(answering, sql=OPTIONS) as client:
        yield client


async def ask(client: TestClient, sql: str, *, query: str = "", **given: Any) -> tuple[int, Any, Any]:
    """Return status, body (parsed if it is JSON) and headers."""
    headers = given.pop("headers", {})
    async with client.post(f"/api/v1/sql{query}", json={"sql": sql, **given}, headers=headers) as response:
        data = await response.read()
        parsed = json.loads(data) if "json" in response.content_type.partition("x-nd")[0] else data
        return response.status, parsed, response.headers


async def problem(client: TestClient, sql: str, **given: Any) -> tuple[int, str, str]:
    """Return status, the end of the type, and the detail."""
    status, body, _ = await ask(client, sql, **given)
    return status, body["type"].rpartition(":")[2], body["detail"]


@LOOP
async def test_rows_come_with_their_columns_and_the_seq_up_to_which_they_are(
    http: TestClient, answering: Station
) -> None:
    """What is committed is there, what is not is not; what is known of the answer is known before its first byte."""
    sql = "SELECT level, count(*) AS n FROM events GROUP BY ALL ORDER BY ALL"
    status, body, headers = await ask(http, sql)
    assert status == 200
    assert body["columns"] == [{"name": "level", "type": "VARCHAR"}, {"name": "n", "type": "BIGINT"}]
    assert body["rows"] == [["error", EVENTS // 2], ["info", EVENTS // 2]]
    assert (body["row_count"], body["truncated"]) == (2, False)
    assert (headers["X-Row-Count"], headers["X-Truncated"]) == ("2", "false")
    assert body["seq"] == answering.archive.state.max_seq
    assert (await ask(http, "SELECT count(*) FROM rejects"))[1]["rows"] == [[1]]
    sums = "SELECT sum(events) FROM rollups WHERE family = 'totals' AND NOT internal"
    assert (await ask(http, sums))[1]["rows"] == [[EVENTS]]


@LOOP
async def test_values_are_bound_and_never_become_sql(http: TestClient) -> None:
    """A value may be text, a number, true, null or a list of those."""
    sql = "SELECT count(*) FROM events WHERE event_id IN (SELECT unnest($ids)) AND level = $level"
    status, body, _ = await ask(http, sql, params={"ids": ["e1", "e3", "e4"], "level": "error"})
    assert (status, body["rows"]) == (200, [[2]])
    hostile = "x' OR 1=1 --"
    status, body, _ = await ask(
        http, "SELECT $a, $b, $c, $d", params={"a": hostile, "b": 1.5, "c": None, "d": True}
    )
    assert (status, body["rows"]) == (200, [[hostile, 1.5, None, True]])
    assert (await problem(http, "SELECT $a"))[1] == "sql-failed"


@LOOP
async def test_the_form_is_named_or_accepted(http: TestClient) -> None:
    """CSV, one object a line, Arrow and Parquet hold the same rows; the parameter counts before the body and Accept."""
    sql = "SELECT event_id, seq FROM events ORDER BY seq LIMIT 3"
    rows = (await ask(http, sql))[1]["rows"]
    _, text, headers = await ask(http, sql, query="?format=csv", format="arrow")
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(text.decode()))) == [
        ["event_id", "seq"],
        *([i, str(s)] for i, s in rows),
    ]
    _, lines, _ = await ask(http, sql, format="ndjson")
    assert [list(json.loads(line).values()) for line in lines.splitlines()] == rows
    liked = {"Accept": "text/html, application/vnd.apache.arrow.stream;q=0.9"}
    _, stream, _ = await ask(http, sql, headers=liked)
    assert [list(row.values()) for row in pa.ipc.open_stream(stream).read_all().to_pylist()] == rows
    for accept, media in (
        ("text/csv;q=0.1, application/json", "application/json"),
        ("application/json;q=0, text/csv; q=0.2", "text/csv"),
        ("text/csv;q=abc, */*", "text/csv"),
    ):
        _, _, headers = await ask(http, sql, headers={"Accept": accept})
        assert headers["Content-Type"].partition(";")[0] == media, accept
    _, file, headers = await ask(http, sql, format="parquet")
    assert [list(row.values()) for row in pq.read_table(io.BytesIO(file)).to_pylist()] == rows
    assert headers["X-Row-Count"] == "3"


@LOOP
async def test_values_that_json_has_no_form_for_are_written_exactly(http: TestClient) -> None:
    """No reader rounds a number, and no time falls out of the calendar."""
    sql = (
        "SELECT 9007199254740991, 9007199254740992, 1.50::DECIMAL(10,2), 'nan'::DOUBLE, 'ab'::BLOB, sum(2), "
        "'2026-01-02 03:04:05Z'::TIMESTAMPTZ, DATE '294000-01-01', 'infinity'::TIMESTAMP, INTERVAL '1 month 1.5 second', "
        "{'a': [1, NULL]}, MAP {'k': 1}, [9007199254740993]"
    )
    _, body, _ = await ask(http, sql)
    assert body["rows"] == [
        [
            9007199254740991,
            "9007199254740992",
            "1.50",
            None,
            "6162",
            2,
            "2026-01-02T03:04:05.000000Z",
            "294000-01-01",
            "infinity",
            "P1M0DT1.5S",
            {"a": [1, None]},
            [["k", 1]],
            ["9007199254740993"],
        ]
    ]


@LOOP
async def test_answers_are_cut_at_their_caps_and_say_so(http: TestClient) -> None:
    """Rows and bytes both; exactly as many rows as the cap are no cut."""
    whole = await ask(http, f"SELECT range FROM range({OPTIONS.max_rows})")
    assert (whole[1]["row_count"], whole[1]["truncated"]) == (OPTIONS.max_rows, False)
    cut = await ask(http, f"SELECT range FROM range({OPTIONS.max_rows + 1})", query="?format=csv")
    assert (cut[2]["X-Row-Count"], cut[2]["X-Truncated"]) == (str(OPTIONS.max_rows), "true")
    wide = await ask(http, "SELECT repeat('x', 10000) FROM range(100)")
    assert wide[1]["truncated"]
    assert 0 < wide[1]["row_count"] <= OPTIONS.max_bytes // 10_000


@LOOP
@pytest.mark.parametrize(
    ("sql", "status", "code", "said"),
    [
        ("SELEC 1", 422, "sql-syntax", 'syntax error at or near "SELEC"'),
        ("SELECT * FROM evnts", 422, "sql-failed", "evnts"),
        ("SELECT * FROM read_parquet('events/none.parquet')", 422, "sql-failed", "events/none.parquet"),
        ("SELECT 1; SELECT 2", 422, "sql-failed", "one statement at a time"),
        (" ; -- nothing", 422, "sql-failed", "there is no statement"),
        ("DROP VIEW events", 403, "sql-refused", "DROP does more than read"),
        ("COPY events TO 'x.csv'", 403, "sql-refused", "COPY does more than read"),
        (
            "WITH t AS (COPY (SELECT 1) TO 'events/x' (use_tmp_file false)) SELECT 1",
            403,
            "sql-refused",
            "events/x",
        ),
        ("SELECT * FROM read_text('/etc/passwd')", 403, "sql-refused", "/etc/passwd"),
        ("SELECT length(repeat('x', 4000000000))", 503, "sql-memory", "more memory"),
        ("SELECT '" + "x" * 70_000 + "'", 413, "body-too-large", "too long"),
    ],
)
async def test_each_mistake_is_a_problem_of_its_own(
    http: TestClient, answering: Station, sql: str, status: int, code: str, said: str
) -> None:
    """With DuckDB's words, and without a path of the machine that the caller did not give."""
    found = await problem(http, sql)
    assert found[:2] == (status, code)
    assert said in found[2]
    assert answering.archive.options.path not in found[2]


@pytest.mark.parametrize(
    ("body", "msg"),
    [
        ("{", "Invalid JSON"),
        ("[]", "an object"),
        ("{}", "it is missing"),
        ('{"sql": ""}', "it is empty"),
        ('{"sql": 5}', "it is not a text"),
        ('{"sql": "SELECT 1", "colour": "red"}', "it is unknown here"),
        ('{"sql": "SELECT 1", "format": "xml"}', "'xml' is not one of json, ndjson, csv, arrow or parquet"),
    ],
)
@LOOP
async def test_a_person_reads_what_is_wrong_with_a_body(http: TestClient, body: str, msg: str) -> None:
    """In the words in which parameters are refused."""
    async with http.post("/sql", data=body, headers={"Content-Type": "application/json"}) as response:
        answer = await response.json()
        assert response.status == 422, answer
        assert msg in answer["errors"][0]["msg"]


@LOOP
async def test_a_body_that_is_no_statement_is_told_what_is_wrong(http: TestClient) -> None:
    """Type, shape and size."""
    async with http.post("/sql", data="SELECT 1", headers={"Content-Type": "text/plain"}) as response:
        assert (response.status, (await response.json(content_type=None))["type"]) == (
            415,
            "urn:watchkeep:problem:media-type",
        )
    async with http.post("/sql", json={"sql": 1, "more": 2}) as response:
        body = await response.json(content_type=None)
        assert (response.status, sorted(fault["loc"][1] for fault in body["errors"])) == (
            422,
            ["more", "sql"],
        )
    async with http.post("/sql", data=b"{", headers={"Content-Type": "application/json"}) as response:
        assert response.status == 422
    async with http.post("/sql", json={"sql": "x" * 300_000}) as response:
        assert response.status == 413
    async with http.get("/sql") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


@LOOP
async def test_another_site_and_a_proxy_may_not_run_statements(http: TestClient) -> None:
    """The page of another site is refused before anything runs, and what a proxy forwards has no right to it."""
    refused = [
        ({"Sec-Fetch-Site": "cross-site"}, "cross-site-refused"),
        ({"Host": "evil.example"}, "host-refused"),
        ({"X-Forwarded-For": "10.0.0.1"}, "forbidden"),
    ]
    for headers, code in refused:
        assert (await problem(http, "SELECT 1", headers=headers))[1] == code


@LOOP
async def test_every_statement_leaves_a_trace(http: TestClient, answering: Station) -> None:
    """What was asked, without its secrets, how much came of it, and how it ended."""
    before = len(answering.audited)
    await ask(http, "SELECT 1 AS x WHERE 'token=hunter2hunter2' <> ''")
    await ask(http, "SELEC 1")
    answered, failed = (e for e in answering.audited[before:] if "SQL" in e["description"])
    assert answered["user"]["id"] == "local"
    assert "hunter2" not in answered["metadata"]["statement"]
    assert answered["metadata"]["statement"].startswith("SELECT 1 AS x")
    assert {k: answered["metadata"][k] for k in ("outcome", "rows", "format")} == {
        "outcome": "answered",
        "rows": 1,
        "format": "json",
    }
    assert (failed["outcome"], failed["metadata"]["outcome"]) == ("failure", "sql-syntax")


def pids(station: Station) -> list[int]:
    """Return the processes that answer SQL for a station."""
    assert station.spares is not None
    return station.spares.pids


def alive(pid: int) -> bool:
    """Return whether a process is there and not only its remains."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pids: list[int]) -> bool:
    """Wait for processes to be gone."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not any(alive(pid) for pid in pids):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_statement_past_its_deadline_is_killed_and_the_next_is_answered(station: Station) -> None:
    """The answer says so; the process is gone, another takes its place, and never are there more than allowed."""
    options = SpareOptions(children=1, deadline_seconds=1, limits=Limits(128, 1))
    async with served(station, sql=options) as client:
        assert (await ask(client, "SELECT 1"))[0] == 200
        used = pids(station)
        assert len(used) <= 1
        assert (await problem(client, ENDLESS))[:2] == (503, "deadline")
        assert await gone(used)
        assert (await ask(client, "SELECT 1"))[1]["rows"] == [[1]]
        left = pids(station)
        assert len(left) <= 1
    assert await gone(left)


async def test_a_client_that_leaves_takes_its_statement_along(station: Station) -> None:
    """Its process is killed at once, not at the deadline; the trail says that nobody waited."""
    options = SpareOptions(children=1, deadline_seconds=50, limits=Limits(128, 1))
    async with served(station, sql=options) as client:
        assert (await ask(client, "SELECT 1"))[0] == 200
        asking = asyncio.create_task(ask(client, ENDLESS))
        busy = await working(station)
        asking.cancel()
        assert await gone(busy)
        assert (await ask(client, "SELECT 1"))[1]["rows"] == [[1]]
    assert [e["metadata"]["outcome"] for e in station.audited if "SQL" in e["description"]] == [
        "answered",
        "left",
        "answered",
    ]


async def working(station: Station) -> list[int]:
    """Wait until one of a station's processes computes longer than starting takes, and return those that do."""
    for _ in range(500):
        busy = [pid for pid in pids(station) if _cpu(pid) > 150]
        if busy:
            return busy
        await asyncio.sleep(0.05)
    raise AssertionError("nothing ran")


def _cpu(pid: int) -> int:
    """Return the ticks (hundredths of a second) that a process computed."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0
    return int(fields[11]) + int(fields[12])


async def test_too_many_statements_are_told_to_come_back(station: Station) -> None:
    """So many run, so many wait for their turn, the next is told when; those that wait are answered."""
    options = SpareOptions(children=1, waiting=2, deadline_seconds=30, limits=Limits(128, 1))
    async with served(station, sql=options) as client:
        answers = await asyncio.gather(*(ask(client, "SELECT 1") for _ in range(6)))
    statuses = sorted(status for status, _, _ in answers)
    assert statuses[0] == 200
    assert statuses[-1] == 429
    assert statuses.count(200) >= 2
    busy = next(headers for status, _, headers in answers if status == 429)
    assert int(busy["Retry-After"]) >= 1


async def test_it_is_off_unless_somebody_turns_it_on(client: TestClient) -> None:
    """Said with the setting that turns it on."""
    status, body, _ = await ask(client, "SELECT 1")
    assert (status, body["type"]) == (501, "urn:watchkeep:problem:sql-off")
    assert "[sql]" in body["errors"][0]["hint"]


async def test_folders_that_are_new_are_seen(station: Station) -> None:
    """A process that was ready before the first sealed file was there is replaced by one that may read it."""
    async with served(station, sql=SpareOptions(children=1, limits=Limits(128, 1))) as client:
        assert (await ask(client, "SELECT count(*) FROM events"))[1]["rows"][0][0] >= 0
        station.write("app-2026-06-01.log", [event()])
        await asyncio.to_thread(station.archive.commit)
        await asyncio.to_thread(station.archive.seal)
        status, body, _ = await ask(client, "SELECT count(*) FROM events WHERE NOT internal")
        assert (status, body["rows"]) == (200, [[1]])


async def test_a_key_needs_the_role_and_the_scope(station: Station) -> None:
    """An auditor with the scope may ask; one without it, or a viewer, may not."""
    keyring = Keyring()
    keys = {
        "auditor with scope": keyring.create("a", "auditor", now_us=station.now_us, scopes=["sql"])[1],
        "auditor": keyring.create("b", "auditor", now_us=station.now_us)[1],
        "admin": keyring.create("c", "admin", now_us=station.now_us)[1],
        "viewer": keyring.create("d", "viewer", now_us=station.now_us)[1],
    }
    options = SpareOptions(children=1, limits=Limits(128, 1))
    found = {}
    async with served(station, sql=options, keyring=keyring) as client:
        for name, token in keys.items():
            headers = {"Authorization": f"Bearer {token}"}
            found[name] = (await ask(client, "SELECT 1", headers=headers))[0]
        nobody = (await ask(client, "SELECT 1"))[0]
    assert found == {
        "auditor with scope": 200,
        "auditor": 403,
        "admin": 403,
        "viewer": 403,
    }
    assert nobody == 401
