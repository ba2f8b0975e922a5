"""Figures from roll-ups are those of a scan: whatever the archive went through, and whatever is asked."""

from collections.abc import Iterator

import duckdb
import pytest

from storage.engine import Engine, EngineOptions
from tests.storage.agreeing import QUESTIONS, STATES, differences

SOAKED = 10_000  # questions


@pytest.fixture(scope="module")
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    engine = Engine(EngineOptions(threads=1))
    with engine.cursor() as cursor:
        yield cursor
    engine.close()


@pytest.mark.parametrize("seed", range(8))
def test_roll_ups_answer_as_a_scan_does(cursor: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Forty questions a life: filters and searches, zones, drops, late rows, folds, seals, earlier snapshots."""
    for asked, rolled, scanned in differences(cursor, seed, states=2):
        assert rolled == scanned, asked


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_roll_ups_answer_ten_thousand_questions_as_a_scan_does(cursor: duckdb.DuckDBPyConnection) -> None:
    """The same, for as many lives as it takes; every difference is named."""
    found = [
        f"{asked}\n  {rolled}\n  {scanned}"
        for seed in range(100, 100 + SOAKED // (QUESTIONS * STATES))
        for asked, rolled, scanned in differences(cursor, seed)
        if rolled != scanned
    ]
    assert not found, "\n".join(found)
