"""What is skipped: files and row groups that cannot hold a match, and never one that does."""

from __future__ import annotations

import itertools
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from storage import counting, pages, sql
from storage.bloom import xxh64
from storage.duck import connect
from storage.engine import Engine
from storage.queries import Queries
from storage.query import Filter, ListQuery, Scope
from storage.scope import View, view
from storage.sieve import Sieve
from storage.sketch import DECEITFUL, GRAM, Sketch, sketch, text_key
from storage.snapshot import Snapshot
from tests.storage.samples import HOUR_US, START_US, Row, filled, snapshot, table_of, write_events
from tests.storage.stock import opened, stock
from tests.storage.test_query_pages import filters, rows_strategy, scopes

FILES = 6
PER_FILE = 40


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect(threads=1, memory_limit_mb=256) as connection:
        yield connection


def spread(root: Path, change: Callable[[int], Row] | None = None, *, sketched: bool = True) -> Snapshot:
    """Write FILES files of PER_FILE rows with distinct ids, an hour a file; ``change`` gives a row its values."""
    files = []
    for file in range(FILES):
        rows = [
            {
                "event_id": str(uuid.UUID(int=(file * PER_FILE + row) * 7919 << 64 | row)),
                "correlation_id": f"c-{file}-{row // 4}",
                "description": f"Listing of report {row}",
                "time_us": START_US + file * HOUR_US + row,
                **(change(file * PER_FILE + row) if change else {}),
            }
            for row in range(PER_FILE)
        ]
        files.append(
            write_events(root, filled(rows, first_seq=1 + file * PER_FILE), f"f{file}", sketched=sketched)
        )
    return snapshot(root, files)


def left(found: Snapshot, wanted: Filter, scope: Scope | None = None) -> int:
    """Return how many files of a snapshot the sieve leaves for a filter."""
    asked = scope or Scope()
    return len(Sieve().over(found, wanted, asked).view(view(found, wanted, asked)).files)


def test_hashes_are_those_of_xxhash() -> None:
    """Vectors of the xxHash specification's reference code, of every length class."""
    assert xxh64(b"") == 0xEF46DB3751D8E999
    assert xxh64(b"a") == 0xD24EC4F1A98C6E5B
    assert xxh64(b"abc") == 0x44BC2CF5AD770999
    assert xxh64(b"Nobody inspects the spammish repetition") == 0xFBCEA83C8A378BF1


def test_an_id_is_looked_for_only_where_it_can_be(tmp_path: Path) -> None:
    """Every id is found in its file; an absent one leaves nearly nothing."""
    found = spread(tmp_path)
    for file, row in itertools.product(range(FILES), (0, 17, PER_FILE - 1)):
        event = str(uuid.UUID(int=(file * PER_FILE + row) * 7919 << 64 | row))
        narrowed = Sieve().over(found, Filter.of({"event_id": [event]}), Scope())
        files = narrowed.view(view(found, Filter(), Scope())).files
        assert f"nodes/main/live/f{file}.parquet" in [each.path for each in files]
        assert len(files) <= 2
    absent = [left(found, Filter.of({"event_id": [f"00000000-{n:04}"]})) for n in range(50)]
    assert sum(absent) < 50 * FILES / 5


def test_files_without_a_word_are_skipped(tmp_path: Path) -> None:
    """A word in any case leaves the files whose texts hold it, and a word that is nowhere leaves none."""
    found = spread(tmp_path, lambda n: {"description": "Quarantined file"} if n == PER_FILE + 3 else {})
    assert left(found, Filter.of(search="qUARANTINED")) == 1
    assert left(found, Filter.of(search="antine")) == 1
    assert left(found, Filter.of(search="mississippi")) == 0
    assert left(found, Filter.of(search="ine")) == FILES  # too short to be told


def test_files_without_a_value_are_skipped(tmp_path: Path) -> None:
    """Values of columns with few of them: one of several is enough, exclusions and networks need nothing."""
    found = spread(tmp_path, lambda n: {"username": f"user{n // PER_FILE}", "ip": "10.0.0.1"})
    assert left(found, Filter.of({"username": ["user2", "user4"]})) == 2
    assert left(found, Filter.of({"username": ["nobody"]})) == 0
    assert left(found, Filter.of({"username": ["!user2"]})) == FILES
    assert left(found, Filter.of({"ip": ["10.0.0.1"]})) == FILES
    assert left(found, Filter.of({"ip": ["10.0.0.2"]})) == 0
    assert left(found, Filter.of({"ip": ["10.0.0.0/8"]})) == FILES
    assert left(found, Filter(), Scope(tenant="nobody's")) == 0


def test_a_search_in_words_skips_as_its_parameters_do(tmp_path: Path) -> None:
    """What `q` says is taken apart: all parts of an And, and of an Or only what every part can tell."""
    found = spread(
        tmp_path,
        lambda n: {"username": f"user{n // PER_FILE}", "description": f"Entry of kind{n // PER_FILE}"},
    )
    for text, files in {
        "user:user2": 1,
        "kind3": 1,
        "user:user2 kind3": 0,
        "user:user1 OR kind3": 2,
        "(user:user1 kind1) OR (user:user1 kind3)": 1,
        "user:user1 OR risk:>70": FILES,
        "NOT user:user2": FILES,
        "description:*ind4*": 1,
        "ip:10.0.0.1": 0,
        "status:404 OR status:500": 0,
        "status:>=400": FILES,
    }.items():
        assert left(found, Filter.of(q=text)) == files, text


