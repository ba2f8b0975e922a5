"""The engine: deadlines, cancellation, places, streams. A query that is stopped has really stopped."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from types import MappingProxyType
from typing import Any

import duckdb
import pytest
import pytest_asyncio

from storage.engine import STEP_BYTES, Engine, EngineOptions, Piece, Places
from storage.errors import BusyError, DeadlineError, QueryError

# Runs for minutes when nobody stops it, in many small steps that can be interrupted.
ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE (a.range + b.range) % 7 = 3"


@pytest_asyncio.fixture
async def engine() -> AsyncIterator[Engine]:
    places = MappingProxyType(
        {
            "interactive": Places(1, 1),
            "statistics": Places(1, 0),
            "export": Places(1, 1, long=True),
        }
    )
    engine = Engine(EngineOptions(threads=1, memory_limit_mb=64, deadline_seconds=30, places=places))
    yield engine
    engine.close()


def one(cursor: duckdb.DuckDBPyConnection) -> int:
    return int(cursor.execute("SELECT 1").fetchall()[0][0])


class Work:
    """An endless query that says when it began and when its thread left it."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.left = threading.Event()

    def __call__(self, cursor: duckdb.DuckDBPyConnection) -> Any:
        self.began.set()
        try:
            return cursor.execute(ENDLESS).fetchall()
        finally:
            self.left.set()


async def until(event: threading.Event) -> None:
    await asyncio.to_thread(event.wait)


async def test_a_query_past_its_deadline_is_stopped_and_the_next_one_is_unharmed(engine: Engine) -> None:
    """The error comes only after the thread has left the query, so its place is really free."""
    work = Work()
    with pytest.raises(DeadlineError, match="took longer") as caught:
        await engine.run(work, deadline=0.2)
    assert work.left.is_set()
    assert "narrow" in caught.value.hint
    assert await engine.run(one) == 1


async def test_a_cancelled_query_is_stopped_before_the_cancellation_goes_on(engine: Engine) -> None:
    """A client that goes away leaves nothing running, even when it is cancelled twice."""
    work = Work()
    task = asyncio.create_task(engine.run(work))
    await until(work.began)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.left.is_set()
    assert await engine.run(one) == 1


async def test_waiting_for_a_place_counts_towards_the_deadline(engine: Engine) -> None:
    """A query that never got a place fails at its deadline and never starts."""
    first, second = Work(), Work()
    running = asyncio.create_task(engine.run(first))
    await until(first.began)
    with pytest.raises(DeadlineError):
        await engine.run(second, deadline=0.1)
    assert not second.began.is_set()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_class_without_places_says_when_to_come_back_and_others_go_on(engine: Engine) -> None:
    """Statistics that fill their places are refused; pages have places of their own."""
    work = Work()
    running = asyncio.create_task(engine.run(work, place="statistics"))
    await until(work.began)
    with pytest.raises(BusyError) as caught:
        await engine.run(one, place="statistics")
    assert caught.value.retry_after > 0
    assert caught.value.retry
    assert await engine.run(one) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await engine.run(one, place="statistics") == 1


async def test_the_loop_runs_on_while_a_query_works(engine: Engine) -> None:
    """A heavy query leaves the event loop free."""
    task = asyncio.create_task(engine.run(Work(), deadline=0.3))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 10
    with pytest.raises(DeadlineError):
        await task


async def test_a_query_that_needs_too_much_memory_is_refused_with_a_hint(engine: Engine) -> None:
    """The memory bound holds, nothing is spilled to disk, and the next query runs."""
    with pytest.raises(QueryError, match="more memory") as caught:
        await engine.run(
            lambda c: c.execute(
                "SELECT string_agg(repeat('x', 1000) || range, '') FROM range(1000000)"
            ).fetchall()
        )
    assert "narrow" in caught.value.hint
    assert await engine.run(one) == 1


async def test_what_duckdb_says_stays_out_of_the_message(engine: Engine) -> None:
    """SQL and paths belong into the log, not into an answer; the cause is kept for it."""
    with pytest.raises(QueryError) as caught:
        await engine.run(lambda c: c.execute("SELECT nothing FROM nowhere").fetchall())
    assert "nowhere" not in str(caught.value)
    assert isinstance(caught.value.__cause__, duckdb.Error)


async def test_an_error_of_the_work_itself_passes_through(engine: Engine) -> None:
    """A bug is not dressed up as a query error."""

    def broken(_: duckdb.DuckDBPyConnection) -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await engine.run(broken)


async def test_every_cursor_is_in_utc(engine: Engine) -> None:
    """Settings hold for each query, not only for the first connection."""
    rows = await engine.run(
        lambda c: c.execute(
            "SELECT current_setting('TimeZone'), current_setting('temp_directory')"
        ).fetchall()
    )
    assert rows == [("UTC", "")]


async def test_a_stream_stays_one_step_ahead_of_its_reader(engine: Engine) -> None:
    """A slow reader holds the producer back, so memory stays flat."""
    made = 0
    half = STEP_BYTES // 2

    def pieces(_: duckdb.DuckDBPyConnection) -> Iterator[bytes]:
        nonlocal made
        for number in range(20):
            made += 1
            yield bytes([number]) * half

    got: list[int] = []
    async for piece in engine.stream(pieces):
        assert len(piece) == half
        got.append(piece[0])
        if len(got) == 1:
            await asyncio.sleep(0.05)
        assert made <= len(got) + 4
    assert got == list(range(20))


async def test_a_reader_that_does_not_read_holds_no_thread(engine: Engine) -> None:
    """Its export keeps its place, and every thread of the pool is free for others meanwhile."""

    def pieces(_: duckdb.DuckDBPyConnection) -> Iterator[bytes]:
        return (bytes(STEP_BYTES) for _ in range(20))

    stream = engine.stream(pieces)
    await anext(stream)
    await asyncio.sleep(0.05)
    lane = engine._lane("export")
    busy = lane._pool._work_queue.qsize()
    together = threading.Barrier(lane._pool._max_workers, timeout=5)
    await asyncio.gather(*(lane.begin(together.wait) for _ in range(lane._pool._max_workers)))
    assert busy == 0
    await stream.aclose()
    assert await engine.run(one) == 1


async def test_an_error_in_a_stream_comes_after_the_pieces_before_it(engine: Engine) -> None:
    """The reader learns that the body is not whole."""

    def pieces(cursor: duckdb.DuckDBPyConnection) -> Iterator[bytes]:
        yield b"a"
        yield b"b"
        cursor.execute("SELECT nothing FROM nowhere")

    got: list[Piece] = []
    stream = engine.stream(pieces)
    got.extend([await anext(stream), await anext(stream)])
    with pytest.raises(QueryError):
        await anext(stream)
    assert got == [b"a", b"b"]
    assert await engine.run(one) == 1


async def test_a_reader_that_leaves_stops_the_stream(engine: Engine) -> None:
    """Closing the iterator interrupts what runs and frees the place."""
    left = threading.Event()

    def pieces(cursor: duckdb.DuckDBPyConnection) -> Iterator[bytes]:
        try:
            yield b"first"
            cursor.execute(ENDLESS)
        finally:
            left.set()

    stream = engine.stream(pieces)
    assert await anext(stream) == b"first"
    await stream.aclose()
    await until(left)
    started = time.monotonic()
    assert [piece async for piece in engine.stream(lambda _: iter([b"x"]))] == [b"x"]
    assert time.monotonic() - started < 30  # it did not wait for the endless one
