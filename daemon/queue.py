"""What was read and is not visible yet: a queue bounded in bytes, with a lane for live files.

Lines of a live file overtake the backlog of others, never earlier lines of their own file.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence

from daemon.reading import Reading

BATCH_LINES = 16_384  # of 50,000 parsing costs a tenth less per line, and three times the memory
BATCH_BYTES = 40 << 20
READING_OVERHEAD_BYTES = 1024  # a chunk without data is not free either


def cost(reading: Reading) -> int:
    """Return the memory a reading is counted with, in bytes."""
    return len(reading.chunk.data) + READING_OVERHEAD_BYTES


class ReadingQueue:
    """Belongs to the event loop's thread. What was taken counts as queued until `done`."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit = limit_bytes
        self.bytes = 0
        self.put_count = 0  # readings ever put in
        self.done_count = 0
        self._live: deque[Reading] = deque()
        self._behind: deque[Reading] = deque()
        self._behind_by_sid: Counter[str] = Counter()
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()  # everything put in is done
        self._idle.set()
        self.closed = False
        self.ended = False  # nobody takes anything any more

    @property
    def room(self) -> int:
        """Return how many bytes may be read now."""
        return max(0, self.limit - self.bytes)

    @property
    def waiting(self) -> int:
        """Return how many readings nobody has taken."""
        return len(self._live) + len(self._behind)

    async def wait_for_room(self) -> None:
        """Return when the queue is below its limit."""
        await self._room.wait()

    async def wait_until_done(self) -> None:
        """Return when everything put in is visible."""
        await self._idle.wait()

    def put(self, readings: Sequence[Reading]) -> None:
        """Add readings, in the order in which they were read."""
        if self.ended:
            return  # what is not archived is read again, or told of, at the next start
        for reading in readings:
            sid = reading.chunk.source.sid
            if reading.live and not self._behind_by_sid[sid]:
                self._live.append(reading)
            else:
                self._behind.append(reading)
                self._behind_by_sid[sid] += 1
            self.bytes += cost(reading)
        self.put_count += len(readings)
        if readings:
            self._filled.set()
            self._idle.clear()
        if self.bytes >= self.limit:
            self._room.clear()

    async def take(self, *, lines: int = BATCH_LINES) -> list[Reading]:
        """Wait for readings and return a batch, live ones first; an empty one once the queue is closed and empty."""
        while not self.waiting and not self.closed:
            self._filled.clear()
            await self._filled.wait()
        batch: list[Reading] = []
        size = count = 0
        for lane in (self._live, self._behind):
            while lane and (not batch or (count + lane[0].lines <= lines and size < BATCH_BYTES)):
                reading = lane.popleft()
                if lane is self._behind:
                    self._behind_by_sid[reading.chunk.source.sid] -= 1
                batch.append(reading)
                count += reading.lines
                size += len(reading.chunk.data)
        self._behind_by_sid += Counter()  # drops zeros
        return batch

    def done(self, batch: Sequence[Reading]) -> None:
        """Note that a batch is visible: its memory is free."""
        self.bytes -= sum(cost(reading) for reading in batch)
        self.done_count += len(batch)
        self._eased()

    def _eased(self) -> None:
        if self.bytes < self.limit:
            self._room.set()
        if self.done_count == self.put_count:
            self._idle.set()

    def close(self, *, discard: bool = False) -> None:
        """Let `take` end when the queue is empty; ``discard`` empties it (the lines are still in their files)."""
        self.closed = True
        if discard:
            for lane in (self._live, self._behind):
                self.bytes -= sum(cost(reading) for reading in lane)
                self.put_count -= len(lane)
                lane.clear()
            self._eased()
        self._filled.set()

    def end(self) -> None:
        """Discard what is left: nobody takes it, and who waits for room must not wait for ever."""
        self.ended = True
        self.close(discard=True)
        self._room.set()
