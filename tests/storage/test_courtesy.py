"""Long work steps aside: it waits while somebody waits for an answer, and comes to its end all the same."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import duckdb
import pytest
import pytest_asyncio

from storage.courtesy import NICENESS, Courtesy, step_aside
from storage.engine import STEP_BYTES, Engine, EngineOptions

FOR_EVER = 600.0  # seconds that no test lasts


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(EngineOptions(threads=1))
    yield engine
    engine.close()


def test_long_work_waits_until_the_last_question_is_answered() -> None:
    """Two questions overlap; the work goes on when both have their answers."""
    courtesy = Courtesy(pause_seconds=FOR_EVER)
    went_on = threading.Event()

    def work() -> None:
        courtesy.step_aside()
        went_on.set()

    worker = threading.Thread(target=work)
    with courtesy.question():
        with courtesy.question():
            worker.start()
        assert not went_on.wait(0.1)
    worker.join(FOR_EVER)
    assert went_on.is_set()


def test_long_work_goes_on_at_once_when_nobody_asks() -> None:
    """After any number of questions, failed ones among them."""
    courtesy = Courtesy(pause_seconds=FOR_EVER)
    with pytest.raises(ValueError, match="wrong"), courtesy.question():
        raise ValueError("wrong")
    courtesy.step_aside()


def test_long_work_is_not_starved_by_questions_without_end() -> None:
    """It waits for a moment at each piece, no longer."""
    courtesy = Courtesy(pause_seconds=0.001)
    with courtesy.question():
        for _ in range(10):
            courtesy.step_aside()


def test_other_work_never_steps_aside() -> None:
    """What is not marked as long work has nobody to wait for."""
    step_aside()


async def test_a_stream_comes_to_its_end_beside_a_question_that_does_not(engine: Engine) -> None:
    """Every piece arrives, in order, while another thread works for somebody."""
    stop = threading.Event()
    question = asyncio.create_task(engine.run(lambda _: stop.wait(FOR_EVER)))

    def pieces(_: duckdb.DuckDBPyConnection) -> Iterator[bytes]:
        for number in range(4):
            step_aside()
            yield bytes([number]) * STEP_BYTES

    try:
        got = [piece[0] async for piece in engine.stream(pieces)]
    finally:
        stop.set()
        await question
    assert got == [0, 1, 2, 3]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
async def test_only_long_work_has_a_low_priority(engine: Engine) -> None:
    """Exports and back-tests stand back; pages and figures, also in the same process, do not."""

    def priority(_: duckdb.DuckDBPyConnection) -> tuple[int, int]:
        me = threading.get_native_id()
        return os.getpriority(os.PRIO_PROCESS, me), os.sched_getscheduler(me)

    before = os.getpriority(os.PRIO_PROCESS, 0)
    found = {
        place: await engine.run(priority, place=place) for place in ("interactive", "rules", "statistics")
    }

    def pieces(cursor: duckdb.DuckDBPyConnection) -> Iterator[bytes]:
        yield repr(priority(cursor)).encode()

    streamed = [piece async for piece in engine.stream(pieces)]
    assert found["interactive"] == found["statistics"] == (before, os.SCHED_OTHER)
    assert found["rules"] == (max(before, NICENESS), os.SCHED_BATCH)
    assert streamed == [repr(found["rules"]).encode()]
