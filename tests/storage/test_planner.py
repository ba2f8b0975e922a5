"""Roll-ups and scans always give the same numbers, and those of plain Python."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from storage import rollups
from storage.buckets import MAX_POINTS, STEPS_US, grid, step_of
from storage.engine import Engine, EngineOptions
from storage.material import Material
from storage.plan import MIXED, ROLL_UP
from storage.planner import Planner
from storage.query import Filter, Scope, StatisticsQuery
from storage.snapshot import Snapshot
from storage.statistics import error_rate, statistics
from tests.storage.samples import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    START_US,
    Pair,
    Row,
    filled,
    oracle,
    snapshot,
    table_of,
    write_events,
)

QUARTER_US = 15 * MINUTE_US


@pytest.fixture(scope="module")
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    engine = Engine(EngineOptions(threads=1))
    with engine.cursor() as cursor:
        yield cursor
    engine.close()


times = st.one_of(
    st.integers(0, 4 * 96).map(lambda n: START_US + n * QUARTER_US),  # on a bucket's edge
    st.integers(0, 4 * 96).map(lambda n: START_US + n * QUARTER_US - 1),
    st.integers(0, 4 * DAY_US).map(lambda n: START_US + n),
)
row_strategy = st.fixed_dictionaries(
    {
        "time_us": times,
        "level": st.sampled_from(["debug", "info", "warning", "error", "critical"]),
        "category": st.sampled_from([None, "security", "api", "billing"]),
        "action": st.sampled_from([None, "login", "paid"]),
        "outcome": st.sampled_from([None, "success", "failure"]),
        "risk_score": st.sampled_from([None, 0, 30, 31, 70, 71, 100]),
        "user_id": st.sampled_from([None, "1", "2", "3"]),
        "username": st.sampled_from([None, "ann", "ben"]),
        "country_code": st.sampled_from([None, "DE", "US"]),
        "ip": st.sampled_from([None, *(f"10.0.0.{n}" for n in range(9))]),
        "entity_type": st.sampled_from([None, "project", "file"]),
        "entity_id": st.sampled_from([None, *(str(n) for n in range(6))]),
        "tenant": st.sampled_from([None, "t1"]),
        "internal": st.sampled_from([False, False, True]),
    }
)


@st.composite
def archives(draw: st.DrawFn) -> tuple[list[list[Row]], list[Row]]:
    """Draw batches of rows, one per file (late rows come in any of them), and hot rows."""
    rows = filled(draw(st.lists(row_strategy, min_size=1, max_size=60)))
    edges = sorted({0, *draw(st.lists(st.integers(0, len(rows)), max_size=4))})
    batches = [rows[low:high] for low, high in zip(edges, [*edges[1:], len(rows)], strict=True)]
    hot = batches.pop() if draw(st.booleans()) else []
    return [batch for batch in batches if batch], hot


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Draw a filter, mostly one that roll-ups can answer."""
    choices = {
        "level": ["error", "!debug", "critical"],
        "category": ["security", "!billing", "nothing"],
        "outcome": ["failure", "!success"],
        "action": ["login", "!paid"],
        "risk": ["high", "!low"],
        "user_id": ["1", "!2"],
    }
    values = {
        name: [draw(st.sampled_from(choices[name]))]
        for name in draw(st.lists(st.sampled_from([*choices, "level", "category"]), max_size=2, unique=True))
    }
    start, end = sorted((draw(times), draw(times)))
    return Filter.of(values, start_us=start, end_us=end)


scopes = st.builds(
    Scope,
    tenant=st.sampled_from([None, None, "t1"]),
    internal=st.sampled_from(["exclude", "include", "only"]),
)


def write(root: Path, batches: list[list[Row]]) -> list[Pair]:
    """Write a file each, the first of them live and the others sealed, two on a day: their roll-ups are read as sums."""
    days = [None, *(f"2025-{10 + number // 4}-{16 + number // 2}" for number in range(len(batches)))]
    return [
        write_events(root, batch, f"f{number}", day=day)
        for number, (batch, day) in enumerate(zip(batches, days, strict=False))
    ]


