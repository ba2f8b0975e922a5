"""Lines on their way from files into the archive: read, parse, make visible, commit. Each stage has its own thread.

Backpressure is not reading: the queue is bounded in bytes, and what was not read waits in its file. A stage that fails
is tried again, loudly, with the same lines; nothing is skipped.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from aiofiles.base import wrap

from daemon.notes import Note
from daemon.queue import BATCH_LINES, ReadingQueue
from daemon.reading import Reading, Turn
from daemon.scoring import Scorer
from daemon.space import SPACE_SECONDS, Floor
from daemon.stages import RETRY_SECONDS, GivenUpError, Stages
from daemon.tailer import Tailer
from parsers.batch import Chunk, Counts, Parsed
from storage.archive import Archive
from storage.errors import ArchiveError, CommitError, FencedError
from storage.freeing import give_back
from storage.observer import Observer

QUEUE_BYTES = 64 << 20
PACE_SECONDS = 0.02  # small batches are not parsed more often than this: a batch has a fixed cost
PACE_MOST_SECONDS = (
    0.04  # nor do they take more than half of a core, unless that would cost more latency than this
)
PACE_LINES = 1000  # larger ones are not slowed down
HOT_COMMITS = 1.5  # reading pauses when hot rows take so many times the size of a commit
TRIM_ROWS = 8_192  # of a batch whose parsing took so much memory that it is given back before the next one
DRAIN_SECONDS = 2.0  # how long stopping waits for what was read already; the rest is read at the next start
_MICROSECONDS = 1_000_000

T = TypeVar("T")


class Parser(Protocol):
    """What turns chunks into rows; blocking, one call at a time."""

    def parse(self, chunks: Sequence[Chunk]) -> Parsed:
        """Return what became of every line."""
        ...


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """Sizes in bytes, times in seconds."""

    queue_bytes: int = QUEUE_BYTES
    commit_bytes: int = 32 << 20
    commit_seconds: float = 5.0


@dataclass(slots=True)
class Visible:
    """How far a source answers queries, and its newest event."""

    end: int = 0
    counts: Counts = field(default_factory=Counts)  # since this process began
    last_event_us: int | None = None


class Pipeline:
    """Moves lines from a tailer through a parser into an archive. Its methods belong to the event loop."""

    def __init__(
        self,
        options: PipelineOptions,
        tailer: Tailer,
        parser: Parser,
        archive: Archive,
        observer: Observer,
        *,
        on_notes: Callable[[list[Note]], Awaitable[None]],
        on_turn: Callable[[], None] = lambda: None,
        on_commit: Callable[[], Awaitable[None]] | None = None,
        floor: Floor | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        self.queue = ReadingQueue(options.queue_bytes)
        self.visible: dict[str, Visible] = {}
        self._stages = Stages(observer)
        self.trouble = self._stages.trouble  # stage → why it does not get on
        self.progress = 0.0  # monotonic, when the reader last completed a turn
        self._options = options
        self._tailer = tailer
        self._parser = parser
        self._archive = archive
        self._observer = observer
        self._on_notes = on_notes
        self._on_turn = on_turn
        self._on_commit = on_commit
        self._floor = floor
        self._scorer = scorer
        self._read_us = 0  # when the batch at hand was read, microseconds since 1970
        self._untold: deque[Note] = deque()  # what the disk did not let us tell yet
        self._tell_due = 0.0
        self._wake = asyncio.Event()
        self._touched: set[bytes] = set()
        self._rescan = False
        self._caught_up = asyncio.Event()
        self._asked_caught_up = self._answer_caught_up = False
        self._dirty = asyncio.Event()  # something is visible and not committed
        self._dirty_since = 0.0
        self._commit_wanted = asyncio.Event()
        self._urgent_at = 0  # commit once so many readings are visible
        self._drained = asyncio.Event()
        self._turn = wrap(tailer.turn)

    @property
    def _stopping(self) -> bool:
        return self._stages.stopped.is_set()

    # From outside

    def touch(self, paths: set[bytes]) -> None:
        """Note that something was noticed about some paths; none at all asks for a look at everything."""
        if paths:
            self._touched |= paths
        else:
            self._rescan = True
        self._wake.set()

    async def run(self) -> None:
        """Move lines until `stop` was called and everything read is committed."""
        self.progress = time.monotonic()
        async with asyncio.TaskGroup() as group:
            commits = group.create_task(self._commit_when_due(), name="commits")
            group.create_task(self._read(), name="reader")
            with suppress(GivenUpError):
                await self._work()
            self.queue.end()  # only what could not be made visible is still in it
            commits.cancel()  # `stop` makes the last commit
        self._drained.set()

    async def stop(self) -> None:
        """Read nothing more, make visible what was read, commit it. Returns within a few seconds.

        If the last commit fails, its lines are read again at the next start.
        """
        self._stages.stopped.set()
        self._wake.set()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._drained.wait()
        except TimeoutError:
            self.queue.close(discard=True)
            await self._drained.wait()
        await self._stages.run("commit", self._commit_once)

    def close(self) -> None:
        """End the threads."""
        self._stages.close()

    async def in_reader(self, work: Callable[[], T]) -> T:
        """Run something in the thread that the tailer belongs to."""
        return await self._stages.run("read", work)

    async def caught_up(self) -> None:
        """Return when everything the files hold now is visible. CommitError while reading pauses."""
        if "read" in self.trouble:
            raise CommitError(self.trouble["read"], retry=True)
        self._caught_up.clear()
        self._asked_caught_up = self._rescan = True
        self._wake.set()
        await self._caught_up.wait()

    async def put(self, readings: Sequence[Reading]) -> None:
        """Add readings that do not come from the tailer (a file given for import); waits for room."""
        await self.queue.wait_for_room()
        self.queue.put(readings)

    async def commit(self) -> None:
        """Commit what is visible now; raises what the archive raises."""
        await self._stages.run("commit", self._commit_once)
        await self._committed()

    # Reading

    async def _read(self) -> None:
        try:
            while True:
                await self.queue.wait_for_room()
                await self._wait_for_space()
                turn = await self._take_turn()
                if self._stopping and (not turn.more or self.queue.ended):
                    return
                if not turn.more:
                    await self._rest(turn)
        finally:
            self.queue.close()

    async def _take_turn(self) -> Turn:
        self._wake.clear()
        touched, self._touched = self._touched, set()
        rescan, self._rescan = self._rescan, False
        turn: Turn = await self._turn(
            touched,
            room=self.queue.room,
            rescan=rescan,
            closing=self._stopping,
            executor=self._stages.threads["read"],
        )
        self.queue.put(turn.readings)
        self._observer.count("read_bytes", sum(r.chunk.end - r.chunk.start for r in turn.readings))
        self._observer.gauge("queue_bytes", self.queue.bytes)
        self.progress = time.monotonic()
        # Before the commit they may ask for: what is at risk is in the ledger then.
        await self._tell(turn.notes)
        if turn.urgent:
            self._urgent_at = self.queue.put_count
            self._commit_if_urgent()
        if isinstance(turn.trouble, FencedError):
            raise turn.trouble
        if turn.trouble:
            self._stages.failed("register", turn.trouble)
        else:
            self.trouble.pop("register", None)
        self._on_turn()
        if self._asked_caught_up and rescan:
            self._asked_caught_up, self._answer_caught_up = False, True
        if self._answer_caught_up and not turn.more:
            self._answer_caught_up = False
            await self.queue.wait_until_done()
            self._caught_up.set()
        return turn

    async def _tell(self, notes: Sequence[Note]) -> None:
        """Make notes known in their order. What the disk refuses waits and is tried again; reading goes on."""
        self._untold.extend(notes)
        while self._untold and time.monotonic() >= self._tell_due:
            try:
                await self._on_notes([self._untold[0]])
            except FencedError:
                raise
            except (ArchiveError, OSError) as error:
                self._tell_due = time.monotonic() + RETRY_SECONDS[1]
                self._stages.failed("note", error)
                return
            self._untold.popleft()
            self.trouble.pop("note", None)

    async def _wait_for_space(self) -> None:
        """Pause while the disk is nearly full: what is read could not be committed, and stays in its file."""
        while self._floor is not None and self._floor.due and not self._stopping:
            await self._floor.seen(await self.in_reader(self._floor.free))
            if not self._floor.reason:
                self.trouble.pop("read", None)
                return
            self.trouble["read"] = self._floor.reason
            self.progress = time.monotonic()  # a pause is no hang
            await self._stages.pause(SPACE_SECONDS)

    async def _rest(self, turn: Turn) -> None:
        """Wait until something was noticed or is due."""
        if turn.trouble:
            await self._stages.pause(RETRY_SECONDS[1])
        with suppress(TimeoutError):
            async with asyncio.timeout(max(turn.wait, PACE_SECONDS)):
                await self._wake.wait()

    # Parsing, making visible

    async def _work(self) -> None:
        lines = BATCH_LINES
        while batch := await self.queue.take(lines=lines):
            started = time.monotonic()
            await self._wait_for_commit_if_full()
            chunks = [reading.chunk for reading in batch]
            parsed = await self._stages.persistently("parse", partial(self._parse, chunks))
            await self._stages.persistently("append", partial(self._append, parsed, chunks))
            self._appended(batch, parsed)
            if self._scorer is not None:
                await self._stages.run("parse", self._scorer.appended)
            spent = time.monotonic() - started
            if sum(parsed.counts, Counts()).lines < PACE_LINES and not self._stopping:
                await asyncio.sleep(min(PACE_MOST_SECONDS, max(PACE_SECONDS - spent, spent)))

    def _parse(self, chunks: Sequence[Chunk]) -> Parsed:
        started = time.monotonic()
        parsed = self._parser.parse(chunks)
        self._observer.seconds("parse_seconds", time.monotonic() - started)
        self._read_us = time.time_ns() // 1000
        # Last, because what is scored is learned: a batch that is parsed again must not be learned twice.
        return parsed if self._scorer is None else self._scorer.score(parsed, self._read_us)

    def _append(self, parsed: Parsed, chunks: Sequence[Chunk]) -> None:
        started = time.monotonic()
        self._archive.append(parsed, chunks, now_us=self._read_us)
        self._observer.seconds("append_seconds", time.monotonic() - started)
        if parsed.events.num_rows >= TRIM_ROWS:
            give_back()

    async def _wait_for_commit_if_full(self) -> None:
        while self._archive.hot_bytes() > HOT_COMMITS * self._options.commit_bytes and not self._stopping:
            self._commit_wanted.set()
            await asyncio.sleep(PACE_SECONDS)

    def _appended(self, batch: Sequence[Reading], parsed: Parsed) -> None:
        now = time.time_ns() // 1000
        self.queue.done(batch)
        newest = _newest_events(parsed)
        for reading, counts in zip(batch, parsed.counts, strict=True):
            sid = reading.chunk.source.sid
            visible = self.visible.setdefault(sid, Visible())
            visible.end = reading.chunk.end
            visible.counts += counts
            visible.last_event_us = newest.get(sid, visible.last_event_us)
            if reading.written_us:
                self._observer.seconds("visible_seconds", max(0, now - reading.written_us) / _MICROSECONDS)
        self._count(parsed)
        if not self._dirty.is_set():
            self._dirty_since = time.monotonic()
            self._dirty.set()
        hot_bytes = self._archive.hot_bytes()
        self._observer.gauge("hot_bytes", hot_bytes)
        self._observer.gauge("queue_bytes", self.queue.bytes)
        if hot_bytes >= self._options.commit_bytes:
            self._commit_wanted.set()
        self._commit_if_urgent()

    def _count(self, parsed: Parsed) -> None:
        total = sum(parsed.counts, Counts())
        for result in ("events", "rejects", "blanks", "oversize", "nul", "torn"):
            if amount := getattr(total, result):
                self._observer.count("lines", amount, result=result)
        for rule, hits in parsed.redactions.items():
            self._observer.count("redactions", hits, rule=rule)
        if parsed.rejects.num_rows:
            reasons = parsed.rejects["reason"].to_pylist()
            for reason, amount in Counter(_family(str(reason)) for reason in reasons).items():
                self._observer.count("rejected_lines", amount, reason=reason)

    # Committing

    def _commit_if_urgent(self) -> None:
        if self._urgent_at and self.queue.done_count >= self._urgent_at:
            self._urgent_at = 0
            self._commit_wanted.set()

    async def _commit_when_due(self) -> None:
        while True:
            await self._dirty.wait()
            due = self._dirty_since + self._options.commit_seconds
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._commit_wanted.wait()
            self._commit_wanted.clear()
            self._dirty.clear()
            with suppress(GivenUpError):
                await self._stages.persistently("commit", self._commit_once)
                await self._committed()

    async def _committed(self) -> None:
        if self._on_commit is not None:
            await self._on_commit()

    def _commit_once(self) -> None:
        self._archive.commit(sync_sources=self._tailer.sync)
        give_back()  # what a commit needed is several times what the rows of the next one take


def _newest_events(parsed: Parsed) -> dict[str, int]:
    """Return the time of each source's newest event, in microseconds since 1970."""
    if not parsed.events.num_rows:
        return {}
    table = parsed.events.select(["source", "timestamp"])
    newest = table.group_by("source").aggregate([("timestamp", "max")])
    return {
        row["source"]: int(row["timestamp_max"].timestamp() * _MICROSECONDS) for row in newest.to_pylist()
    }


def _family(reason: str) -> str:
    """Return a reason without its particulars: a label has few values."""
    return reason.split(":", 1)[0][:60]
