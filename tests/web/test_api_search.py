"""Searches over HTTP: one filter has four forms that say the same, errors point at a character, nothing is executed."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, quote

import duckdb
import pytest
from aiohttp.test_utils import TestClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from yarl import URL

from parsers.expression import Comparison
from parsers.fields import EQUALS, FIELDS, JSON, LIST, PERSON, PROSE, SOURCE, TEXT
from parsers.forms import form_of, from_form
from storage.filters import Bind
from storage.printing import literal, statement
from storage.query import Filter, Scope
from storage.sql import wanted_conditions
from tests.parsers.hostile import SHAPES, searches
from tests.storage.judge import NOW_US, filters, holds, made
from tests.storage.samples import filled, write_events
from tests.web.station import DAY_US, Station, event
from web.asking import filter_of
from web.faces import query_of
from web.params import Filters, repeatable

ROWS = filled(made(150, seed=2))
HOSTILE = [
    "'", "''", "' OR 1=1 --", "'; DROP TABLE events; --", "\\'", "$$x$$", "/* */", "\n", "\r\n--", "\x00", "a\x00'b", "\ufeff",
    "E'\\x41'", "%", "_", '"', "`", "{}", "\u2028", "😀", "x" * 9000, "?", "$1", ":p", "--", "\\", "\\\\", "é", "\u0301'",
]  # fmt: skip


def by_parameters(pairs: list[tuple[str, str]]) -> Filter:
    """Return the filter that a query string means, read as the server reads it."""
    given: dict[str, object] = {}
    for name, text in pairs:
        if repeatable(Filters, name):
            given.setdefault(name, []).append(text)  # type: ignore[attr-defined]
        else:
            assert name not in given
            given[name] = text
    return filter_of(Filters.model_validate(given), NOW_US)


@given(filters())
@hypothesis_settings(max_examples=200)
def test_form_query_string_and_search_are_one_filter(wanted: Filter) -> None:
    """Around the circle: form, filter, query string, filter, search, filter."""
    if wanted.start_us is not None and wanted.end_us is not None and wanted.start_us > wanted.end_us:
        return  # finds nothing, and the API says so
    form = json.loads(json.dumps(form_of(wanted.parts)))
    formed = Filter().narrowed(from_form(form, now_us=0))
    assert formed == wanted
    asked = by_parameters(query_of(formed))
    assert asked == wanted
    assert Filter.of(q=asked.q or " ") == wanted


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a plain DuckDB with the view `events` over a small archive, opened as the head of a statement says."""
    root = tmp_path_factory.mktemp("archive")
    for number, start in enumerate(range(0, len(ROWS), 50)):
        write_events(root, ROWS[start : start + 50], f"main-{number}-default", day=f"2025-11-1{number}")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        glob = f"read_parquet('{root}/events/*/*.parquet', union_by_name => true)"
        connection.execute(f"CREATE VIEW events AS FROM {glob}")
        yield connection


