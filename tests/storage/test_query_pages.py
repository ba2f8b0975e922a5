"""Pages of events: what a filter finds, in which order, page by page, while the archive goes on growing."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from storage import sql
from storage.cursors import CursorError
from storage.engine import Engine, EngineOptions
from storage.filters import FIELDS, FilterError
from storage.queries import Queries
from storage.query import ExportQuery, Filter, ListQuery, RejectQuery, Scope
from storage.scope import view
from storage.snapshot import Snapshot
from tests.storage.samples import (
    DAY_US,
    HOUR_US,
    START_US,
    Row,
    filled,
    oracle,
    rejects_of,
    snapshot,
    write_events,
)

NASTY = ["it's", 'a "b"', "x'; DROP TABLE hot; --", "$p0", "%", "_", "ä", "", "null"]
WORDS: dict[str, list[Any]] = {
    "level": ["debug", "info", "error", "critical"],
    "category": [None, "security", "api", "x'; DROP TABLE hot; --"],
    "action": [None, "login", "update"],
    "outcome": [None, "success", "failure"],
    "user_id": [None, "1", "2", "007", "it's"],
    "username": [None, "Ann", "ben", 'a "b"'],
    "ip": [None, "10.0.0.1", "10.9.0.1", "192.168.1.7", "2001:db8::1", "::1"],
    "country_code": [None, "DE", "US"],
    "city": [None, "Köln"],
    "entity_type": [None, "project", "file"],
    "entity_id": [None, "1", "2"],
    "entity_name": [None, "Secret Plan", "$p0"],
    "correlation_id": ["c1", "c2", None],
    "session_id": [None, "s1"],
    "method": [None, "GET"],
    "path": [None, "/a", "/b"],
    "status_code": [None, 200, 404],
    "risk_score": [None, 0, 30, 31, 70, 71, 100],
    "description": [None, "Suspicious thing", "ÄRGER im Büro", "100% done"],
    "tags": [None, [], ["a"], ["a", "b"]],
    "tenant": [None, "t1", "t2"],
    "internal": [False, False, False, True],
    "server": [None, "app-1"],
    "environment": [None, "production"],
    "user_agent": [None, "curl/8"],
    "source_file": ["app.jsonl", "other.jsonl"],
}

rows_strategy = st.lists(
    st.fixed_dictionaries(
        {name: st.sampled_from(values) for name, values in WORDS.items()}
        | {"time_us": st.integers(0, 40).map(lambda n: START_US + n * HOUR_US // 2)}
    ),
    max_size=25,
)


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Draw a filter over values that occur, and some that do not."""
    values: dict[str, list[str]] = {}
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=3, unique=True)):
        column = {"country": "country_code", "tag": "tags", "risk": "risk", "source": "source_file"}.get(
            name, name
        )
        if name == "ip":
            choices = ["10.0.0.1", "10.0.0.0/8", "::/0", "2001:db8::/32", "0.0.0.0/0"]
        elif name == "risk":
            choices = ["low", "medium", "high"]
        elif name == "tag":
            choices = ["a", "b", "c"]
        elif name == "event_id":
            choices = ["e1", "e2", "none"]
        else:
            choices = [str(value) for value in WORDS[column] if value not in {None, ""}]
        texts = st.lists(st.sampled_from(choices), min_size=1, max_size=2, unique=True)
        values[name] = [draw(st.sampled_from(["", "!"])) + text for text in draw(texts)]
    start = draw(st.none() | st.integers(0, 40))
    end = draw(st.none() | st.integers(0, 40))
    return Filter.of(
        values,
        min_risk=draw(st.none() | st.sampled_from([0, 31, 70.5])),
        max_risk=draw(st.none() | st.sampled_from([30, 71])),
        start_us=None if start is None else START_US + start * HOUR_US // 2,
        end_us=None if end is None else START_US + end * HOUR_US // 2,
        search=draw(st.none() | st.sampled_from(["suspicious", "100%", "ärger", "ann", "plan", "'", "_"])),
    )


scopes = st.builds(
    Scope,
    tenant=st.sampled_from([None, None, "t1"]),
    internal=st.sampled_from(["exclude", "include", "only"]),
)