def compare(
    cursor: duckdb.DuckDBPyConnection, snap: Snapshot, query: StatisticsQuery, rows: list[Row]
) -> dict[str, Any]:
    """Check roll-up, scan and Python against each other; return the plan of the first."""
    rolled = statistics(cursor, snap, query)
    plan = rolled.pop("plan")
    scanned = statistics(cursor, snap, query, roll=False)
    scanned.pop("plan")
    assert rolled == scanned
    found = oracle(rows, query.filter, query.scope)
    assert rolled["totals"]["events"] == len(found)
    assert {k: n for k, n in rolled["byLevel"].items() if n} == Counter(row["level"] for row in found)
    for name, column in (("byCategory", "category"), ("byAction", "action"), ("byOutcome", "outcome")):
        assert {k: n for k, n in rolled[name].items() if n} == Counter(
            row[column] for row in found if row.get(column)
        )
    users = {
        row.get("user_id") or f"name:{row.get('username')}"
        for row in found
        if row.get("user_id") or row.get("username")
    }
    assert rolled["totals"]["users"] == len(users)
    assert sum(point["total"] for point in rolled["series"]) == len(found)
    addresses = Counter(row["ip"] for row in found if row.get("ip"))
    ranked = sorted(addresses.items(), key=lambda item: (-item[1], item[0]))[: query.top]
    assert [(item["ip"], item["eventCount"]) for item in rolled["topIps"]] == ranked
    return plan  # type: ignore[no-any-return]  # the plan is a dict of its own


@given(archive=archives(), wanted=filters(), scope=scopes, dropped=st.integers(0, 3), top=st.integers(1, 5))
@hypothesis_settings(max_examples=25)
def test_roll_ups_and_scans_agree_with_late_rows_and_dropped_files(
    cursor: duckdb.DuckDBPyConnection,
    archive: tuple[list[list[Row]], list[Row]],
    wanted: Filter,
    scope: Scope,
    dropped: int,
    top: int,
) -> None:
    """Any filter, range, scope and layout: the same numbers three ways, also after a file was dropped."""
    batches, hot = archive
    with tempfile.TemporaryDirectory() as folder:
        pairs = write(Path(folder), batches)
        query = StatisticsQuery(wanted, scope, top=top)
        rows = [row for batch in [*batches, hot] for row in batch]
        compare(cursor, snapshot(Path(folder), pairs, [hot]), query, rows)
        kept = pairs[:dropped] + pairs[dropped + 1 :]
        gone = {row["seq"] for batch in batches[dropped : dropped + 1] for row in batch}
        rest = [row for row in rows if row["seq"] not in gone]
        compare(cursor, snapshot(Path(folder), kept, [hot], drops=1), query, rest)


@given(archive=archives(), wanted=filters(), scope=scopes, top=st.integers(1, 4))
@hypothesis_settings(max_examples=25)
def test_top_lists_are_exact_although_files_keep_heavy_keys_only(
    cursor: duckdb.DuckDBPyConnection,
    archive: tuple[list[list[Row]], list[Row]],
    wanted: Filter,
    scope: Scope,
    top: int,
) -> None:
    """With room for two keys a file, a proof, a look into some files, or a scan gives the scan's list."""
    batches, hot = archive
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(rollups, "HEAVY_KEYS", 2)
        pairs = write(Path(folder), batches)
        rows = [row for batch in [*batches, hot] for row in batch]
        plain = replace(wanted, terms=())
        compare(cursor, snapshot(Path(folder), pairs, [hot]), StatisticsQuery(plain, scope, top=top), rows)


