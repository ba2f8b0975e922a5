"""Notices from the kernel that something under the log directories changed: wake-ups, never the truth.

Notices get lost (queue overflows, directories made in a hurry, network file systems), so the tailer looks for itself
as well. Whatever goes wrong here costs at most some latency.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence

import watchfiles
from aiofiles.base import wrap

from daemon import files

STEP_MS = 10  # how often the kernel's notices are collected
DEBOUNCE_MS = 50  # the longest they are collected while more keep coming
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)  # pauses after one failure, two, …

_log = logging.getLogger(__name__)
_identity = wrap(lambda path: (files.stat(path).st_dev, files.stat(path).st_ino))


class Watcher:
    """Calls ``on_change`` with the paths of changed files, on the event loop. Restarts itself."""

    def __init__(
        self,
        roots: Sequence[bytes],
        on_change: Callable[[set[bytes]], None],
        *,
        on_restart: Callable[[], None] = lambda: None,
    ) -> None:
        self._roots = tuple(roots)
        self._on_change = on_change
        self._on_restart = on_restart
        self._rearm = asyncio.Event()
        self._watched: dict[bytes, tuple[int, int]] = {}
        self.trouble = ""  # why there are no notices now

    def seen(self, present: Sequence[tuple[bytes, int, int]]) -> None:
        """Compare what is watched with the roots a listing found; watch anew when one appeared or was replaced."""
        if {path: (device, inode) for path, device, inode in present} != self._watched:
            self._rearm.set()

    def set_roots(self, roots: Sequence[bytes]) -> None:
        """Watch other directories from now on."""
        self._roots = tuple(roots)
        self._rearm.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        failures = 0
        while True:
            self._rearm.clear()
            self._watched = await self._existing()
            try:
                if self._watched:
                    await self._watch()
                    failures = 0
                else:
                    await self._rearm.wait()
                continue
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - the library raises its own errors inside exception groups
                failures += 1
                self.trouble = str(error)
                self._on_restart()
                _log.warning("change notices stopped; files are still looked at in turn", exc_info=error)
            self._on_change(set())  # something may have been missed
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])

    async def _existing(self) -> dict[bytes, tuple[int, int]]:
        found: dict[bytes, tuple[int, int]] = {}
        for root in self._roots:
            try:
                found[root] = await _identity(root)
            except OSError:
                continue  # not there yet: a listing will say when it is
        return found

    async def _watch(self) -> None:
        notices = watchfiles.awatch(
            *(os.fsdecode(root) for root in self._watched),
            watch_filter=None,  # the default one ignores some directories and endings
            step=STEP_MS,
            debounce=DEBOUNCE_MS,
            stop_event=self._rearm,
            recursive=True,
            force_polling=False,  # its polling misses a second append within a second
            ignore_permission_denied=True,
        )
        async for changes in notices:
            self.trouble = ""
            self._on_change({os.fsencode(path) for _, path in changes})
