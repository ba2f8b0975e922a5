"""New events to everybody who follows: read once for each distinct question, handed to all who asked it.

A group is one filter and scope with a reader of its own. A follower that has to catch up reads at its own pace until
it has come near its group, and joins it without gap or overlap: both are just at a number. See `storage.onward`.

No thread waits for a follower, and nothing is read while nobody follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import duckdb

from storage import pages, sql
from storage.engine import Engine
from storage.epochs import Place, Reset, Run, needs_check, resumption
from storage.errors import BusyError, DeadlineError
from storage.masking import Mask
from storage.observer import Observer, Silent
from storage.onward import Reader, Row, is_committed
from storage.query import Filter, Scope
from storage.rows import RowCache
from storage.scope import view
from storage.snapshot import Snapshot
from storage.subscription import Batch, Idle, Item, Subscription, batches
from storage.treatments import check, hidden_from

BATCH_EVENTS = 500  # one write to a client
BATCH_BYTES = 256 * 1024
RETRY_SECONDS = 0.5  # after a look that failed
# A write to one follower, about. Small batches to many wait so long for each, and then take no more than half a core.
MEMBER_SECONDS = 0.0001
PACE_SECONDS = 0.05  # but no longer
FULL_RETRY_SECONDS = 10.0  # what a follower without a place is told to wait

# Reported to the observer: name, kind, labels.
LIVE_CLIENTS = "live_clients"
LIVE_DROPPED = "live_dropped"
LIVE_REFUSED = "live_refused"
LIVE_FAILURES = "live_failures"

_log = logging.getLogger(__name__)

Question = tuple[Filter, Scope]


@dataclass(frozen=True, slots=True)
class HubOptions:
    """How many may follow at a time, and how far one may fall behind: events and bytes that wait for it."""

    clients: int = 256
    queue_events: int = 2000
    queue_bytes: int = 1 << 20
    near: int = 1000  # who is fewer numbers behind joins its group, and reads the rest while new events wait


class _Group:
    """Everybody who asks the same question."""

    def __init__(self, reader: Reader, scope: Scope) -> None:
        self.reader = reader
        self.scope = scope
        self.position = reader.position  # everything up to this seq was offered
        self.members: set[Subscription] = set()
        self.users = 0  # members, and those that catch up
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Hub:
    """The followers of one archive. Use it on one event loop; ``listen`` is `Archive.add_listener`."""

    def __init__(
        self,
        engine: Engine,
        snapshots: Callable[[], Snapshot],
        listen: Callable[[Callable[[Snapshot], None]], Callable[[], None]],
        run: Callable[[], Run],
        options: HubOptions | None = None,
        observer: Observer | None = None,
        mask: Mask | None = None,
    ) -> None:
        self.options = options or HubOptions()
        self._mask = mask or Mask()  # what scopes below auditor see through
        self._engine = engine
        self._snapshots = snapshots
        self._listen = listen
        self._run = run
        self._observer = observer or Silent()
        self._cache = RowCache()  # followers that catch up after a restart read the same pages
        self._groups: dict[Question, _Group] = {}
        self._followers: set[Subscription] = set()
        self._unlisten: Callable[[], None] | None = None
        self._closed = False

    @property
    def followers(self) -> int:
        """How many follow now."""
        return len(self._followers)

    @asynccontextmanager
    async def follow(
        self,
        wanted: Filter,
        scope: Scope,
        *,
        after: Place | None = None,
        replay: int = 0,
        idle_seconds: float = 15.0,
    ) -> AsyncGenerator[AsyncGenerator[Item, None]]:
        """Give what a follower gets, until it leaves or the hub is closed.

        It begins behind ``after``, or with the newest ``replay`` events, or with what comes. Raises BusyError when
        nobody else may follow, and MaskedError for a filter that would tell what the scope sees masked.
        """
        check(wanted, scope)
        if self._closed:
            raise BusyError("the daemon is stopping", retry_after=FULL_RETRY_SECONDS)
        if len(self._followers) >= self.options.clients:
            self._observer.count(LIVE_REFUSED)
            raise BusyError("too many follow at the same time", retry_after=FULL_RETRY_SECONDS)
        follower = Subscription(events=self.options.queue_events, size=self.options.queue_bytes)
        self._followers.add(follower)
        self._observer.gauge(LIVE_CLIENTS, len(self._followers))
        question = (wanted, scope)
        group = self._enter(question)
        items = self._items(follower, group, question, after, replay, idle_seconds)
        try:
            yield items
        finally:
            group.members.discard(follower)
            self._followers.discard(follower)
            self._observer.gauge(LIVE_CLIENTS, len(self._followers))
            try:
                await items.aclose()
            finally:
                await self._leave(question, group)

    async def close(self) -> None:
        """Let every follower end, and read nothing more."""
        self._closed = True
        for follower in self._followers:
            follower.close()
        while self._groups:
            await _stop(self._groups.popitem()[1])
        self._deafen()

    # One follower

    async def _items(
        self,
        follower: Subscription,
        group: _Group,
        question: Question,
        after: Place | None,
        replay: int,
        idle_seconds: float,
    ) -> AsyncGenerator[Item, None]:
        """Yield what came before, and then what comes."""
        if after is not None:
            start, reset = await self._resumption(after)
            if reset is not None:
                yield reset
            reader, scope = Reader(*question, start, cache=self._cache), question[1]
            upto = start
            while not follower.closed and follower not in group.members:
                upto = group.position
                if upto - reader.position <= self.options.near:
                    upto = self._join(
                        follower, group, reader.position
                    )  # what comes meanwhile waits in the queue
                while reader.position < upto and not follower.closed:
                    for batch in self._cut(await self._look(reader, scope, upto)):
                        yield batch
        else:
            upto = self._join(follower, group, self._snapshots().seq)
            if replay:
                for batch in self._cut(await self._newest(question, replay, upto)):
                    yield batch
        yield Idle(Place(self._run().epoch, upto))
        while True:
            item = await follower.next(idle_seconds)
            if item is not None:
                yield item
            elif follower.closed:
                return
            else:
                yield Idle(Place(self._run().epoch, follower.position))

    def _join(self, follower: Subscription, group: _Group, seen: int) -> int:
        """Let a follower that has seen so much get what its group gets from here on, and return where that is."""
        start = max(group.position, seen)  # a group may lag behind what is visible
        follower.begin(start)
        group.members.add(follower)
        return start

    async def _resumption(self, after: Place) -> tuple[int, Reset | None]:
        run, snapshot = self._run(), self._snapshots()
        committed = True
        if needs_check(after, run):
            committed = await self._engine.run(
                lambda cursor: is_committed(cursor, snapshot, after.seq), place="replay"
            )
        return resumption(after, run, snapshot.seq, committed=committed)

    async def _look(self, reader: Reader, scope: Scope, upto: int) -> list[Row]:
        """Return the next rows of a follower that catches up; what takes too long is read in smaller pieces."""
        try:
            return await self._read(reader, scope, upto, place="replay")
        except DeadlineError:
            reader.narrow()
            return []

    async def _newest(self, question: Question, count: int, seq: int) -> list[Row]:
        """Return the newest matching events up to a seq, in the order in which they came."""
        snapshot = self._snapshots()
        wanted, scope = question

        def find(cursor: duckdb.DuckDBPyConnection) -> list[Row]:
            sql.register(cursor, snapshot.hot)
            found = pages.find(cursor, view(snapshot, wanted, scope, seq), wanted, scope, limit=count)
            texts = pages.fetch(cursor, found, snapshot.hot, self._cache)
            return self._shown(sorted(zip((found_at.seq for found_at in found), texts, strict=True)), scope)

        return await self._engine.run(find, place="replay")

    def _cut(self, rows: list[Row]) -> Iterator[Batch]:
        events = min(BATCH_EVENTS, self.options.queue_events)
        return batches(
            self._run().epoch, rows, events=events, size=min(BATCH_BYTES, self.options.queue_bytes)
        )

    # Groups

    def _enter(self, question: Question) -> _Group:
        group = self._groups.get(question)
        if group is None:
            if self._unlisten is None:
                self._hear()
            # Heard first, looked at then: whatever becomes visible from here on wakes the group.
            group = _Group(Reader(*question, self._snapshots().seq), question[1])
            self._groups[question] = group
            group.task = asyncio.get_running_loop().create_task(self._serve(group), name="live group")
        group.users += 1
        return group

    async def _leave(self, question: Question, group: _Group) -> None:
        group.users -= 1
        if not group.users and self._groups.get(question) is group:
            self._groups.pop(question)
            if not self._groups:
                self._deafen()
            await _stop(group)

    async def _serve(self, group: _Group) -> None:
        """Offer every new event to the members, for ever."""
        while True:
            await group.wake.wait()
            group.wake.clear()
            while group.position < (upto := self._snapshots().seq):
                try:
                    rows = await self._read(group.reader, group.scope, upto, place="live")
                except Exception as error:  # noqa: BLE001 - whatever it is, followers must not wait for ever
                    # The place has not moved, so nothing is lost: the same rows are read again.
                    self._observer.count(LIVE_FAILURES)
                    _log.warning(
                        "followers wait: new events could not be read and will be again", exc_info=error
                    )
                    group.reader.narrow()
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self._offer(group, rows)
            await asyncio.sleep(min(PACE_SECONDS, len(group.members) * MEMBER_SECONDS))

    async def _read(self, reader: Reader, scope: Scope, upto: int, *, place: str) -> list[Row]:
        """Let a reader look, and return what it found as the scope may see it."""
        snapshot = self._snapshots()
        return await self._engine.run(
            lambda cursor: self._shown(reader.read(cursor, snapshot, upto, BATCH_EVENTS), scope), place=place
        )

    def _shown(self, rows: list[Row], scope: Scope) -> list[Row]:
        if not hidden_from(scope):
            return rows
        return list(zip((seq for seq, _ in rows), self._mask.rows([text for _, text in rows]), strict=True))

    def _offer(self, group: _Group, rows: list[Row]) -> None:
        dropped = 0
        for batch in self._cut(rows):
            for follower in group.members:
                dropped += follower.offer(batch)
        group.position = group.reader.position
        for follower in group.members:
            follower.passed(group.position)
        if dropped:
            self._observer.count(LIVE_DROPPED, dropped)

    # Hearing of new rows

    def _hear(self) -> None:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            for group in self._groups.values():
                group.wake.set()

        def heard(_: Snapshot) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(wake)

        self._unlisten = self._listen(heard)

    def _deafen(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None


async def _stop(group: _Group) -> None:
    assert group.task is not None
    group.task.cancel()
    await asyncio.wait({group.task})
