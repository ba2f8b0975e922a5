"""The check that fails a test for blocking the event loop works."""

import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import duckdb
import pytest
from blockbuster import BlockingError

from tests.support import ROOT


def _as_written_in(package: str, body: str, **names: Any) -> Callable[[], Awaitable[None]]:
    """Return a coroutine function whose code claims to stand in one of our packages."""
    code = compile(f"async def work():\n    {body}", str(ROOT / package / "imaginary.py"), "exec")
    scope: dict[str, Any] = dict(names)
    exec(code, scope)
    work: Callable[[], Awaitable[None]] = scope["work"]
    return work


async def test_a_coroutine_of_ours_that_sleeps_fails():
    """time.sleep in a package of ours stops every other request."""
    with pytest.raises(BlockingError, match=r"time\.sleep"):
        await _as_written_in("daemon", "time.sleep(0)", time=time)()


async def test_a_coroutine_of_ours_that_queries_the_database_fails():
    """A query belongs on the engine's threads."""
    with duckdb.connect() as connection, pytest.raises(BlockingError, match="execute"):
        await _as_written_in("web", "connection.execute('SELECT 1')", connection=connection)()


async def test_a_coroutine_of_ours_that_waits_for_the_disk_fails():
    """A sync may take seconds."""
    with pytest.raises(BlockingError, match="fsync"):
        await _as_written_in("storage", "os.fsync(-1)", os=os)()


async def test_a_test_may_call_blocking_code_directly():
    """Blocking functions of ours may be called from the body of an async test."""
    time.sleep(0)  # noqa: ASYNC251 - this is what the test is about
    with duckdb.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
