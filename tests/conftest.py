"""Checks that hold for every test: the event loop is never blocked, and random tests are repeatable in CI."""

import asyncio
import gc
import inspect
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import duckdb
import pyarrow.dataset
import pyarrow.parquet
import pytest
from blockbuster import BlockBuster, BlockBusterFunction
from hypothesis import HealthCheck, settings

from daemon import files
from daemon.failpoints import OPERATIONS
from tests.support import CI, ROOT

settings.register_profile("laptop", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", settings.get_profile("laptop"), derandomize=True, database=None, print_blob=True
)
settings.load_profile("ci" if CI else "laptop")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: tests that press Ctrl-C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# CPU seconds one callback may burn on the loop's thread. CPU and not wall time: a busy machine is no failure.
CALLBACK_CPU_SECONDS = 0.5

_OURS = tuple(f"{ROOT / package}{os.sep}" for package in ("daemon", "web", "storage", "parsers"))
_TESTS = f"{ROOT / 'tests'}{os.sep}"
_COROUTINE = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

# Blocking calls that BlockBuster does not know: the database, Parquet, and what waits for a disk.
_ALSO_BLOCKING: list[tuple[Any, str]] = [
    (duckdb.DuckDBPyConnection, "execute"),
    (duckdb.DuckDBPyConnection, "executemany"),
    (duckdb.DuckDBPyConnection, "sql"),
    (duckdb.DuckDBPyConnection, "query"),
    (pyarrow.parquet, "write_table"),
    (pyarrow.parquet, "read_table"),
    (pyarrow.parquet.ParquetFile, "read"),
    (pyarrow.parquet.ParquetWriter, "write_table"),
    (pyarrow.parquet.ParquetWriter, "write_batch"),
    (os, "fsync"),
    (os, "fdatasync"),
    *((files, name) for name in OPERATIONS),
]


def _reached_from_our_coroutine() -> bool:
    """Whether the running call was made by a coroutine of ours, or by a callback the loop runs for us.

    A test may call blocking code directly: then no coroutine of ours stands between it and the call.
    """
    frame: FrameType | None = sys._getframe(2)
    ours = tests = False
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_OURS):
            ours = True
            if frame.f_code.co_flags & _COROUTINE:
                return True
        elif name.startswith(_TESTS):
            tests = True
        elif "importlib._bootstrap" in name:
            return False  # a first import reads files; every process does that once
        frame = frame.f_back
    return ours and not tests


def _only_ours(function: BlockBusterFunction) -> BlockBusterFunction:
    known = function.can_block_predicate
    function.can_block_predicate = lambda *args, **kwargs: (
        not _reached_from_our_coroutine() or known(*args, **kwargs)
    )
    return function


@pytest.fixture(scope="session")
def _blockbuster() -> BlockBuster:
    buster = BlockBuster()
    for module, name in _ALSO_BLOCKING:
        buster.functions[f"{module.__name__}.{name}"] = BlockBusterFunction(module, name)
    for function in buster.functions.values():
        _only_ours(function)
    return buster


class _Collecting:
    """CPU seconds that this process spent on collecting garbage.

    A run of thousands of tests holds millions of objects, and to look through them all takes half a second: that is the
    tests' heap and not a callback's doing.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __call__(self, phase: str, _: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._started = now
        else:
            self.seconds += now - self._started


_collecting = _Collecting()
gc.callbacks.append(_collecting)


@pytest.fixture(autouse=True)
def _loop_is_never_blocked(
    request: pytest.FixtureRequest, _blockbuster: BlockBuster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail a test in which our code blocks the event loop: by a known blocking call, or by burning CPU on it."""
    if request.node.get_closest_marker("blocking"):
        yield
        return
    slow: list[str] = []
    run = asyncio.Handle._run

    def timed_run(handle: asyncio.Handle) -> None:
        started, collected = time.thread_time(), _collecting.seconds
        run(handle)
        spent = time.thread_time() - started - (_collecting.seconds - collected)
        if spent > CALLBACK_CPU_SECONDS and not _is_of_a_test(handle):
            slow.append(f"{handle!r} kept the event loop busy for {spent:.2f} s of CPU")

    monkeypatch.setattr(asyncio.Handle, "_run", timed_run)
    _blockbuster.activate()
    try:
        yield
    finally:
        _blockbuster.deactivate()
    if slow:
        pytest.fail("\n".join(slow), pytrace=False)


def _is_of_a_test(handle: asyncio.Handle) -> bool:
    """Whether a handle steps a task whose coroutine is written in a test (it may compute what it likes)."""
    task = getattr(getattr(handle, "_callback", None), "__self__", None)
    if not isinstance(task, asyncio.Task):
        return False
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith((_TESTS, "<"))