@given(filters())
@hypothesis_settings(max_examples=80)
def test_printed_sql_finds_the_same_rows_in_any_duckdb(
    outside: duckdb.DuckDBPyConnection, wanted: Filter
) -> None:
    """What is printed runs as it stands, and finds what the filter means, newest first."""
    ids = outside.sql(statement(wanted, Scope())).to_arrow_table()["event_id"].to_pylist()
    if wanted.subject is None and "subject:" not in wanted.q:  # the judge has no idea of persons
        newest = sorted(ROWS, key=lambda row: (row["time_us"], row["seq"]), reverse=True)
        assert ids == [row["event_id"] for row in newest if holds(row, wanted)]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_leaves_its_literal(text: str) -> None:
    """A statement with any text in it still gives that text back, and nothing else happens."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE events AS SELECT 1 AS x")
        assert connection.execute(f"SELECT {literal(text)}, length({literal(text)})").fetchall() == [
            (text, len(text))
        ]
        assert connection.execute("SELECT count(*) FROM events").fetchall() == [(1,)]


@given(st.text(st.characters(exclude_categories=["Cs"])))
@hypothesis_settings(max_examples=100)
def test_any_text_is_the_same_in_a_literal(outside: duckdb.DuckDBPyConnection, text: str) -> None:
    """For whatever Unicode holds."""
    assert outside.execute(f"SELECT {literal(text)}").fetchall() == [(text,)]


@given(st.sampled_from(HOSTILE), st.data())
@hypothesis_settings(max_examples=60)
def test_the_daemon_binds_every_value_of_a_search(text: str, data: st.DataObject) -> None:
    """The text of a statement depends on the shape of a search, never on what it looks for."""
    fields = [field for field in FIELDS if field.kind in {TEXT, PROSE, JSON, LIST, SOURCE, PERSON}]
    field = data.draw(st.sampled_from(fields))
    path = (text, "x") if field.kind is JSON else ()
    like, safe = (
        Comparison(field.name, EQUALS, (text,), path),
        Comparison(field.name, EQUALS, ("a",), path and ("b", "x")),
    )
    statements = [wanted_conditions(Filter(expression=item), Bind()) for item in (like, safe)]
    assert statements[0] == statements[1]


async def test_explain_returns_every_form_and_the_cost(station: Station, client: TestClient) -> None:
    """The forms of what was asked, the files and rows that a query would open, and what would count it."""
    station.write(
        "app-2026-06-01.log",
        [
            event(eventId=f"e-{n}", level="error" if n % 2 else "info", metadata={"browser": "ff"})
            for n in range(10)
        ],
    )
    station.archive.commit()
    question = {
        "level": "error",
        "q": "metadata.browser:ff (user:ann OR -risk:high) timestamp:>=2020-01-01",
        "internal": "true",
    }
    async with client.get("/api/v1/events/explain", params=question) as response:
        assert response.status == 200
        answer = await response.json()
    assert answer["q"] == (
        "level:error timestamp:>=2020-01-01T00:00:00Z metadata.browser:ff (user.name:ann OR -riskScore:high)"
    )
    assert dict(parse_qsl(answer["url"])) == {
        "level": "error",
        "start_date": "2020-01-01T00:00:00Z",
        "q": "metadata.browser:ff (user.name:ann OR -riskScore:high)",
        "internal": "true",
    }
    assert answer["form"][0] == {
        "field": "level",
        "operator": "equals",
        "values": ["error"],
        "exclude": False,
    }
    assert "FROM events" in answer["sql"]
    assert str(station.archive.options.path) not in json.dumps(answer)
    assert answer["scan"]["rows"] == answer["archive"]["rows"] >= 10
    assert answer["plan"]["answeredBy"] == "scan"
    for again in (
        answer["url"],
        f"q={quote(answer['q'])}&internal=true",
        f"form={quote(json.dumps(answer['form']))}&internal=true",
    ):
        async with client.get(f"/api/v1/events/explain?{again}") as response:
            same = await response.json()
        assert {key: same[key] for key in ("form", "q", "url", "sql")} == {
            key: answer[key] for key in ("form", "q", "url", "sql")
        }
    async with client.get(f"/api/v1/events?{answer['url']}") as response:
        assert (await response.json())["total"] == 5


async def test_every_character_that_an_event_may_have_can_be_searched_for(
    station: Station, client: TestClient
) -> None:
    """U+0000 among them: what a parameter finds, its search finds as well."""
    odd = "nul\0l"
    found = event(eventId="e-0", user={"username": odd}, description=odd, metadata={"key\0": odd})
    station.write("app-2026-06-01.log", [found, event(eventId="e-1", user={"username": "nul"})])
    station.archive.commit()
    async with client.get("/api/v1/events/explain", params={"username": odd}) as response:
        question = (await response.json())["q"]
    for q in (question, f'"{odd}"', f'metadata."key\0":"{odd}"', r'description:~"l\x00l"', "user:*\0*"):
        async with client.get("/api/v1/events", params={"q": q}) as response:
            body = await response.json()
            assert response.status == 200, (q, body)
            assert [row["eventId"] for row in body["data"]] == ["e-0"], q


@pytest.mark.parametrize(
    ("q", "position", "said", "hint"),
    [
        ("level:loud", 6, "not a level", "use one of debug"),
        ("status:>=500 usr.name:x", 13, "no field usr.name", "did you mean user.name"),
        ('a "open', 2, "never closed", 'add "'),
        ("(a OR b", 0, "never closed", "add )"),
        ("a OR", 2, "expected a term after OR", "quote it"),
        ("browser:chrome", 0, "no field browser", "metadata.browser"),
        ("level:(error critical)", 13, "expected OR or )", "alternatives"),
        ("path:>5", 6, "cannot be asked", "it takes"),
        ('description:~"(?=a)"', 13, "cannot be used", "RE2"),
    ],
)
async def test_an_error_says_where_what_and_what_to_write(
    client: TestClient, q: str, position: int, said: str, hint: str
) -> None:
    """The same 422 wherever a search is taken."""
    for path in ("", "/statistics", "/stats", "/export", "/explain", "/me", "/../activity-logs"):
        async with client.get(f"/api/v1/events{path}", params={"q": q}) as response:
            assert response.status == 422
            (fault,) = (await response.json())["errors"]
        assert fault["loc"] == ["query", "q"]
        assert fault["position"] == position
        assert said in fault["msg"]
        assert hint in fault["hint"]


async def test_a_search_narrows_every_answer(station: Station, client: TestClient) -> None:
    """Lists, figures, exports and the later original's names take it beside their own parameters."""
    station.write(
        "app-2026-06-01.log",
        [
            event(
                eventId=f"e-{n}",
                level="error" if n % 2 else "info",
                user={"id": n % 3, "username": f"u{n % 3}"},
            )
            for n in range(12)
        ],
    )
    station.archive.commit()
    base = "/api/v1"
    async with client.get(f"{base}/events", params={"level": "error", "q": "user:u1 OR user:u2"}) as response:
        assert (await response.json())["total"] == 4
    async with client.get(
        f"{base}/events/statistics", params={"q": "level:error timestamp:>=2020-01-01 timestamp:<2030-01-01"}
    ) as response:
        body = await response.json()
        assert (body["totals"]["events"], body["timeRange"]["start"]) == (6, "2020-01-01T00:00:00Z")
    async with client.get(f"{base}/events/export", params={"format": "ndjson", "q": "-user:u0"}) as response:
        assert len((await response.text()).splitlines()) == int(response.headers["X-Total-Count"]) == 8
    async with client.get(f"{base}/activity-logs/user/1", params={"user_id": "2"}) as response:
        assert (await response.json())["total"] == 0  # both cannot hold
    async with client.get(f"{base}/activity-logs/user/1", params={"q": "level:error"}) as response:
        assert (await response.json())["total"] == 2


