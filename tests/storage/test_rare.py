"""What filters by id find: the same as by the general way, however often they are asked and whatever happens to files."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from storage import pages, sql
from storage.duck import connect
from storage.engine import Engine, EngineOptions
from storage.errors import MaskedError
from storage.queries import Queries
from storage.query import Filter, ListQuery, Scope
from storage.rare import Rare
from storage.rows import RowCache
from storage.scope import view
from storage.sieve import Sieve
from storage.snapshot import Snapshot
from tests.storage.samples import Row, filled, snapshot, write_events
from tests.storage.test_query_pages import filters, rows_strategy, scopes

SHARED = ["c1", "c2", "nobody's"]

ids = st.one_of(
    st.fixed_dictionaries({"correlation_id": st.lists(st.sampled_from(SHARED), min_size=1, max_size=2)}),
    st.fixed_dictionaries(
        {"event_id": st.lists(st.sampled_from(["e1", "e2", "e9"]), min_size=1, max_size=2)}
    ),
    st.just({"correlation_id": ["c1"], "session_id": ["s1"]}),
)


@st.composite
def rare_filters(draw: st.DrawFn) -> Filter:
    """Draw a filter that names an id and says more, in parameters or in a search."""
    more = draw(st.just(Filter()) | filters())
    kept = tuple(
        item for item in more.terms if item.field not in {"correlation_id", "event_id", "session_id"}
    )
    named = Filter.of(draw(ids))
    wanted = replace(more, terms=(*named.terms, *kept))
    if draw(st.booleans()):
        wanted = wanted.narrowed(
            Filter.of(q=draw(st.sampled_from(["level:error", "user:* NOT path:/a"]))).expression
        )
    return wanted


@st.composite
def histories(draw: st.DrawFn) -> list[list[int]]:
    """Draw how rows are spread over files, several times: each a list of cuts, what is behind the last is hot."""
    return draw(st.lists(st.lists(st.integers(1, 30), max_size=3), min_size=1, max_size=3))


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(threads=1, memory_limit_mb=256) as connection:
        sql.empty_hot(connection)
        yield connection


def arranged(root: Path, rows: list[Row], cuts: list[int], *, dropped: bool) -> Snapshot:
    """Return a snapshot of rows in files at the cuts, each file of a name that tells its rows; the rest is hot."""
    edges = [0, *sorted({cut for cut in cuts if cut < len(rows)})]
    files = []
    for low, high in itertools.pairwise(edges):
        files.append(write_events(root, rows[low:high], f"f{low}-{high}"))
    return snapshot(root, files[1:] if dropped else files, [rows[edges[-1] :]])


@given(
    rows=rows_strategy,
    wanted=st.lists(rare_filters(), min_size=1, max_size=3),
    scope=scopes,
    history=histories(),
    dropped=st.booleans(),
    most=st.sampled_from([1, 3, 50]),
    seq=st.none() | st.integers(0, 25),
)
@hypothesis_settings(max_examples=40)
def test_what_is_found_is_what_the_general_way_finds(
    connection: duckdb.DuckDBPyConnection,
    rows: list[Row],
    wanted: list[Filter],
    scope: Scope,
    history: list[list[int]],
    dropped: bool,
    most: int,
    seq: int | None,
) -> None:
    """Positions and texts agree, asked twice, after rows moved from memory to files, into others, and away."""
    stored = filled(rows)
    with tempfile.TemporaryDirectory() as folder:
        cache = RowCache()
        rare = Rare(Sieve(), cache, most)
        for number, cuts in enumerate(history):
            snap = arranged(Path(folder), stored, cuts, dropped=dropped and number > 0)
            for asked in [*wanted, *wanted]:
                with connection.cursor() as cursor:
                    few = rare.find(cursor, snap, asked, scope, seq=seq)
                    sql.show(cursor, snap.hot)
                    if few is None:
                        every = pages.find(cursor, view(snap, asked, scope), asked, scope, limit=1000)
                        assert len(every) > most
                        continue
                    general = pages.find(cursor, view(snap, asked, scope, seq), asked, scope, limit=1000)
                    assert few == general
                    assert pages.fetch(cursor, few, snap.hot, cache) == pages.fetch(cursor, general, snap.hot)


async def test_an_id_asked_again_is_not_looked_for_again(tmp_path: Path) -> None:
    """Files are read the first time; the second time only those that came since, and what came in none."""
    first = filled([{"correlation_id": "c1"}, {"correlation_id": "c2"}])
    second = filled([{"correlation_id": "c1"}], first_seq=3)
    third = filled([{"correlation_id": "c1"}], first_seq=4)
    one = write_events(tmp_path, first, "one")
    now = snapshot(tmp_path, [one])
    engine = Engine(EngineOptions(threads=1))
    queries = Queries(engine, lambda: now)
    asked = ListQuery(Filter.of({"correlation_id": ["c1"]}))
    try:
        assert await files_read(engine, queries, asked) == (["e1"], 1)
        assert await files_read(engine, queries, asked) == (["e1"], 0)
        now = snapshot(tmp_path, [one, write_events(tmp_path, second, "two")], [third])
        assert await files_read(engine, queries, asked) == (["e4", "e3", "e1"], 1)
        assert await files_read(engine, queries, asked) == (["e4", "e3", "e1"], 0)
    finally:
        engine.close()


async def files_read(engine: Engine, queries: Queries, asked: ListQuery) -> tuple[list[str], int]:
    """Return the ids of a page, and how many files were read for it."""
    before = engine.pruning.recent.files_read
    page = await queries.page(asked)
    assert page.total == len(page.rows)
    return [orjson.loads(row)["eventId"] for row in page.rows], engine.pruning.recent.files_read - before


async def test_what_was_found_for_one_role_is_masked_for_another(tmp_path: Path) -> None:
    """Texts are remembered as they were written, and shown as the role that asks may see them."""
    stored = filled([{"correlation_id": "c1", "username": "eve.adams"}])
    snap = snapshot(tmp_path, [write_events(tmp_path, stored, "one")])
    engine = Engine(EngineOptions(threads=1))
    queries = Queries(engine, lambda: snap)
    wanted = Filter.of({"correlation_id": ["c1"]})
    try:
        for role in ("admin", "viewer", "admin"):
            page = await queries.page(ListQuery(wanted, Scope(role=role)))
            assert ("eve.adams" in page.rows[0]) == (role == "admin")
            event = await queries.event("e1", Scope(role=role))
            assert event is not None
            assert event.json == page.rows[0]
    finally:
        engine.close()


def test_a_role_may_not_ask_by_what_it_sees_masked(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """Also when the answer is known already."""
    stored = filled([{"correlation_id": "c1", "username": "eve.adams"}])
    snap = snapshot(tmp_path, [write_events(tmp_path, stored, "one")])
    rare = Rare(Sieve(), RowCache())
    wanted = Filter.of({"correlation_id": ["c1"], "username": ["eve.adams"]})
    found = rare.find(connection, snap, wanted, Scope())
    assert found is not None
    assert len(found) == 1
    with pytest.raises(MaskedError):
        rare.find(connection, snap, wanted, Scope(role="viewer"))
