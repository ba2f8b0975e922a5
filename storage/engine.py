"""DuckDB behind a bounded pool of threads: every query has a cursor of its own, a deadline and a place to run in.

Places keep the classes of work apart, so that exports never take the threads that pages need. Long work has even an
instance of DuckDB for itself, for an instance has one queue of tasks for all its cursors, and steps aside
(`storage.courtesy`). A query that passes its deadline, or whose client goes away, is interrupted; the caller then waits
until its thread has really stopped, so that no query runs on unseen and the next one finds its place free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

import duckdb

from storage.courtesy import COURTESY, Courtesy, stand_back, step_aside
from storage.duck import connect
from storage.errors import BusyError, DeadlineError, QueryError, UnreadableError
from storage.freeing import give_back
from storage.layout import below_archive
from storage.observer import Observer, Silent
from storage.pruning import Pruning
from storage.sheets import DEFAULT_BUDGET_MB, Sheets
from storage.sql import empty_hot

T = TypeVar("T")
Piece = bytes | memoryview

_log = logging.getLogger(__name__)

INTERRUPT_SECONDS = (
    0.02  # between two interrupts: one that lands between statements is lost, so it is repeated
)
STEP_BYTES = (
    1 << 20
)  # made in one go by a stream: some milliseconds of work, so that waking a thread counts for little
UNREADABLE = "unreadable_archive_files"  # count(), by file: its path below the archive
BUSY_RETRY_SECONDS = 1.0  # what a caller without a place is told to wait


@dataclass(frozen=True, slots=True)
class Places:
    """How many queries of one class run at a time, and how many more may wait for a place.

    Work that is ``long`` lets the others go first.
    """

    running: int
    waiting: int
    long: bool = False


DEFAULT_PLACES = MappingProxyType(
    {
        "interactive": Places(running=4, waiting=64),  # pages, single events, counts
        "statistics": Places(running=2, waiting=32),
        "export": Places(running=2, waiting=2, long=True),
        "rules": Places(running=1, waiting=4, long=True),  # rules tried over the archive
        "warming": Places(running=1, waiting=1, long=True),  # what is read before it is asked for
        # Followers: what has just come, read once for all who want the same; and what each of them missed before.
        # Their number is bounded elsewhere, so all of them may wait.
        "live": Places(running=1, waiting=4096),
        "replay": Places(running=1, waiting=4096),
    }
)


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Bounds of the query engine: ``threads`` DuckDB may use in all, memory in megabytes, seconds a query may take.

    Long work has one thread for each query, and ``memory_limit_mb`` once more.
    """

    threads: int = 2
    memory_limit_mb: int = 256
    deadline_seconds: float = 10.0
    count_seconds: float = 0.5  # a list's total is estimated when counting takes longer
    suggest_seconds: float = 0.3  # completion goes without seen values when finding them takes longer
    rules_seconds: float = 60.0  # that trying one rule over the archive may take
    facet_seconds: float = 2.0  # a facet that takes longer is left out
    rollup_cache_mb: int = DEFAULT_BUDGET_MB  # roll-ups kept decoded
    places: MappingProxyType[str, Places] = field(default_factory=lambda: DEFAULT_PLACES)


