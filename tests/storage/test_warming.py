"""After a start files are read before anybody asks: questions then open none, and answer the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import shapes, sheets, sieve, warming
from storage.engine import Engine, EngineOptions
from storage.queries import Queries
from storage.query import Filter, ListQuery, StatisticsQuery
from storage.snapshot import Snapshot
from tests.storage.samples import DAY_US, HOUR_US, START_US, filled, snapshot, write_events

DAYS = 18  # from the middle of November into December
FILES_A_DAY = 2
PER_FILE = 3
PARTS = frozenset({"counts", "users", "countries", "addresses", "entities"})


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(warming, "RESTS", 0)
    engine = Engine(EngineOptions(threads=1))
    yield engine
    engine.close()


def spread(root: Path) -> Snapshot:
    """Write sealed files of some weeks, several a day."""
    files = []
    for number in range(DAYS * FILES_A_DAY):
        day, part = divmod(number, FILES_A_DAY)
        rows = [
            {
                "event_id": f"e-{number}-{row}",
                "user_id": str((number + row) % 5),
                "ip": f"10.0.0.{number % 9}",
                "country_code": "DE",
                "entity_type": "file",
                "entity_id": str(row),
                "time_us": START_US + day * DAY_US + part * 12 * HOUR_US + row,
            }
            for row in range(PER_FILE)
        ]
        label = f"2025-{11 + (15 + day) // 30}-{1 + (15 + day) % 30:02}"
        files.append(
            write_events(root, filled(rows, first_seq=1 + number * PER_FILE), f"f{number}", day=label)
        )
    return snapshot(root, files)


async def answers(queries: Queries) -> list[Any]:
    """Ask for figures of everything, an id and a word that are not there, and an id that is."""
    everything = Filter(start_us=START_US, end_us=START_US + (DAYS + 1) * DAY_US)
    figures = await queries.statistics(StatisticsQuery(everything, parts=PARTS))
    absent = [await queries.event("nowhere"), await queries.page(ListQuery(Filter.of(search="mississippi")))]
    return [figures, *absent, await queries.event("e-7-1")]


async def test_questions_after_it_open_no_file_to_learn_what_it_holds(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Footers, sketches and roll-ups are known; only the row of the event that is there is read."""
    snap = spread(tmp_path)
    expected = await answers(Queries(engine, lambda: snap))
    fresh = Engine(EngineOptions(threads=1))
    shapes.shape.cache_clear()
    try:
        queries = Queries(fresh, lambda: snap)
        await queries.warm()
        for module, name in (
            (shapes, "_footer"),
            (sieve, "_read"),
            (sheets, "loaded"),
            (sheets, "loaded_together"),
        ):
            monkeypatch.setattr(module, name, None)
        assert await answers(queries) == expected
    finally:
        fresh.close()


async def test_a_file_that_cannot_be_read_does_not_end_it(engine: Engine, tmp_path: Path) -> None:
    """The others are known afterwards; questions are told of the damage as ever."""
    snap = spread(tmp_path)
    damaged = tmp_path / snap.events[3].path
    damaged.chmod(0o640)
    damaged.write_bytes(b"nothing like it")
    queries = Queries(engine, lambda: snap)
    await queries.warm()
    before = shapes.shape.cache_info().misses
    for file in (snap.events[2], snap.events[4], snap.events[-1]):
        shapes.shape(str(tmp_path / file.path))
    assert shapes.shape.cache_info().misses == before