def layout(root: Path, rows: list[Row], cuts: list[int]) -> Snapshot:
    """Spread rows over files at the cuts; what is behind the last cut is hot."""
    edges = [0, *sorted({cut for cut in cuts if cut < len(rows)})]
    files = [
        write_events(root, rows[low:high], f"f{low}") for low, high in itertools.pairwise(edges) if high > low
    ]
    return snapshot(root, files, [rows[edges[-1] :]])


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(EngineOptions(threads=1, deadline_seconds=50, count_seconds=50))
    yield engine
    engine.close()


def ids(rows: list[str]) -> list[str]:
    return [orjson.loads(row)["eventId"] for row in rows]


async def walk(queries: Queries, query: ListQuery) -> list[str]:
    """Return the ids of all pages, by cursor."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await queries.page(
            ListQuery(query.filter, query.scope, query.limit, cursor, snapshot=query.snapshot)
        )
        assert len(page.rows) <= query.limit
        found += ids(page.rows)
        cursor = page.next
        if cursor is None:
            return found


@given(
    rows=rows_strategy,
    wanted=filters(),
    scope=scopes,
    cuts=st.lists(st.integers(1, 39), max_size=3),
    limit=st.integers(1, 9),
)
@hypothesis_settings(max_examples=40)
async def test_pages_hold_exactly_what_the_filter_says_newest_first(
    engine: Engine, rows: list[Row], wanted: Filter, scope: Scope, cuts: list[int], limit: int
) -> None:
    """Cursor pages together are the oracle's answer, and so are numbered ones; the total is exact."""
    stored = filled(rows)
    with tempfile.TemporaryDirectory() as folder:
        snap = layout(Path(folder), stored, cuts)
        queries = Queries(engine, lambda: snap)
        expected = [row["event_id"] for row in oracle(stored, wanted, scope)]
        assert await walk(queries, ListQuery(wanted, scope, limit)) == expected
        number = 1 + len(expected) // (2 * limit)
        page = await queries.page(ListQuery(wanted, scope, limit, page=number))
        assert ids(page.rows) == expected[(number - 1) * limit : number * limit]
        assert (page.total, page.total_is_estimate) == (len(expected), False)
        assert await queries.count(ExportQuery(wanted, scope)) == len(expected)


