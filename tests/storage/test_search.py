"""Searches: every form of a filter means the same, and SQL finds what plain Python finds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from parsers.expression import Comparison, Expression, Not, both, text_of
from parsers.fields import BY_NAME
from parsers.grammar import parse
from storage.engine import Engine, EngineOptions
from storage.errors import MaskedError
from storage.material import Material
from storage.planner import Planner
from storage.queries import Queries
from storage.query import ExportQuery, Filter, ListQuery, Scope
from storage.snapshot import Snapshot
from storage.suggesting import seen_keys, seen_values
from tests.storage.judge import NOW_US, comparisons, expressions, filters, holds, made, trees, true
from tests.storage.samples import filled, snapshot, write_events


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine(EngineOptions(threads=1, deadline_seconds=50, count_seconds=50))
    yield engine
    engine.close()


@given(expressions)
@hypothesis_settings(max_examples=300)
def test_a_search_that_is_printed_reads_as_the_same_search(expression: Expression) -> None:
    """Whatever the values: stars, quotes, brackets, words that join, line breaks."""
    assert parse(text_of(expression)).expression == expression


@given(filters())
@hypothesis_settings(max_examples=200)
def test_a_filter_is_the_same_as_json_and_as_a_search(wanted: Filter) -> None:
    """One normal form: it does not matter how a filter was asked for."""
    assert Filter.of(q=wanted.q) == wanted if wanted.q else wanted == Filter()
    assert Filter.from_json(orjson.loads(orjson.dumps(wanted.to_json()))) == wanted


ROWS = filled(made(150, seed=1))


@given(filters())
@hypothesis_settings(max_examples=100)
def test_a_normal_form_changes_no_meaning(wanted: Filter) -> None:
    """What moves from the search into parameters, and back, finds the same events."""
    again = Filter().narrowed(both(wanted.parts))
    if "subject:" not in wanted.q:  # the judge has no idea of persons
        assert [holds(row, again) for row in ROWS] == [holds(row, wanted) for row in ROWS]


def _without_persons(expression: Expression) -> bool:
    return "subject:" not in text_of(expression)


searches = expressions.filter(_without_persons)


rolled = trees(
    comparisons(
        st.sampled_from([BY_NAME[name] for name in ("level", "category", "action", "outcome", "riskScore")])
    )
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Return ROWS in two files, one of an earlier format, and some of them hot."""
    root = tmp_path_factory.mktemp("archive")
    without = ["device", "travel_kmh"]
    first = write_events(root, [{**row, **dict.fromkeys(without)} for row in ROWS[:60]], "a", without=without)
    for row in ROWS[:60]:
        row.update(dict.fromkeys(without))
    return snapshot(root, [first, write_events(root, ROWS[60:120], "b")], [ROWS[120:]])


@given(expression=searches)
@hypothesis_settings(max_examples=200)
async def test_sql_finds_what_plain_python_finds(
    engine: Engine, stored: Snapshot, expression: Expression
) -> None:
    """Over files and hot rows, for every operator; a value that is not there is no match, and NOT of it is one."""
    wanted = Filter().narrowed(expression)
    expected = {row["event_id"] for row in ROWS if true(row, expression)}
    page = await Queries(engine, lambda: stored).page(ListQuery(wanted, limit=500))
    assert {json.loads(row)["eventId"] for row in page.rows} == expected, text_of(expression)


@given(item=comparisons().filter(_without_persons))
@hypothesis_settings(max_examples=50)
async def test_a_condition_and_its_opposite_share_out_all_rows(
    engine: Engine, stored: Snapshot, item: Comparison
) -> None:
    """No row falls between the two, however many values it lacks."""
    queries = Queries(engine, lambda: stored)
    counts = [await queries.count(ExportQuery(Filter().narrowed(part))) for part in (item, Not(item))]
    assert sum(counts) == len(ROWS)


@given(expression=rolled)
@hypothesis_settings(max_examples=20)
def test_roll_ups_and_rows_count_the_same(stored: Snapshot, expression: Expression) -> None:
    """A search is answered from roll-ups where all its fields are dimensions of them."""
    wanted = Filter().narrowed(expression)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rolled, scanned = (
            Planner(Material(connection, stored, roll=roll)).counts(wanted, Scope(), ("level",))
            for roll in (True, False)
        )
        assert sorted(rolled) == sorted(scanned)
        assert sum(row[-1] for row in rolled) == sum(true(row, expression) for row in ROWS)


