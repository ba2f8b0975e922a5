"""Processes for SQL that are kept ready: never more than allowed, none lost, none left, whatever happens to them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import spares as spares_module
from storage.adhoc import Ask, Child, Limits
from storage.committed import committed_views
from storage.errors import ArchiveError, ChildError, DeadlineError, MemoryCapError
from storage.spares import SpareOptions, Spares
from tests.storage.stock import opened, stock
from tests.support import require

T = TypeVar("T")

SMALL = Limits(64, 1)
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of an archive with two events."""
    folder = tmp_path_factory.mktemp("spares") / "archive"
    made = opened(folder)
    stock(made, [{"day": "2026-05-30"}, {"day": "2026-05-31"}])
    made.close()
    return str(folder)


def pool(archive: str, *, children: int = 1, waiting: int = 20, deadline: float = 30.0) -> Spares:
    """Return a pool over an archive."""
    views = committed_views(archive)
    return Spares(archive, lambda: views, SpareOptions(children, waiting, deadline, limits=SMALL))


@pytest_asyncio.fixture
async def one(archive: str) -> AsyncIterator[Spares]:
    """A pool of one process."""
    spares = pool(archive)
    yield spares
    await spares.close()


async def rows(spares: Spares, sql: str = "SELECT count(*) FROM events") -> bytes:
    """Return the rows of an answer as they come."""
    async with spares.answer(Ask(sql, whole=True)) as reply:
        return b"".join([piece async for piece in reply.pieces])


async def ready(spares: Spares) -> int:
    """Wait until a process is ready and return its id."""
    assert await rows(spares, "SELECT 1") == b"[1]\n"
    return await asyncio.to_thread(_wait, lambda: next((child.pid for child in list(spares._ready)), None))


async def over(pid: int) -> None:
    """Wait until a process is gone, or only its remains are there."""
    await asyncio.to_thread(_wait, lambda: _is_over(pid) or None)


def _wait(look: Callable[[], T | None]) -> T:
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


def _is_over(pid: int) -> bool:
    """Whether it ended with all its threads: the first one looks dead while others still end."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


async def test_a_process_that_died_while_it_waited_is_replaced(one: Spares) -> None:
    """Whoever asks next does not notice."""
    pid = await ready(one)
    os.kill(pid, signal.SIGKILL)
    await over(pid)
    assert await rows(one) == b"[2]\n"


async def test_a_start_that_fails_is_told_to_all_who_wait_and_tried_again(
    one: Spares, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an interpreter that has no DuckDB; when there is one again, statements are answered again."""
    bare = Path(sys.base_prefix) / "bin" / "python3"
    require(bare.exists() and bare != Path(sys.executable), "an interpreter without DuckDB")
    monkeypatch.setattr(spares_module, "RETRY_SECONDS", 0.0)
    with monkeypatch.context() as without:
        without.setattr(sys, "executable", str(bare))
        told = await asyncio.gather(rows(one), rows(one), return_exceptions=True)
    assert [type(error) for error in told] == [ChildError, ChildError]
    assert "ModuleNotFoundError" in str(told[0])
    assert await rows(one) == b"[2]\n"


async def test_a_reader_that_stops_reading_does_not_keep_its_process(archive: str) -> None:
    """The deadline holds until the last piece is read; then the process is gone and the reader is told."""
    spares = pool(archive, deadline=2.0)
    try:
        with pytest.raises(DeadlineError, match="longer than 2 s"):  # noqa: PT012 - the answer is read in pieces
            async with spares.answer(Ask("SELECT repeat('x', 1000) FROM range(1000000)")) as reply:
                (pid,) = spares.pids
                await over(pid)
                async for _ in reply.pieces:
                    pass
        assert await rows(spares) == b"[2]\n"
    finally:
        await spares.close()


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "leave", "mistake", "cancel"]), st.integers(0, 40)),
        min_size=1,
        max_size=6,
    )
)
def test_no_process_is_lost_or_left_whoever_leaves_when(archive: str, callers: list[tuple[str, int]]) -> None:
    """Callers that read, leave in the middle, make mistakes or are cancelled at any moment leave the pool whole."""

    async def play() -> list[int]:
        spares = pool(archive, children=2)
        used: set[int] = set()

        async def call(what: str) -> None:
            sql = "SELEC" if what == "mistake" else "SELECT count(*) FROM events"
            try:
                async with spares.answer(Ask(sql, whole=True)) as reply:
                    used.update(spares.pids)
                    assert len(spares.pids) <= 2
                    if what != "leave":
                        assert b"".join([piece async for piece in reply.pieces]) == b"[2]\n"
            except ArchiveError:
                assert what == "mistake"

        async def cancelled(hundredths: int) -> None:
            task = asyncio.create_task(call("read"))
            await asyncio.sleep(hundredths / 100)
            task.cancel()
            await asyncio.wait({task})

        await asyncio.gather(
            *(cancelled(after) if what == "cancel" else call(what) for what, after in callers)
        )
        assert await rows(spares) == b"[2]\n"
        used.update(spares.pids)
        await spares.close()
        assert spares.pids == []
        return sorted(used)

    assert [pid for pid in asyncio.run(play()) if Path(f"/proc/{pid}").exists()] == []


def test_a_process_that_grows_is_stopped_below_its_address_space(archive: str) -> None:
    """What DuckDB does not count is watched from outside: long before the limit of the address space is reached."""
    child = Child(archive, SMALL)
    try:
        child.wait_ready()
        job = Ask("SELECT list_sum(range(45000000))").job(())
        with pytest.raises(MemoryCapError, match="more memory than it may use"):
            list(child.answer(job, deadline=PATIENCE_SECONDS))
        assert child._why == "memory"
    finally:
        child.close()
