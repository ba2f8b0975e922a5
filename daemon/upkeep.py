"""What the archive needs from time to time: folding, sealing, publishing, collecting, measuring.

Upkeep decides when; `storage` knows how. A step that fails is tried again at the next tick, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from daemon.space import free_bytes
from daemon.steps import Steps
from storage.archive import Archive
from storage.courtesy import stand_back
from storage.observer import Observer
from storage.snapshot import File

TICK_SECONDS = 0.5
PUBLISH_SECONDS = 1.0  # least time between two view files; readers are promised two seconds
COLLECT_SECONDS = 60.0
MEASURE_SECONDS = 10.0
RETRY_SECONDS = 10.0  # a failed step waits this long

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Upkeep:
    """Runs the steps in a thread of its own, one at a time."""

    def __init__(
        self,
        archive: Archive,
        observer: Observer,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.disk_free_bytes = 0
        self._archive = archive
        self._observer = observer
        self._clock = clock
        self._wall = wall
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upkeep", initializer=stand_back)
        now = clock()
        self._due = {
            "publish": now,
            "collect": now + COLLECT_SECONDS,
            "measure": now,
            "fold": now,
            "seal": now,
        }
        self._published = (-1, -1)  # commit and view_seq when the view files were last written
        self._late_slot: int | None = None  # the interval in which late rows were last looked at

    async def run(self) -> None:
        """Run what is due until cancelled."""
        steps = Steps(
            {
                "publish": self._publish,
                "fold": self._fold,
                "seal": self._seal,
                "collect": self._collect,
                "measure": self._measure,
            },
            self._due,
            self._observer,
            self._clock,
            tick_seconds=TICK_SECONDS,
            retry_seconds=RETRY_SECONDS,
        )
        await steps.run()

    async def publish(self) -> None:
        """Write the view files now."""
        await self._timed("publish_seconds", self._archive.publish)
        snapshot = self._archive.snapshot
        self._published = (snapshot.commit, snapshot.view_seq)

    async def seal(self) -> int:
        """Commit and seal now; returns how many files were sealed."""
        files = await self._in_thread(self._archive.seal)
        await self.publish()
        await self._measure()
        return files

    async def _publish(self) -> None:
        if self._archive.snapshot.commit != self._published[0]:
            await self.publish()
            self._due["publish"] = self._clock() + PUBLISH_SECONDS

    async def _fold(self) -> None:
        snapshot = self._archive.snapshot
        most = max(len(self._fresh(snapshot.events)), len(self._fresh(snapshot.rejects)))
        if most > self._archive.options.fold_files:
            await self._timed("fold_seconds", self._archive.fold)

    async def _seal(self) -> None:
        """Seal a step when an interval ended with something to seal, or when there is enough for a file.

        Intervals are those of the clock (with 3600 s: its hours), so that restarts neither delay a seal nor add one.
        A clock that jumps makes one more.
        """
        options, snapshot = self._archive.options, self._archive.snapshot
        fresh = [*self._fresh(snapshot.events), *self._fresh(snapshot.rejects)]
        slot = self._slot(self._wall())
        ended = fresh and slot != self._slot(self._archive.state.unsealed_since_us / 1e6)
        enough = sum(file.bytes for file in fresh) >= options.seal_bytes
        late = slot != self._late_slot and any(file.late and file.day is None for file in snapshot.events)
        if ended or enough or late:
            now_us = int(self._wall() * 1e6)
            made = await self._in_thread(lambda: self._archive.seal_due(now_us))
            if not enough:
                self._late_slot = slot
            if made:
                await self.publish()

    def _slot(self, seconds: float) -> int:
        return int(seconds // self._archive.options.seal_seconds)

    def _fresh(self, files: Sequence[File]) -> list[File]:
        """Return this node's live files, those of late rows apart."""
        node = self._archive.options.node
        return [file for file in files if file.day is None and file.node == node and not file.late]

    async def _collect(self) -> None:
        self._due["collect"] = self._clock() + COLLECT_SECONDS
        await self._in_thread(self._archive.collect)

    async def _measure(self) -> None:
        self._due["measure"] = self._clock() + MEASURE_SECONDS
        self.disk_free_bytes = await self._in_thread(self._free)
        self._observer.gauge("disk_free_bytes", self.disk_free_bytes)
        snapshot = self._archive.snapshot
        for kind, files in (
            ("events", snapshot.events),
            ("rejects", snapshot.rejects),
            ("rollup", snapshot.rollups),
        ):
            for state, chosen in (
                ("live", [f for f in files if f.day is None]),
                ("sealed", [f for f in files if f.day is not None]),
            ):
                self._observer.gauge("archive_bytes", sum(f.bytes for f in chosen), kind=kind, state=state)
                self._observer.gauge("archive_files", len(chosen), kind=kind, state=state)
            self._observer.gauge("archive_rows", sum(f.rows for f in files), kind=kind)
        waiting = sum(file.rows for file in snapshot.events if file.late and file.day is None)
        self._observer.gauge("late_rows", waiting)
        self._observer.gauge("last_commit_timestamp_seconds", self._archive.state.last_commit_us / 1e6)

    def _free(self) -> int:
        return free_bytes(self._archive.options.path)

    async def _timed(self, name: str, work: Callable[[], T]) -> T:
        started = time.monotonic()
        result = await self._in_thread(work)
        self._observer.seconds(name, time.monotonic() - started)
        return result

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        """Wait for the step under way."""
        self._thread.shutdown(wait=True)