@pytest.mark.parametrize(
    ("q", "answered"),
    [
        ("level:error OR category:billing", "roll-up"),
        ("NOT (level:debug AND outcome:success) action:pay*", "roll-up"),
        ("risk:>70 OR level:>=error", "roll-up"),
        ('-risk:<=30 category:~"^b"', "roll-up"),
        ("risk:>=31 risk:<=70", "roll-up"),
        ("risk:>50", "scan"),
        ("level:error user:ann", "scan"),
        ("level:error OR timestamp:<2025-11-16T10:00:00Z", "scan"),
        ("risk:(high OR 50)", "scan"),
    ],
)  # fmt: skip
def test_the_plan_says_what_answers_a_search(tmp_path: Path, q: str, answered: str) -> None:
    """Roll-ups know levels, categories, actions, outcomes and bands of risk; for anything else rows are read."""
    words: list[tuple[str, list[Any]]] = [("level", ["debug", "error", "critical"]), ("category", [None, "billing", "api"]), ("risk_score", [None, 20, 55, 90]),
             ("outcome", ["success", None]), ("action", ["pay", None, "paid"]), ("username", [None, "ann"])]  # fmt: skip
    stored = filled([{name: values[n % len(values)] for name, values in words} for n in range(24)])
    snap = snapshot(tmp_path, [write_events(tmp_path, stored, "f")])
    wanted = Filter.of(q=q, now_us=NOW_US)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        planner = Planner(Material(connection, snap))
        assert planner.total(wanted, Scope()) == sum(holds(row, wanted) for row in stored)
        assert planner.used.summary()["answeredBy"] == answered


def test_filters_of_earlier_records_still_read() -> None:
    """Ledger records hold filters for years: the keys they have keep their meaning."""
    old = {
        "values": {"user_id": ["42", "!43"], "level": ["error"]},
        "min_risk": 31,
        "start_us": 5,
        "search": "x",
    }
    wanted = Filter.from_json(old)
    assert wanted == Filter.of(
        {"user_id": ["42", "!43"], "level": ["error"]}, min_risk=31, start_us=5, search="x"
    )
    assert wanted.to_json() == old | {"values": {"level": ["error"], "user_id": ["42", "!43"]}}


@example("id:x", True)
@example("level:error traceId:(a OR b)", True)
@example("id:x OR id:y level:error", True)
@example("id:x OR level:error", False)
@example("-id:x", False)
@given(st.just("sessionId:s"), st.just(True))
@hypothesis_settings(max_examples=1)
def test_a_search_for_ids_is_selective(q: str, selective: bool) -> None:
    """Bloom filters find a rare id faster than slices of time."""
    assert Filter.of(q=q).selective is selective


def test_what_a_scope_sees_masked_is_not_suggested(stored: Snapshot) -> None:
    """Words that were seen are for those who may see them; other fields are suggested to everybody."""
    viewer = Scope(role="viewer")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert seen_values(connection, stored, BY_NAME["user.name"], (), "", Scope())
        assert seen_values(connection, stored, BY_NAME["category"], (), "", viewer)
        for name, path in (
            ("user.name", ()),
            ("request.ip", ()),
            ("request.headers", ("n",)),
            ("metadata", ("n",)),
        ):
            with pytest.raises(MaskedError):
                seen_values(connection, stored, BY_NAME[name], path, "", viewer)
        with pytest.raises(MaskedError):
            seen_keys(connection, stored, BY_NAME["metadata"], (), "", viewer)


def test_suggested_values_are_those_of_the_newest_rows_with_how_often(stored: Snapshot) -> None:
    """Beginning as asked, in any case, the most frequent first."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, column in (("system.server", "server"), ("user.name", "username"), ("tags", "tags")):
            seen = Counter(
                word
                for row in ROWS
                for word in (row.get(column) or [] if column == "tags" else [row.get(column)])
                if word and word.lower().startswith("a")
            )
            found = seen_values(connection, stored, BY_NAME[name], (), "A", Scope())
            assert found == sorted(seen.items(), key=lambda item: (-item[1], item[0]))
        keys = Counter(
            key
            for row in ROWS
            if isinstance(body := json.loads(row.get("metadata") or "null"), dict)
            for key in body
        )
        assert dict(seen_keys(connection, stored, BY_NAME["metadata"], (), "", Scope())) == keys
