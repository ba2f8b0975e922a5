"""The stages of the pipeline: a thread each, what of them is tried again, and why one does not get on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from storage.errors import ArchiveError, FencedError
from storage.observer import Observer

RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # pauses after one failure, two, …

# What is tried again. Anything else is a mistake of ours: the process ends, and the next one begins from the ledger.
# The parser promises to raise nothing for what a line holds, so whatever it raises has to do with the machine.
_RETRIED: dict[str, tuple[type[Exception], ...]] = {
    "parse": (Exception,),
    "append": (ArchiveError, MemoryError),
    "commit": (ArchiveError, OSError, MemoryError),
}

_log = logging.getLogger(__name__)
T = TypeVar("T")


class GivenUpError(Exception):
    """The daemon stops while a stage fails: its lines are left to the next start."""


class Stages:
    """Runs work in the threads ``read``, ``parse`` and ``commit``. Belongs to the event loop."""

    def __init__(self, observer: Observer) -> None:
        self.trouble: dict[str, str] = {}  # stage → why it does not get on
        self.stopped = asyncio.Event()  # nothing that fails is tried again, and nobody waits
        self.threads = {
            name: ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("read", "parse", "commit")
        }
        self._observer = observer

    def close(self) -> None:
        """End the threads."""
        for thread in self.threads.values():
            thread.shutdown(wait=True)

    async def persistently(self, stage: str, work: Callable[[], T]) -> T:
        """Run a stage in its thread until it succeeds; while it fails, nothing behind it moves."""
        failures = 0
        while True:
            if failures and self.stopped.is_set():
                raise GivenUpError
            try:
                result = await self.run("commit" if stage == "commit" else "parse", work)
            except FencedError:
                raise  # somebody else has the archive: whatever we did would be wrong
            except _RETRIED[stage] as error:
                failures += 1
                self.failed(stage, error)
                await self.pause(RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])
            else:
                if self.trouble.pop(stage, None) is not None:
                    _log.info("the %s stage works again", stage)
                return result

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the daemon runs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopped.wait()

    def failed(self, stage: str, error: Exception) -> None:
        """Say why a stage does not get on: everything of it the first time, then only that it is so still."""
        again = self.trouble.get(stage) == str(error)
        self.trouble[stage] = str(error)
        self._observer.count("pipeline_failures", stage=stage)
        _log.error(
            "the %s stage failed and will be tried again; no line is skipped",
            stage,
            exc_info=None if again else error,
            extra={"stage": stage, "reason": str(error), "hint": getattr(error, "hint", "")},
        )

    async def run(self, thread: str, work: Callable[[], T]) -> T:
        """Run something in a stage's thread, once."""
        return await asyncio.get_running_loop().run_in_executor(self.threads[thread], work)