@given(
    rows=rows_strategy,
    more=rows_strategy,
    cuts=st.lists(st.integers(1, 39), max_size=2),
    limit=st.integers(1, 7),
)
@hypothesis_settings(max_examples=12)
async def test_pages_of_a_snapshot_never_shift(
    engine: Engine, rows: list[Row], more: list[Row], cuts: list[int], limit: int
) -> None:
    """Rows that arrive between two pages, late ones too, change neither rows nor total of a held snapshot."""
    stored = filled(rows)
    late = filled(more, first_seq=len(stored) + 1)
    with tempfile.TemporaryDirectory() as folder:
        now = layout(Path(folder), stored, cuts)
        queries = Queries(engine, lambda: now)
        first = await queries.page(ListQuery(limit=limit))
        now = layout(Path(folder) / "later", [*stored, *late], [*cuts, len(stored) + len(late) // 2])
        expected = [row["event_id"] for row in oracle(stored, Filter())]
        found = ids(first.rows)
        if first.next is not None:
            following = await queries.page(ListQuery(limit=500, cursor=first.next))
            found += ids(following.rows)
            assert following.snapshot == first.snapshot
        assert found == expected
        again = await queries.page(ListQuery(limit=limit, page=2, snapshot=first.snapshot))
        assert ids(again.rows) == expected[limit : 2 * limit]
        assert again.total == len(expected)


async def test_rows_of_the_same_moment_are_ordered_by_seq_and_none_is_lost(
    engine: Engine, tmp_path: Path
) -> None:
    """A thousand events of one microsecond page like any others."""
    stored = filled([{"time_us": START_US} for _ in range(1000)])
    snap = snapshot(tmp_path, [write_events(tmp_path, stored[:700], "a")], [stored[700:]])
    queries = Queries(engine, lambda: snap)
    assert await walk(queries, ListQuery(limit=333)) == [f"e{n}" for n in range(1000, 0, -1)]


async def test_files_of_an_earlier_format_still_answer(engine: Engine, tmp_path: Path) -> None:
    """A file without columns that came later gives rows with nulls there."""
    stored = filled([{"device": "phone", "travel_kmh": 3.0}, {"device": "tablet"}])
    old = write_events(tmp_path, stored[:1], "old", without=["device", "travel_kmh"])
    new = write_events(tmp_path, stored[1:], "new")
    snap = snapshot(tmp_path, [old, new])
    page = await Queries(engine, lambda: snap).page(ListQuery())
    assert [orjson.loads(row)["device"] for row in page.rows] == ["tablet", None]


async def test_deep_pages_by_number_are_right(engine: Engine, tmp_path: Path) -> None:
    """Page numbers far behind the first slice of time skip exactly what lies before them."""
    stored = filled([{"time_us": START_US + n * 1_000_000 * (1 + n % 7)} for n in range(9000)])
    files = [write_events(tmp_path, stored[n : n + 3000], f"f{n}") for n in (0, 3000, 6000)]
    snap = snapshot(tmp_path, files)
    queries = Queries(engine, lambda: snap)
    expected = [row["event_id"] for row in oracle(stored, Filter())]
    for number in (1, 91, 179, 180, 181):
        page = await queries.page(ListQuery(limit=50, page=number))
        assert ids(page.rows) == expected[(number - 1) * 50 : number * 50]
        assert page.total == 9000


async def test_a_cursor_is_refused_with_another_filter_or_when_damaged(
    engine: Engine, tmp_path: Path
) -> None:
    """A cursor cannot be carried to another list, nor be made up."""
    stored = filled([{} for _ in range(5)])
    snap = snapshot(tmp_path, [], [stored])
    queries = Queries(engine, lambda: snap)
    page = await queries.page(ListQuery(limit=2))
    assert page.next is not None
    other = Filter.of({"level": ["info"]})
    with pytest.raises(CursorError, match="another list"):
        await queries.page(ListQuery(other, limit=2, cursor=page.next))
    with pytest.raises(CursorError, match="another list"):
        await queries.page(ListQuery(scope=Scope(internal="include"), limit=2, cursor=page.next))
    for damaged in ("x", page.next[:-1], page.next[::-1], "ä" * 8, "A" * 44, ""):
        if damaged:
            with pytest.raises(CursorError):
                await queries.page(ListQuery(limit=2, cursor=damaged))


async def test_by_id_returns_the_first_and_counts_the_rest(engine: Engine, tmp_path: Path) -> None:
    """Applications retry: the line with the lowest seq is the event, even when a retry claims an earlier time."""
    stored = filled([{"event_id": "x", "time_us": START_US + 9}, {}, {"event_id": "x", "time_us": START_US}])
    snap = snapshot(tmp_path, [write_events(tmp_path, stored[:2], "a")], [stored[2:]])
    queries = Queries(engine, lambda: snap)
    found = await queries.event("x")
    assert found is not None
    assert (orjson.loads(found.json)["seq"], found.duplicates) == (1, 1)
    assert await queries.event("y") is None


async def test_an_internal_event_is_found_by_id_unless_the_scope_says_no(
    engine: Engine, tmp_path: Path
) -> None:
    """By-id sees the daemon's own events; a scope that excludes them does not."""
    stored = filled([{"internal": True}])
    snap = snapshot(tmp_path, [], [stored])
    queries = Queries(engine, lambda: snap)
    assert await queries.event("e1") is not None
    assert await queries.event("e1", Scope()) is None


async def test_an_empty_archive_answers(engine: Engine, tmp_path: Path) -> None:
    """Nothing yet is an answer, not an error."""
    snap = snapshot(tmp_path)
    queries = Queries(engine, lambda: snap)
    page = await queries.page(ListQuery())
    assert (page.rows, page.total, page.next) == ([], 0, None)
    assert await queries.totals() == {"events": 0, "rows": 0, "bytes": 0, "oldest": None, "newest": None}
    assert await queries.observed("category") == []
    assert (await queries.rejects(RejectQuery())).rows == []


@pytest.mark.parametrize("value", NASTY)
def test_values_are_bound_and_never_part_of_the_text(tmp_path: Path, value: str) -> None:
    """Whatever a client sends, the statement's text is the same."""
    scope = Scope(tenant=value)
    snap = snapshot(tmp_path, [], [filled([{}])])
    names = [name for name in FIELDS if name not in {"level", "ip", "status_code", "risk"}]

    def texts(text: str) -> list[str]:
        wanted = Filter.of({name: [text, f"!{text}"] for name in names}, search=text)
        seen = view(snap, wanted, scope)
        return [
            sql.positions(seen, wanted, scope, limit=1).text,
            sql.count(seen, wanted, scope).text,
            sql.keys_in_order(seen, wanted, scope, limit=1).text,
        ]

    if value:
        assert texts(value) == texts("harmless")
    else:
        with pytest.raises(FilterError, match="empty"):
            texts(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [("level", "loud"), ("level", "INFO"), ("ip", "10.0.0"), ("ip", "10.0.0.0/40"), ("status_code", "4xx"),
     ("status_code", "99999999999"), ("risk", "extreme"), ("nothing", "x"), ("category", "!")],
)  # fmt: skip
def test_a_value_that_does_not_fit_names_its_field(name: str, text: str) -> None:
    """The error says which parameter is wrong."""
    with pytest.raises(FilterError) as caught:
        Filter.of({name: [text]})
    assert caught.value.field == name


def test_the_version_changes_only_with_what_a_query_can_see(tmp_path: Path, engine: Engine) -> None:
    """The daemon's own events, and sealing, leave the validator of a team's list alone; a drop does not."""
    base = snapshot(tmp_path, seq=10, seq_external=7, seq_internal=9)
    queries = Queries(engine, lambda: base)
    plain, internal = ListQuery(), ListQuery(scope=Scope(internal="include"))
    audited = snapshot(tmp_path, seq=11, seq_external=7, seq_internal=11, commit=5, sealed_seq=7)
    grown = snapshot(tmp_path, seq=12, seq_external=12, seq_internal=9)
    dropped = snapshot(tmp_path, seq=10, seq_external=7, seq_internal=9, drops=1)
    assert queries.version(plain, audited) == queries.version(plain)
    assert queries.version(internal, audited) != queries.version(internal)
    assert queries.version(plain, grown) != queries.version(plain)
    assert queries.version(plain, dropped) != queries.version(plain)
    assert queries.version(plain) != queries.version(ListQuery(limit=51))


async def test_rejects_page_newest_first_and_show_bytes_as_text(engine: Engine, tmp_path: Path) -> None:
    """Undecodable bytes are shown with replacement characters; pages by cursor hold each reject once."""
    snap = snapshot(tmp_path, hot_rejects=(rejects_of(5),), seq=5)
    queries = Queries(engine, lambda: snap)
    first = await queries.rejects(RejectQuery(limit=3))
    assert [row["seq"] for row in first.rows] == [5, 4, 3]
    assert first.rows[0]["raw"] == "broken \ufffd 4"
    assert (first.total, first.rows[0]["reason"]) == (5, "not JSON")
    rest = await queries.rejects(RejectQuery(limit=3, cursor=first.next))
    assert [row["seq"] for row in rest.rows] == [2, 1]
    assert rest.next is None
    assert (await queries.rejects(RejectQuery(source="nobody"))).total == 0


async def test_totals_tell_events_from_rows(engine: Engine, tmp_path: Path) -> None:
    """Events are the applications'; rows and the time range are of everything."""
    stored = filled([{}, {"internal": True}, {"time_us": START_US + DAY_US}])
    snap = snapshot(tmp_path, [write_events(tmp_path, stored[:2], "a")], [stored[2:]])
    totals = await Queries(engine, lambda: snap).totals()
    assert (totals["events"], totals["rows"]) == (2, 3)
    assert (totals["oldest"], totals["newest"]) == ("2025-11-16T00:00:00Z", "2025-11-17T00:00:00Z")