async def test_pages_of_a_search_with_relative_times_go_on_where_they_stopped(
    station: Station, client: TestClient
) -> None:
    """The cursor holds the moment of the first page, so that the window does not move under the reader."""
    station.write("app-2026-06-01.log", [event(eventId=f"e-{n}") for n in range(9)])
    station.archive.commit()
    question: dict[str, str] = {"q": "level:debug OR timestamp:>-3650d", "limit": "4"}
    found: list[str] = []
    while True:
        async with client.get("/api/v1/events", params=question) as response:
            body = await response.json()
            assert response.status == 200, body
        found += [row["eventId"] for row in body["data"]]
        if body["next"] is None:
            break
        question["cursor"] = body["next"]
    assert sorted(found) == [f"e-{n}" for n in range(9)]


async def _suggested(client: TestClient, q: str) -> list[str]:
    async with client.get("/api/v1/events/suggest", params={"q": q}) as response:
        assert response.status == 200
        body = await response.json()
    assert not body["timed_out"]
    return [q[: item["start"]] + item["insert"] for item in body["data"] if item["kind"] in {"value", "key"}]


async def test_completion_offers_what_was_seen(station: Station, client: TestClient) -> None:
    """Values of words and users from roll-ups, of anything else from the newest rows, and keys of the applications' own."""
    for part in range(2):  # committed, and not yet
        station.write(
            "app-2026-06-01.log",
            [
                event(
                    eventId=f"e-{part}-{n}",
                    category="billing" if n else "api",
                    user={"id": n, "username": f"ann{n % 2}"},
                    tags=["vip guest"],
                    system={"server": "web-1"},
                    metadata={"browser": "Firefox", "odd key": {"deep": n}},
                )
                for n in range(3)
            ],
        )
        if not part:
            station.archive.commit()
    assert await _suggested(client, "category:b") == ["category:billing"]
    assert await _suggested(client, "user:a") == ["user:ann0", "user:ann1"]
    assert await _suggested(client, "server:") == ["server:web-1"]
    assert await _suggested(client, "tags:v") == ['tags:"vip guest"']
    assert await _suggested(client, "metadata.br") == ["metadata.browser:"]
    assert await _suggested(client, "metadata.o") == ['metadata."odd key":']
    assert await _suggested(client, 'metadata."odd key".') == ['metadata."odd key".deep:']
    assert await _suggested(client, "metadata.browser:fire") == ["metadata.browser:Firefox"]
    assert await _suggested(client, "level:(error OR cr") == ["level:(error OR critical"]
    assert await _suggested(client, 'nobody:"') == []


