"""Processes for SQL that are ready before anybody asks: one statement each, then another takes its place.

There are never more than so many, those that run a statement and those that are being started included. A statement
takes one that is ready, or waits for its turn; when too many wait, the next is told to come back. A process is killed
at its deadline and when whoever asked leaves, and all are when this is closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from storage.adhoc import Ask, Child, Limits
from storage.errors import ArchiveError, BusyError, ChildError, UnconfinedError
from storage.handover import Handover
from storage.job import Heading, Job, View
from storage.observer import Observer, Silent

AHEAD_PIECES = 4  # handed over but not yet sent
TURN_SECONDS = (
    10.0  # above the deadline: the statement before may take that long, and then a process has to start
)
RETRY_SECONDS = 5.0  # after a process that could not be started
BUSY_SECONDS = 1.0  # about what a new process takes: what somebody without a turn is told to wait

# What is reported to the observer.
CHILDREN = "sql_children"  # gauge(), by state: ready, running
WAITING = "sql_waiting"  # gauge()
START_SECONDS = "sql_start_seconds"  # seconds()

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpareOptions:
    """How many processes there are at most, how many statements may wait for one, and what each may use."""

    children: int = 2
    waiting: int = 8
    deadline_seconds: float = 30.0
    max_rows: int = 100_000
    max_bytes: int = 64 << 20
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer under way."""

    heading: Heading
    pieces: AsyncIterator[bytes]