def test_light_keys_are_left_out_and_the_proof_still_answers(
    cursor: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear top is proven from roll-ups alone; one that a file may hide is looked up in that file only."""
    monkeypatch.setattr(rollups, "HEAVY_KEYS", 2)

    def file(name: str, counts: dict[str, int], first_seq: int) -> Pair:
        ips = [ip for ip, count in counts.items() for _ in range(count)]
        return write_events(tmp_path, filled([{"ip": ip} for ip in ips], first_seq=first_seq), name)

    wanted = Filter(start_us=START_US, end_us=START_US + DAY_US)
    clear = [file("a", {"10.0.0.1": 50, "10.0.0.2": 20, "10.0.0.3": 1}, 1), file("b", {"10.0.0.1": 9, "10.0.0.2": 8, "10.0.0.3": 2}, 101)]  # fmt: skip
    planner = Planner(Material(cursor, snapshot(tmp_path, clear)))
    best = planner.ranked("addresses", wanted, Scope(), 2).top
    assert [(item.key, item.events) for item in best] == [("10.0.0.1", 59), ("10.0.0.2", 28)]
    assert planner.used.summary()["filesScanned"] == 0
    hidden = [*clear, file("c", {"10.0.0.3": 9, "10.0.0.4": 8, "10.0.0.1": 7}, 201)]
    planner = Planner(Material(cursor, snapshot(tmp_path, hidden)))
    best = planner.ranked("addresses", wanted, Scope(), 2).top
    assert [(item.key, item.events) for item in best] == [("10.0.0.1", 66), ("10.0.0.2", 28)]
    assert planner.used.summary() == {
        "answeredBy": MIXED,
        "parts": {"addresses": MIXED},
        "filesByRollUp": 3,
        "filesScanned": 1,
    }


def test_a_column_with_many_values_is_counted_from_rows_where_a_file_left_it_out(
    cursor: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that has too many values of a column its roll-up has none; hot rows keep them all."""
    monkeypatch.setattr(rollups, "FEW_KEYS", 1)
    few = filled([{"server": "a"}] * 3)
    many = filled([{"server": name} for name in "aabc"], first_seq=11)
    hot = filled([{"server": name} for name in "bbbc"], first_seq=21)
    files = [write_events(tmp_path, few, "few"), write_events(tmp_path, many, "many")]
    planner = Planner(Material(cursor, snapshot(tmp_path, files, [hot])))
    found = planner.ranked("server", Filter(), Scope(), 2)
    assert [(item.key, item.events) for item in found.top] == [("a", 5), ("b", 4)]
    assert (found.distinct, found.present) == (3, 11)
    assert planner.used.summary()["filesScanned"] == 1


def test_a_whole_day_is_answered_without_reading_an_event(
    cursor: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    """A range that covers its files needs their roll-ups only, and the plan says so."""
    rows = filled([{"time_us": START_US + n * HOUR_US, "username": "ann"} for n in range(24)])
    snap = snapshot(tmp_path, [write_events(tmp_path, rows, "day", day="2025-11-16")])
    wanted = Filter(start_us=START_US, end_us=START_US + DAY_US - 1)
    plan = compare(cursor, snap, StatisticsQuery(wanted), rows)
    assert (plan["answeredBy"], plan["filesScanned"]) == (ROLL_UP, 0)
    (tmp_path / snap.events[0].path).unlink()
    parts = frozenset({"counts", "users", "countries", "addresses", "entities", "series"})
    assert statistics(cursor, snap, StatisticsQuery(wanted, parts=parts))["totals"] == {
        "events": 24,
        "users": 1,
    }


def test_an_earlier_snapshot_is_counted_from_rows(cursor: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    """A roll-up knows nothing of seq: a file with rows above the snapshot is read."""
    rows = filled([{} for _ in range(10)])
    snap = snapshot(tmp_path, [write_events(tmp_path, rows[:4], "a"), write_events(tmp_path, rows[4:], "b")])
    planner = Planner(Material(cursor, snap, seq=6))
    assert planner.total(Filter(), Scope()) == 6
    assert planner.used.summary()["filesScanned"] == 1


def _events(sums: pa.Table, family: str) -> int:
    chosen = sums.filter(pc.equal(sums["family"], pa.scalar(family)))
    counts: Any = chosen["events"].to_pylist()
    return sum(counts)


@given(rows=st.lists(row_strategy, max_size=40))
@hypothesis_settings(max_examples=25)
def test_a_roll_up_covers_each_row_once_in_every_family_of_counts(rows: list[Row]) -> None:
    """However rows are split into files, the sums over the files are the same."""
    stored = filled(rows)
    whole = rollups.delta(table_of(stored))
    halves = [rollups.delta(table_of(part)) for part in (stored[::2], stored[1::2])]
    for family in ("totals", "counts", "levels"):
        sums = [_events(part, family) for part in (whole, *halves)]
        assert sums[0] == sums[1] + sums[2] == len(stored)


@given(rows=st.lists(row_strategy, max_size=40))
@hypothesis_settings(max_examples=25)
def test_one_family_alone_is_what_the_whole_roll_up_has_of_it(rows: list[Row]) -> None:
    """Hot rows are counted by the family that a question needs, and by no other."""
    table = table_of(filled(rows))
    whole = rollups.delta(table, complete=True)
    for family in rollups.FAMILIES.values():
        if not family.keys:
            mine = whole.filter(pc.equal(whole["family"], pa.scalar(family.name)))
            assert rollups.counted(table, family).equals(mine)


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"]
)
@pytest.mark.parametrize("length_us", [HOUR_US, 6 * HOUR_US, DAY_US, 7 * DAY_US, 90 * DAY_US, 365 * DAY_US])
def test_the_grid_of_a_series_covers_its_range_on_quarter_hours(zone: str, length_us: int) -> None:
    """Every zone's buckets rise, begin at or before the range, reach its end, and lie where roll-ups have theirs."""
    for start in (
        START_US + 17,
        START_US + 130 * DAY_US + 5 * HOUR_US,
    ):  # the second range crosses a change of clocks
        step = step_of(length_us)
        starts = grid(start, start + length_us - 1, step, zone)
        assert starts == sorted(set(starts))
        assert starts[0] <= start
        assert len(starts) == 1 or starts[1] > start
        assert start + length_us - 1 >= starts[-1]
        assert len(starts) <= 2 * MAX_POINTS
        if step >= QUARTER_US:
            assert all(at % QUARTER_US == 0 for at in starts)
    assert step_of(10**18) == STEPS_US[-1]


def test_the_error_rate_has_one_decimal_and_is_zero_when_empty() -> None:
    """100·(error+critical)/events."""
    assert error_rate({"error": 1, "critical": 1, "info": 1}, 3) == 66.7
    assert error_rate({}, 0) == 0.0