class Engine:
    """Runs work on cursors in threads. Create it and use it on one event loop."""

    def __init__(self, options: EngineOptions | None = None, observer: Observer | None = None) -> None:
        self.options = options or EngineOptions()
        self.observer = observer or Silent()
        self.pruning = Pruning(observer)
        self.sheets = Sheets(self.options.rollup_cache_mb, observer)
        self.courtesy = Courtesy()
        classes = self.options.places.values()
        self._quick = _Lane(self.options, self.options.threads, [each for each in classes if not each.long])
        self._quick.open()
        self._long = _Lane(self.options, 1, [each for each in classes if each.long], self._begin_long)
        self._places = {name: _Place(name, places) for name, places in self.options.places.items()}

    async def run(
        self,
        work: Callable[[duckdb.DuckDBPyConnection], T],
        *,
        deadline: float | None = None,
        place: str = "interactive",
    ) -> T:
        """Run ``work(cursor)`` in a thread and return its result.

        Raises BusyError when too many wait already, DeadlineError after ``deadline`` seconds (waiting for a place
        included), and QueryError for what DuckDB refuses. When this is cancelled, so is the query.
        """
        seconds = self.options.deadline_seconds if deadline is None else deadline
        lane = self._lane(place)
        try:
            with self.courtesy.question() if lane is self._quick else contextlib.nullcontext():
                async with asyncio.timeout(seconds), self._places[place]:
                    cursor = await lane.cursor()
                    return await self._watch(cursor, self._start(lane, cursor, work))
        except TimeoutError:
            raise DeadlineError(
                f"the query took longer than {seconds:g} s",
                hint="narrow the time range or add a filter",
                retry=False,
            ) from None

    async def stream(
        self, work: Callable[[duckdb.DuckDBPyConnection], Iterator[Piece]], *, place: str = "export"
    ) -> AsyncGenerator[Piece, None]:
        """Run ``work(cursor)`` in threads, step by step, and yield its pieces, one step ahead of the reader.

        There is no deadline: the reader sets the pace, and holds its place but no thread while it does not read. An
        error of the work rises here, after the pieces before it.
        """
        async with self._places[place]:
            lane = self._lane(place)
            cursor = await lane.cursor()
            courtesy = self.courtesy if lane is self._long else None
            steps = _Steps(cursor, work(cursor), self.pruning, self._told, courtesy)
            running = lane.begin(steps.take)
            try:
                while pieces := await asyncio.shield(running):
                    running = lane.begin(steps.take)
                    for piece in pieces:
                        yield piece
            finally:
                await _finish(cursor, running)
                await _finish(cursor, lane.begin(steps.close))

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a cursor for work outside of any event loop, without deadline and place."""
        return self._quick.at_once()

    def close(self) -> None:
        """Wait for the threads and close the instances. Nothing may be running any more."""
        self._quick.close()
        self._long.close()

    def _begin_long(self) -> None:
        """Prepare a thread for long work."""
        stand_back()
        COURTESY.set(self.courtesy)

    def _lane(self, place: str) -> _Lane:
        return self._long if self.options.places[place].long else self._quick

    def _start(
        self,
        lane: _Lane,
        cursor: duckdb.DuckDBPyConnection,
        work: Callable[[duckdb.DuckDBPyConnection], T],
    ) -> asyncio.Future[T]:
        def call() -> T:
            try:
                with self.pruning.watching():
                    return work(cursor)
            except (duckdb.Error, OSError, UnreadableError) as error:
                raise self._told(error)  # noqa: B904 - it has its cause
            finally:
                cursor.close()

        return lane.begin(call)

    def _told(self, error: duckdb.Error | OSError | UnreadableError) -> QueryError:
        """Return what the caller is told; a file that cannot be read is counted and logged as well."""
        if isinstance(error, UnreadableError):
            name = below_archive(error.where)
            _log.error("a file of the archive could not be read: %s", name, exc_info=error.__cause__)
            self.observer.count(UNREADABLE, file=name)
            return error
        told = _explain(error)
        told.__cause__ = error
        return self._told(told) if isinstance(told, UnreadableError) else told

    @staticmethod
    async def _watch(cursor: duckdb.DuckDBPyConnection, running: asyncio.Future[T]) -> T:
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:  # the deadline passed, or the client went away
            await _finish(cursor, running)
            raise


class _Lane:
    """An instance of DuckDB, and the threads for the queries of some classes."""

    def __init__(
        self,
        options: EngineOptions,
        threads: int,
        classes: Sequence[Places],
        initializer: Callable[[], None] = lambda: None,
    ) -> None:
        self._options = options
        self._threads = threads
        self._opening = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._pool = ThreadPoolExecutor(
            max_workers=max(1, sum(places.running for places in classes)),
            thread_name_prefix="watchkeep-query",
            initializer=initializer,
        )

    def open(self) -> None:
        """Open the instance, unless it is open; takes some tens of milliseconds."""
        with self._opening:
            if self._connection is not None:
                return
            connection = connect(threads=self._threads, memory_limit_mb=self._options.memory_limit_mb)
            for setting in _SETTINGS:
                connection.execute(setting)
            empty_hot(connection)
            self._connection = connection

    async def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a new cursor."""
        if self._connection is None:
            await asyncio.shield(self.begin(self.open))
        return self.at_once()

    def at_once(self) -> duckdb.DuckDBPyConnection:
        """Return a new cursor of an instance that is open."""
        assert self._connection is not None
        return self._connection.cursor()

    def begin(self, call: Callable[[], T]) -> asyncio.Future[T]:
        """Call something in one of the threads."""
        return asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Wait for the threads and close the instance."""
        self._pool.shutdown(wait=True)
        if self._connection is not None:
            self._connection.close()


class _Steps:
    """Work that yields pieces, taken some at a time, each time in whatever thread is free."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        pieces: Iterator[Piece],
        pruning: Pruning,
        told: Callable[[Any], QueryError],
        courtesy: Courtesy | None,
    ) -> None:
        self._cursor = cursor
        self._told = told
        self._pieces = self._watched(pieces, pruning)
        self._context = copy_context()  # the same for every step: what is noted in one is there in the next
        self._context.run(COURTESY.set, courtesy)
        self._error: QueryError | None = None
        self._enough = 1  # byte

    def take(self) -> list[Piece]:
        """Return the next pieces, STEP_BYTES or a little more; none at the end. An error comes after the pieces before it.

        The first piece comes alone: nobody should wait for more before anything is seen.
        """
        return self._context.run(self._take)

    def close(self) -> None:
        """Let go of what the work holds. Nothing may be taken after it."""
        try:
            self._context.run(self._pieces.close)
        finally:
            self._cursor.close()
            give_back()

    def _take(self) -> list[Piece]:
        taken: list[Piece] = []
        size = 0
        if self._error is not None:
            raise self._error
        step_aside()
        try:
            for piece in self._pieces:
                taken.append(piece)
                size += len(piece)
                if size >= self._enough:
                    break
            self._enough = STEP_BYTES
        except (duckdb.Error, OSError, UnreadableError) as error:
            self._error = self._told(error)
            if not taken:
                raise self._error  # noqa: B904 - it has its cause
        return taken

    @staticmethod
    def _watched(pieces: Iterator[Piece], pruning: Pruning) -> Generator[Piece]:
        with pruning.watching():
            yield from pieces


