"""One follower of new events: what it wants, what it has not taken yet, and what it lost for being slow.

A batch is made once and shared by all who get it. The queue is bounded in events and bytes; what does not fit is
counted, and said where it would have stood. Everything here happens on the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from storage.epochs import Place, Reset
from storage.onward import Row


class Batch:
    """Some events, rising in seq, with the epoch of the run that shows them. At least one."""

    __slots__ = ("_framed", "bytes", "epoch", "rows")

    def __init__(self, epoch: int, rows: Sequence[Row]) -> None:
        self.epoch = epoch
        self.rows = rows
        self.bytes = sum(len(text) for _, text in rows)  # about: in characters
        self._framed: dict[Callable[[Batch], bytes], bytes] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def first(self) -> int:
        """The lowest seq."""
        return self.rows[0][0]

    @property
    def last(self) -> int:
        """The highest seq."""
        return self.rows[-1][0]

    def head(self, count: int) -> Batch:
        """Return the first ``count`` events."""
        return self if count >= len(self.rows) else Batch(self.epoch, self.rows[:count])

    def framed(self, frame: Callable[[Batch], bytes]) -> bytes:
        """Return ``frame(self)``, computed once however many followers share the batch."""
        made = self._framed.get(frame)
        if made is None:
            made = self._framed[frame] = frame(self)
        return made


def batches(epoch: int, rows: Sequence[Row], *, events: int, size: int) -> Iterator[Batch]:
    """Cut rows into batches of at most so many events and about so many bytes."""
    begin = held = 0
    for place, (_, text) in enumerate(rows):
        if place > begin and (place - begin >= events or held + len(text) > size):
            yield Batch(epoch, rows[begin:place])
            begin, held = place, 0
        held += len(text)
    if begin < len(rows):
        yield Batch(epoch, rows[begin:])


@dataclass(frozen=True, slots=True)
class Dropped:
    """Events that the follower will not get because it was slow: how many, their first and last place.

    Who goes on behind ``before`` gets them from the archive.
    """

    count: int
    first: Place
    last: Place
    before: Place


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing came for a while; everything up to ``place`` was given."""

    place: Place


Item = Batch | Dropped | Idle | Reset


class Subscription:
    """The queue between the hub and one follower."""

    def __init__(self, *, events: int, size: int) -> None:
        self.position = 0  # everything up to this seq was given, queued or counted as dropped
        self._most_events = events
        self._most_bytes = size
        self._queue: deque[Batch | Dropped] = deque()
        self._events = 0
        self._bytes = 0
        self._given = 0  # the last seq that was queued, for `Dropped.before`
        self._lost: Dropped | None = None  # what did not fit since the last thing that did
        self._ready = asyncio.Event()
        self.closed = False

    @property
    def drained(self) -> bool:
        """Whether everything up to ``position`` was taken."""
        return not self._queue and self._lost is None

    def begin(self, position: int) -> None:
        """Take what is above ``position`` from now on."""
        self.position = self._given = position

    def offer(self, batch: Batch) -> int:
        """Queue what is new of a batch, or count it as dropped; return how many events were dropped."""
        if batch.last <= self.position:
            return 0
        if batch.first <= self.position:
            batch = Batch(batch.epoch, [row for row in batch.rows if row[0] > self.position])
        self.position = batch.last
        self._ready.set()
        if not self._fits(batch):
            self._lose(batch)
            return len(batch)
        if self._lost is not None:
            self._queue.append(self._lost)
            self._lost = None
        self._queue.append(batch)
        self._given = batch.last
        self._events += len(batch)
        self._bytes += batch.bytes
        return 0

    def passed(self, position: int) -> None:
        """Note that nothing else up to ``position`` is for this follower."""
        self.position = max(self.position, position)

    def close(self) -> None:
        """Let the follower take what is queued, and then end."""
        self.closed = True
        self._ready.set()

    async def next(self, seconds: float) -> Batch | Dropped | None:
        """Return what comes next; None when it is closed, or when nothing came for so long."""
        if self.drained and not self.closed:
            self._ready.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ready.wait()
        if self._queue:
            item = self._queue.popleft()
            if isinstance(item, Batch):
                self._events -= len(item)
                self._bytes -= item.bytes
            return item
        lost, self._lost = self._lost, None
        return lost

    def _fits(self, batch: Batch) -> bool:
        """One batch always fits into an empty queue, however large its events are."""
        return not self._events or (
            self._events + len(batch) <= self._most_events and self._bytes + batch.bytes <= self._most_bytes
        )

    def _lose(self, batch: Batch) -> None:
        first, last = Place(batch.epoch, batch.first), Place(batch.epoch, batch.last)
        if self._lost is None:
            self._lost = Dropped(len(batch), first, last, Place(batch.epoch, self._given))
        else:
            self._lost = Dropped(self._lost.count + len(batch), self._lost.first, last, self._lost.before)
