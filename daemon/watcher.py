"""Notices from the kernel that something under the log directories changed: wake-ups, never the truth.

Notices get lost (queue overflows, directories made in a hurry, network file systems), so the tailer looks for itself
as well. Whatever goes wrong here costs at most some latency, and is said in ``trouble`` and ``polled``.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import watchfiles
from aiofiles.base import wrap

from daemon import files
from daemon.descriptors import watches
from daemon.discovery import Watchable

STEP_MS = 10  # how often the kernel's notices are collected
DEBOUNCE_MS = 50  # the longest they are collected while more keep coming
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # pauses after one failure, two, …
COUNT_SECONDS = 10.0  # how often the watches that exist are compared with the folders there are
SETTLE_SECONDS = 1.0  # after so long a new folder has its watch, or gets none
RENEW_SECONDS = 300.0  # missing watches are asked for anew at most this often: meanwhile notices are lost

_log = logging.getLogger(__name__)


class Watcher:
    """Calls ``on_change`` with the paths of changed files, on the event loop; with none when some may be missing.

    `seen` says what there is to watch. It restarts itself.
    """

    def __init__(
        self, on_change: Callable[[set[bytes]], None], *, on_restart: Callable[[], None] = lambda: None
    ) -> None:
        self._on_change = on_change
        self._on_restart = on_restart
        self._rearm = asyncio.Event()
        self._wanted: frozenset[Watchable] = frozenset()
        self._folders = 0
        self._recount = asyncio.Event()  # there are more folders, or fewer
        self._shallow = False  # there are not enough watches: only the directories themselves have one
        self._renew_after = 0.0
        self.polled: dict[str, str] = {}  # directories without notices, and why
        self.trouble = ""  # what is wrong with notices now

    def seen(
        self, present: Sequence[Watchable], unwatchable: Mapping[bytes, str] | None = None, folders: int = 0
    ) -> None:
        """Take what a listing found: directories, why some give no notices, and how many folders the others hold."""
        reasons = unwatchable or {}
        self.polled = {files.spelled(path): reason for path, reason in reasons.items()}
        if folders != self._folders:
            self._folders = folders
            self._recount.set()
        wanted = frozenset(root for root in present if root.path not in reasons)
        if wanted != self._wanted:
            self._wanted = wanted
            self._shallow = False
            self._rearm.set()

    def watches(self, root: bytes) -> bool:
        """Return whether notices about a directory are wanted and may be had."""
        return any(wanted.path == root for wanted in self._wanted)

    async def run(self) -> None:
        """Watch until cancelled."""
        failures = 0
        while True:
            self._rearm.clear()
            watched = self._wanted
            try:
                if watched:
                    await self._watch(watched)
                else:
                    self.trouble = ""
                    await self._rearm.wait()
                failures = 0
            except Exception as error:  # noqa: BLE001 - the library raises its own errors inside exception groups
                reason = _innermost(error)
                if _is_limit(reason) and not self._shallow:
                    self._shallow = True  # better some notices than none
                    failures = 0
                else:
                    failures += 1
                if self.trouble != str(reason):
                    _log.warning("change notices stopped; files are still looked at in turn", exc_info=error)
                self.trouble = str(reason)
                self._on_restart()
                self._on_change(set())  # something may have been missed
                if failures:
                    await self._pause(RETRY_SECONDS[min(failures, len(RETRY_SECONDS)) - 1])

    async def _pause(self, seconds: float) -> None:
        """Wait, but not once there is something else to watch: what gave the trouble may be left out now."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rearm.wait()

    async def _watch(self, watched: frozenset[Watchable]) -> None:
        """Watch some directories until others are wanted."""
        async with asyncio.TaskGroup() as group:
            for deep in (True, False):
                roots = [root for root in watched if (root.deep and not self._shallow) is deep]
                if roots:
                    group.create_task(self._watch_alike(roots, deep=deep))
            group.create_task(self._count_watches())
            self._on_change(set())  # nobody told what happened until now

    async def _watch_alike(self, roots: Sequence[Watchable], *, deep: bool) -> None:
        notices = watchfiles.awatch(
            *(os.fsdecode(root.path) for root in roots),
            watch_filter=None,  # the default one ignores some directories and endings
            step=STEP_MS,
            debounce=DEBOUNCE_MS,
            stop_event=self._rearm,
            recursive=deep,
            force_polling=False,  # its polling misses a second append within a second
            ignore_permission_denied=True,
        )
        own = {root.path for root in roots}
        async for changes in notices:
            paths = {os.fsencode(path) for _, path in changes}
            if any(
                change is watchfiles.Change.deleted for change, path in changes if os.fsencode(path) in own
            ):
                # A directory made anew may have the same inode number, so that no listing sees the difference.
                self._wanted = frozenset(root for root in self._wanted if root.path not in paths)
                self._rearm.set()
                paths = set()
            self._on_change(paths)

    async def _count_watches(self) -> None:
        """Compare the watches that exist with the folders there are; a new folder may have got none."""
        short = 0
        while not self._rearm.is_set():
            await self._until_recount(SETTLE_SECONDS if short == 1 else COUNT_SECONDS)
            missing = self._folders - await _count()
            if self._shallow:
                self.trouble = (
                    f"the kernel's limit of watches is reached: {missing} folders have none ({_LIMIT_HINT})"
                )
                self._renew(self.trouble)
                continue
            short = short + 1 if missing > 0 else 0
            if short == 0:
                self.trouble = ""
            elif short > 1:  # not just made
                self.trouble = f"{missing} of {self._folders} folders have no watch ({_LIMIT_HINT})"
                self._renew(self.trouble)

    async def _until_recount(self, seconds: float) -> None:
        """Wait; less if there are other folders than there were, whose watches are set within moments."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                rearmed = asyncio.ensure_future(self._rearm.wait())
                recount = asyncio.ensure_future(self._recount.wait())
                try:
                    await asyncio.wait((rearmed, recount), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    rearmed.cancel()
                    recount.cancel()
        if self._recount.is_set():
            self._recount.clear()
            await self._pause(SETTLE_SECONDS)

    def _renew(self, reason: str) -> None:
        """Ask for all watches again, now and then: the limit may have been raised."""
        now = asyncio.get_running_loop().time()
        if now >= self._renew_after:
            if self._renew_after:
                self._shallow = False
                self._rearm.set()
            else:
                _log.warning("some folders give no notices; their files are looked at in turn: %s", reason)
            self._renew_after = now + RENEW_SECONDS


_LIMIT_HINT = "sysctl fs.inotify.max_user_watches"


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_limit(error: BaseException) -> bool:
    return isinstance(error, OSError) and (error.errno == errno.ENOSPC or "limit" in str(error))


_count = wrap(watches)