class Spares:
    """Runs statements over the archive at ``path``; ``views`` tells what is committed. Belongs to one event loop."""

    def __init__(
        self,
        path: str,
        views: Callable[[], tuple[View, ...]],
        options: SpareOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.options = options or SpareOptions()
        self._path = path
        self._views = views
        self._observer = observer or Silent()
        # Processes end with the thread that started them, so one thread starts them all, and lives as long as this.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="watchkeep-sql-start")
        self._runners = ThreadPoolExecutor(self.options.children, thread_name_prefix="watchkeep-sql")
        self._ready: deque[Child] = deque()
        self._wanting: deque[asyncio.Future[Child]] = deque()
        self._running: set[Child] = set()
        self._starting = 0
        self._making: Child | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._trouble: ArchiveError | None = None
        self._tried = 0.0
        self._closed = False

    def start(self) -> None:
        """Begin to start the processes; returns at once."""
        self._fill()

    @asynccontextmanager
    async def answer(self, ask: Ask) -> AsyncGenerator[Reply]:
        """Run a statement and give its answer, which must be read inside the context; leaving it stops everything.

        Raises BusyError when too many wait, and what `Child.answer` raises, here or while pieces are read. The deadline
        begins when a process takes the statement, and holds until the last piece is read.
        """
        options = self.options
        ask.job(())  # what is too long waits for nobody
        child = await self._take()
        replies: Handover[Heading | bytes] = Handover(AHEAD_PIECES)

        def work() -> Iterator[Heading | bytes]:
            yield from child.answer(self._job(ask), deadline=options.deadline_seconds)

        running = asyncio.get_running_loop().run_in_executor(self._runners, replies.produce, work())
        try:
            async with aclosing(_checked(replies, running)) as items:
                heading = await anext(items, None)
                if not isinstance(heading, Heading):
                    raise ChildError("the process for SQL sent rows without their names")
                yield Reply(heading, (item async for item in items if isinstance(item, bytes)))
        finally:
            replies.stop()
            child.kill()
            self._later(self._dismiss(child, running))  # whoever asked need not wait for it

    async def close(self) -> None:
        """Kill every process and wait until all are gone."""
        self.abandon()
        self._tell_waiting(BusyError("the daemon is stopping", retry_after=BUSY_SECONDS))
        while self._tasks:
            await asyncio.wait(self._tasks)
        loop = asyncio.get_running_loop()
        while self._ready:
            await loop.run_in_executor(self._starter, self._ready.popleft().close)
        await asyncio.to_thread(self._shut)

    @property
    def pids(self) -> list[int]:
        """Process ids of all that there are, whatever they do."""
        return [child.pid for child in self._all()]

    def abandon(self) -> None:
        """Kill every process, wherever this is called; `close` is the way to end."""
        self._closed = True
        for child in self._all():
            child.kill()

    def _all(self) -> list[Child]:
        making = self._making
        return [*self._running, *self._ready, *([making] if making else [])]

    def _shut(self) -> None:
        self._runners.shutdown(wait=True)
        self._starter.shutdown(wait=True)

    def _job(self, ask: Ask) -> Job:
        """Return the job with the files as they are committed now; blocks."""
        return ask.job(self._views())

    # Children

    async def _take(self) -> Child:
        """Return a process that is ready, sooner or later."""
        loop = asyncio.get_running_loop()
        while self._ready:
            child = self._ready.popleft()
            self._running.add(child)
            usable = False
            try:
                usable = await loop.run_in_executor(self._starter, child.usable)
            finally:
                if not usable:
                    self._later(self._dismiss(child))
            if usable:
                self._measure()
                return child
        if self._trouble is not None and not self._retry():
            raise self._trouble
        if len(self._wanting) >= self.options.waiting:
            raise BusyError("too many SQL statements at the same time", retry_after=BUSY_SECONDS)
        self._fill()
        return await self._turn()

    async def _turn(self) -> Child:
        """Wait for a process that becomes ready."""
        wanting: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._wanting.append(wanting)
        self._measure()
        try:
            async with asyncio.timeout(self.options.deadline_seconds + TURN_SECONDS):
                return await wanting
        except TimeoutError:
            raise BusyError("other SQL statements take all processes", retry_after=BUSY_SECONDS) from None
        except asyncio.CancelledError:
            if wanting.done() and not wanting.cancelled() and wanting.exception() is None:
                self._running.discard(wanting.result())
                self._offer(wanting.result())
            raise
        finally:
            if wanting in self._wanting:
                self._wanting.remove(wanting)
            self._measure()

    def _retry(self) -> bool:
        """Return whether it is time to try again what failed; where nothing can be confined it never is."""
        if isinstance(self._trouble, UnconfinedError) or time.monotonic() - self._tried < RETRY_SECONDS:
            return False
        self._trouble = None
        return True

    def _fill(self) -> None:
        """Start as many processes as there are too few."""
        there = len(self._ready) + len(self._running) + self._starting
        for _ in range(self.options.children - there):
            if self._closed or self._trouble is not None:
                return
            self._starting += 1
            self._later(self._begin())

    async def _begin(self) -> None:
        """Start one process and give it to whoever waits longest."""
        started = time.monotonic()
        try:
            child = await asyncio.get_running_loop().run_in_executor(self._starter, self._make)
        except (ArchiveError, OSError) as error:
            if not self._closed:
                self._failed(error)
            return
        finally:
            self._starting -= 1
        self._observer.seconds(START_SECONDS, time.monotonic() - started)
        self._offer(child)

    def _make(self) -> Child:
        child = self._making = Child(self._path, self.options.limits)
        try:
            if self._closed:
                child.kill()
            child.wait_ready()
        except BaseException:
            child.close()
            raise
        finally:
            self._making = None
        return child

    def _offer(self, child: Child) -> None:
        """Give a process that was not used to whoever waits longest."""
        while self._wanting:
            wanting = self._wanting.popleft()
            if not wanting.done():
                self._running.add(child)
                wanting.set_result(child)
                return
        self._ready.append(child)
        self._measure()

    def _failed(self, error: ArchiveError | OSError) -> None:
        """Tell everybody who waits; nothing is started until somebody asks again after a while."""
        _log.error("SQL cannot be answered: %s", error)
        if not isinstance(error, ArchiveError):
            error = ChildError("a process for SQL could not be started", where=str(error))
        self._trouble, self._tried = error, time.monotonic()
        self._tell_waiting(error)

    def _tell_waiting(self, error: ArchiveError) -> None:
        for wanting in self._wanting:
            if not wanting.done():
                wanting.set_exception(error)

    async def _dismiss(self, child: Child, running: asyncio.Future[None] | None = None) -> None:
        """Throw a process away, wait until it is really gone, and start another."""
        if running is not None:
            await asyncio.wait({running})
            running.exception()  # looked at, so that asyncio does not report it as forgotten
        await asyncio.get_running_loop().run_in_executor(self._runners, child.close)
        self._running.discard(child)
        self._fill()
        self._measure()

    def _later(self, work: Coroutine[None, None, None]) -> None:
        """Do something in a task of its own, which `close` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _measure(self) -> None:
        self._observer.gauge(CHILDREN, len(self._ready), state="ready")
        self._observer.gauge(CHILDREN, len(self._running), state="running")
        self._observer.gauge(WAITING, len(self._wanting))


async def _checked(
    replies: Handover[Heading | bytes], running: asyncio.Future[None]
) -> AsyncGenerator[Heading | bytes]:
    """Yield what is handed over; at the end raise what the producer raised."""
    async for item in replies:
        yield item
    await running