class _Place:
    """Admission to one class of work: so many run, so many wait, the next is told to come back."""

    def __init__(self, name: str, places: Places) -> None:
        self._name = name
        self._places = places
        self._free = asyncio.Semaphore(places.running)
        self._waiting = 0

    async def __aenter__(self) -> None:
        if self._free.locked() and self._waiting >= self._places.waiting:
            raise BusyError(f"too many {self._name} queries at the same time", retry_after=BUSY_RETRY_SECONDS)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    async def __aexit__(self, *_: object) -> None:
        self._free.release()


async def _finish(cursor: duckdb.DuckDBPyConnection, running: asyncio.Future[T]) -> None:
    """Interrupt a query and wait for its thread, however often the waiting itself is cancelled."""
    cancelled = False
    while not running.done():
        with contextlib.suppress(duckdb.Error):  # the thread may close the cursor at this very moment
            cursor.interrupt()
        try:
            await asyncio.wait({running}, timeout=INTERRUPT_SECONDS)
        except asyncio.CancelledError:
            cancelled = True
    if not running.cancelled():
        running.exception()  # looked at, so that asyncio does not report it as forgotten
    if cancelled:
        raise asyncio.CancelledError


def _explain(error: duckdb.Error | OSError) -> QueryError:
    """Say in our words what was refused; the message itself stays on the chained exception, for the log."""
    if isinstance(error, duckdb.InterruptException):
        return DeadlineError("the query was cancelled")
    if isinstance(error, duckdb.OutOfMemoryException):
        return QueryError(
            "the query needs more memory than it may use",
            hint="narrow the time range or add a filter, or raise [query] memory_limit_mb",
        )
    if named := _PARQUET_FILE.search(str(error)):  # what is damaged is of any class, and mostly says where
        return UnreadableError(named[1])
    if isinstance(error, (duckdb.IOException, OSError)) or type(error) is duckdb.Error:
        return QueryError(
            "a file of the archive could not be read", hint="run 'watchkeep verify'", retry=True
        )
    return QueryError("the query could not be run")


_PARQUET_FILE = re.compile(r'file "([^"]+\.parquet)"')


# GLOBAL, because a cursor is a connection of its own and would not inherit settings of the first one.
_SETTINGS = (
    # Freed memory goes back to the system sooner than by default (128 and 512 MB): two exports take some 30 MiB less so.
    "SET GLOBAL allocator_flush_threshold = '16MB'",
    "SET GLOBAL allocator_bulk_deallocation_flush_threshold = '16MB'",
    "SET GLOBAL TimeZone = 'UTC'",
    "SET GLOBAL temp_directory = ''",  # nothing is ever spilled to disk: a query that is too large is refused
    "SET GLOBAL parquet_metadata_cache = true",  # footers of immutable files are parsed once
)
