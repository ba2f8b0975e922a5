"""The floor under the archive's disk: whether there is room for what would be read, looked at once a second."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable

from storage.observer import Observer

SPACE_SECONDS = 1.0  # how often is looked how much of the disk is free

_log = logging.getLogger(__name__)


def free_bytes(path: str) -> int:
    """Return how many bytes we may still write where ``path`` lies. Blocks."""
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize


class Floor:
    """Knows whether reading has to pause, and tells when that changes. ``least`` bytes must be free; 0 never pauses."""

    def __init__(
        self, path: str, least: int, observer: Observer, *, on_pause: Callable[[str], Awaitable[None]]
    ) -> None:
        self.reason = ""  # why reading pauses; empty while it does not
        self._path = path
        self._least = least
        self._observer = observer
        self._on_pause = on_pause
        self._due = 0.0

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        return self._least > 0 and time.monotonic() >= self._due

    def free(self) -> int:
        """Look. Blocks."""
        return free_bytes(self._path)

    async def seen(self, free: int) -> None:
        """Note how much is free."""
        self._due = time.monotonic() + SPACE_SECONDS
        before = self.reason
        self.reason = ""
        if free < self._least:
            self.reason = (
                f"reading pauses until {self._least} bytes are free where the archive lies; {free} are"
            )
        if bool(before) == bool(self.reason):
            return
        self._observer.gauge("reading_paused", 1 if self.reason else 0)
        if self.reason:
            _log.error("the disk is nearly full", extra={"free_bytes": free, "least_bytes": self._least})
            await self._on_pause(self.reason)
        else:
            _log.info("reading goes on", extra={"free_bytes": free})