def test_what_has_no_sketch_is_read(tmp_path: Path) -> None:
    """Files of earlier releases answer as before."""
    found = spread(tmp_path, sketched=False)
    assert left(found, Filter.of(search="mississippi")) == FILES
    assert left(found, Filter.of({"username": ["nobody"]})) == FILES


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"x" * 500])
def test_a_damaged_roll_up_hides_no_event(tmp_path: Path, damage: bytes) -> None:
    """Of files whose roll-ups cannot be read, nothing is known."""
    found = spread(tmp_path)
    for rollup in found.rollups:
        (tmp_path / rollup.path).write_bytes(damage)
    assert left(found, Filter.of(search="mississippi")) == FILES
    (tmp_path / found.rollups[0].path).unlink()
    assert left(found, Filter.of(search="mississippi")) == FILES


def test_sketches_that_are_not_kept_are_asked_where_they_lie(tmp_path: Path) -> None:
    """Without memory for any sketch the same files are left, as the files that the archive writes let single blocks be read."""
    days = ("2026-05-01", "2026-05-02", "2026-05-03")
    with closing(opened(tmp_path)) as archive:
        rows = [{"day": day, "username": f"user of {day}"} for day in days for _ in range(30)]
        stock(archive, rows)
        found = archive.snapshot
    for name, files in (("user of 2026-05-02", 1), ("nobody", 0)):
        wanted = Filter.of({"username": [name]})
        for kept_bytes in (0, 1 << 20):
            sieve = Sieve(kept_bytes)
            left_files = sieve.over(found, wanted, Scope()).view(view(found, wanted, Scope())).files
            assert len(left_files) == files
            sketches = [
                each for path in found.rollups for each in sieve.sketches(f"{found.root}/{path.path}")
            ]
            assert [each.data is None for each in sketches] == [not kept_bytes] * len(days)


def test_a_file_is_narrowed_to_the_row_groups_that_may_match(tmp_path: Path) -> None:
    """Of a file whose first row group alone holds a value, only that group's times are looked at."""
    found = spread(tmp_path, lambda n: {"username": "early" if n % PER_FILE < 16 else "late"})
    narrow = Sieve().over(found, Filter.of({"username": ["early"]}), Scope())
    for file in narrow.view(view(found, Filter(), Scope())).files:
        assert file.rows == 16
        assert file.max_time_us % HOUR_US == START_US % HOUR_US + 15


def test_no_other_letter_becomes_ascii_in_lower_case(connection: duckdb.DuckDBPyConnection) -> None:
    """DuckDB's lower() decides what a search finds; letters that would deceive a sketch are known to it."""
    rows = connection.execute(
        "SELECT n FROM range(128, 1114112) r(n) WHERE NOT n BETWEEN 55296 AND 57343 "
        "AND regexp_matches(lower(chr(n::INTEGER)), '[\\x00-\\x7f]')"
    ).fetchall()
    assert {chr(number).encode() for (number,) in rows} <= set(DECEITFUL)


@pytest.mark.parametrize("letter", [letter.decode() for letter in DECEITFUL])
def test_a_text_with_a_deceitful_letter_is_always_read(letter: str) -> None:
    """The Kelvin sign is k in lower case: such a row group tells nothing of texts."""
    made = Sketch.read(sketch(table_of(filled([{"description": f"wor{letter}ing"}]))))
    key = text_key("mississippi")
    assert made is not None
    assert key is not None
    assert made.may_hold([(key,)])


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(st.text(st.sampled_from("aBcÄ \u0130\u212ak"), max_size=12), min_size=1, max_size=6),
    start=st.integers(0, 8),
    size=st.integers(GRAM, 8),
)
def test_every_part_of_a_text_is_in_its_sketch(
    connection: duckdb.DuckDBPyConnection, texts: list[str], start: int, size: int
) -> None:
    """Whatever DuckDB finds by contains(lower()), the sketch does not exclude, in any spelling."""
    made = Sketch.read(sketch(table_of(filled([{"description": text} for text in texts]))))
    assert made is not None
    with connection.cursor() as cursor:
        for text in texts[:2]:
            wanted = text[start : start + size]
            for spelled in (wanted, wanted.upper(), wanted.lower(), wanted.swapcase()):
                row = cursor.execute(
                    "SELECT bool_or(contains(lower(t), lower($1))) FROM unnest($2::VARCHAR[]) u(t)",
                    [spelled, texts],
                ).fetchone()
                key = text_key(spelled)
                if row is not None and row[0] and key is not None:
                    assert made.may_hold([(key,)])


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    rows=rows_strategy,
    wanted=filters(),
    scope=scopes,
    cuts=st.lists(st.integers(1, 25), max_size=4),
    data=st.data(),
)
def test_pruned_answers_are_those_of_everything(
    connection: duckdb.DuckDBPyConnection,
    rows: list[Row],
    wanted: Filter,
    scope: Scope,
    cuts: list[int],
    data: st.DataObject,
) -> None:
    """Positions and totals are the same with the sieve and without, over files with sketches, without, and hot rows."""
    stored = filled(rows)
    edges = [0, *sorted({cut for cut in cuts if cut < len(stored)})]
    with tempfile.TemporaryDirectory() as folder, connection.cursor() as cursor:
        files = [
            write_events(Path(folder), stored[low:high], f"f{low}", sketched=data.draw(st.booleans()))
            for low, high in itertools.pairwise(edges)
            if high > low
        ]
        found = snapshot(Path(folder), files, [stored[edges[-1] :]])
        sql.register(cursor, found.hot)
        seen = view(found, wanted, scope)
        narrow = Sieve().over(found, wanted, scope)
        whole = pages.find(cursor, seen, wanted, scope, limit=10)
        assert pages.find(cursor, seen, wanted, scope, limit=10, narrow=narrow) == whole
        asked = (cursor, found, wanted, scope)
        every = counting.total(*asked, counting.FileCounts(), counting.Tally())[0]
        assert counting.total(*asked, counting.FileCounts(), counting.Tally(), narrow=narrow)[0] == every