async def test_completion_goes_without_values_when_they_take_too_long(
    station: Station, client: TestClient
) -> None:
    """Its deadline is short, and passing it is no error."""
    station.write("app-2026-06-01.log", [event(eventId="e")])
    station.engine.options = replace(station.engine.options, suggest_seconds=1e-9)
    async with client.get("/api/v1/events/suggest", params={"q": "user:"}) as response:
        body = await response.json()
    assert body["timed_out"] is True
    assert {item["kind"] for item in body["data"]} == {"operator"}


HOSTILE_ROUTES = (
    "/events",
    "/events/statistics",
    "/events/explain",
    "/events/suggest",
    "/events/export",
    "/activity-logs",
)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_hostile_requests_are_answered_and_change_nothing(
    station: Station, client: TestClient, count: int
) -> None:
    """Broken searches, parameters and forms over real HTTP: an answer or a 4xx, never a 5xx, and the archive stays."""
    station.write("app-2026-06-01.log", [event(eventId=f"e-{n}", metadata={"a": n}) for n in range(20)])
    station.archive.commit()
    before = station.archive.snapshot
    chance = random.Random(count)
    names = [*Filters.model_fields, "form", "at", "limit", "cursor", "page", "snapshot", "tz", "nonsense"]
    statuses: Counter[int] = Counter()
    for number, text in enumerate(searches(count)):
        path = HOSTILE_ROUTES[number % len(HOSTILE_ROUTES)]
        name = "q" if number % 3 else chance.choice(names)
        value = text.encode("utf-8", "surrogatepass")  # as a client that breaks the rules would send it
        address = URL(f"/api/v1{path}?{quote(name)}={quote(value)}", encoded=True)
        async with client.get(address) as response:
            body = await response.read()
        assert response.status in {200, 400, 414, 422, 431}, (path, name, text, body)
        statuses[response.status] += 1
    assert statuses[200] > count / 20
    assert statuses[422] > count / 20
    after = station.archive.snapshot  # but for who asked: that is written down
    assert (after.events, after.rejects, after.seq_external, after.drops) == (
        before.events,
        before.rejects,
        before.seq_external,
        before.drops,
    )


async def test_explain_tells_which_files_cannot_hold_a_match(station: Station, client: TestClient) -> None:
    """By time, and by what is known of their contents; roll-ups are said to count what they can."""
    for day in (1, 2, 3):
        station.now_us += DAY_US
        lines = [
            event(eventId=f"e-{day}-{n}", timestamp=f"2026-06-0{day}T10:00:00Z", path=f"/{day}")
            for n in range(20)
        ]
        station.write(f"app-2026-06-0{day}.log", lines)
        station.archive.commit()
        station.archive.seal()

    async def scan(q: str) -> dict[str, Any]:
        async with client.get("/api/v1/events/explain", params={"q": q}) as response:
            assert response.status == 200
            body: dict[str, Any] = await response.json()
        assert body["archive"]["rows"] >= 60
        return {**body["scan"], "plan": body["plan"]["answeredBy"]}

    everything = await scan("level:info")
    assert (everything["files"], everything["rows"], everything["days"], everything["plan"]) == (
        3,
        60,
        3,
        "roll-up",
    )
    one_day = await scan("timestamp:2026-06-02 -user:ann")
    assert (one_day["files_in_range"], one_day["days"], one_day["plan"]) == (1, 1, "scan")
    absent = await scan("id:e-9-9")
    assert (absent["files_in_range"], absent["files"], absent["rows"]) == (3, 0, 0)


async def test_times_at_the_edges_are_answered_everywhere(client: TestClient) -> None:
    """The first and the last moment that can be written, ranges without a moment, and whatever lies beyond."""
    asked = [text for text in SHAPES if text.startswith(("time", "ingestedAt"))]
    assert len(asked) > 6
    for q in asked:
        for path in HOSTILE_ROUTES:
            async with client.get(f"/api/v1{path}", params={"q": q[:200]}) as response:
                assert response.status in {200, 422}, (path, q, await response.text())