@pytest.mark.parametrize("shared", [1, 2, FILES])
async def test_one_id_in_many_places_is_counted(engine: Engine, tmp_path: Path, shared: int) -> None:
    """The first by seq answers, hot or not, however many files hold the id."""

    def same(number: int) -> Row:
        mine = number % PER_FILE == 3 and number < shared * PER_FILE
        return {"event_id": "same", "username": "eve.adams"} if mine else {}

    hot = filled([{"event_id": "same"}, {"event_id": "other"}], first_seq=1000)
    found = snapshot_with(spread(tmp_path, same), hot)
    queries = Queries(engine, lambda: found)
    answer = await queries.event("same")
    assert answer is not None
    assert answer.duplicates == shared
    assert '"seq":4,' in answer.json
    assert await queries.event("nowhere") is None
    for scope in (Scope(role="viewer", internal="include"), Scope(role="admin", internal="include")):
        shown = await queries.event("same", scope)
        assert shown is not None
        assert ("eve.adams" in shown.json) == (scope.role == "admin")
    page = await queries.page(ListQuery(Filter.of({"event_id": ["same"]})))
    assert page.total == shared + 1


async def test_an_id_that_everything_has_is_counted(engine: Engine, tmp_path: Path) -> None:
    """Rows are not read whole when a program gives all its events one id."""
    found = spread(tmp_path, lambda _: {"event_id": "1"})
    answer = await Queries(engine, lambda: found).event("1")
    assert answer is not None
    assert answer.duplicates == FILES * PER_FILE - 1
    assert '"seq":1,' in answer.json


def snapshot_with(found: Snapshot, hot: list[Row]) -> Snapshot:
    """Return a snapshot of the same files with hot rows."""
    pairs = [
        (file, next(rollup for rollup in found.rollups if rollup.covers == file.path))
        for file in found.events
    ]
    return snapshot(Path(found.root), pairs, [hot])


def test_a_count_that_is_always_too_late_goes_on_in_smaller_pieces(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one statement cannot count within the deadline, several do, one question after the other."""
    found = spread(tmp_path)
    wanted = Filter.of(search="report 1")
    known = counting.FileCounts()
    known.batch_rows = FILES * PER_FILE
    count = sql.count_by_file

    def slow(part: View, *rest: Any) -> sql.Statement:
        if len(part.files) > 1:
            raise duckdb.InterruptException
        return count(part, *rest)

    monkeypatch.setattr(sql, "count_by_file", slow)
    for _ in range(10):
        tally = counting.Tally()
        try:
            total, _plan = counting.total(connection, found, wanted, Scope(), known, tally)
        except duckdb.InterruptException:
            continue
        assert total == FILES * sum(f"{row}".startswith("1") for row in range(PER_FILE))
        break
    else:
        pytest.fail("it was never counted")


def test_a_count_that_will_not_end_in_time_is_given_up_at_once_and_goes_on_with_the_next_question(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    """Each file takes a quarter of a second: more than two are not begun where there are six tenths."""
    found = spread(tmp_path)
    wanted = Filter.of(search="report 1")
    known = counting.FileCounts()
    known.batch_rows = PER_FILE
    every = FILES * sum(f"{row}".startswith("1") for row in range(PER_FILE))
    ticks = itertools.count()

    def clock() -> float:
        return next(ticks) / 4

    read = []
    for _ in range(FILES):
        tally = counting.Tally()
        try:
            total, _plan = counting.total(
                *(connection, found, wanted, Scope(), known, tally), within=0.6, clock=clock
            )
        except counting.TooManyError:
            read.append(tally.read // PER_FILE)
            assert tally.estimate == every, "all files are alike"
            continue
        assert total == every
        break
    assert read == [1, 2, 3, 4]
