"""A test aid: makes single operations on followed files fail, so that every failure can be seen, also in a real daemon.

A plan is a text, its entries separated by semicolons, each ``OPERATION ACTION [PATTERN [FIRST[+COUNT]]]``:

- OPERATION is a name of `OPERATIONS`, or ``*`` for all of them; or ``archive.`` and one of `ARCHIVE_OPERATIONS`, or
  ``archive.*``, for the archive's own files;
- ACTION is the name of an error (``ENOSPC``, ``EIO``, ``EMFILE``, ``ESTALE``, ``EACCES`` …), ``short`` (half of the
  bytes of a read or write, and at least one), ``kill`` (SIGKILL to this process, before the operation), or ``delay=SECONDS``;
- PATTERN is a shell pattern about the whole path (``*`` by default);
- from the FIRST matching operation on (1 by default), for COUNT of them (for good by default).

For example ``pread EIO */app.log 3+2; fdatasync delay=0.5``. The `watchkeep` command takes a plan from the environment
variable WATCHKEEP_FAILPOINTS (`daemon.cli`). Without it this module is never imported.
"""

from __future__ import annotations

import errno
import fnmatch
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import storage.failpoints
from daemon import files

OPERATIONS = (
    "open_file", "close_file", "duplicate", "fdatasync", "fstat", "fsync", "lstat", "pread",
    "readlink", "rename", "scandir", "stat", "unlink",
)  # fmt: skip
ARCHIVE_OPERATIONS = (
    "open", "write", "sync", "read", "truncate", "rewrite", "sync_file", "sync_dir", "mkdir", "rename", "unlink",
    "listdir", "stat", "chmod", "lock",
)  # fmt: skip
ARCHIVE = "archive."
SHORT_WRITE_BYTES = 7  # what a short write of the archive lets through at a time
FOREVER = 1 << 62

_real = {name: getattr(files, name) for name in OPERATIONS}
_lock = threading.Lock()


@dataclass(slots=True)
class Failpoint:
    """One entry of a plan, and how often its operation came by so far."""

    operation: str
    action: str
    pattern: str = "*"
    first: int = 1
    count: int = FOREVER
    hits: int = field(default=0)

    @classmethod
    def parse(cls, text: str) -> Failpoint:
        """Read one entry. Raises ValueError if it is none."""
        operation, action, *rest = text.split()
        known = hasattr(errno, action) or action in {"short", "kill"} or action.startswith("delay=")
        named = {*OPERATIONS, "*", f"{ARCHIVE}*", *(ARCHIVE + name for name in ARCHIVE_OPERATIONS)}
        if operation not in named or not known or len(rest) > 2:
            raise ValueError(f"{text!r} is no failpoint: see daemon.failpoints")
        pattern, when = (rest + ["*", "1"][len(rest) :])[:2]
        first, _, count = when.partition("+")
        return cls(operation, action, pattern, int(first), int(count) if count else FOREVER)

    def concerns(self, operation: str, path: str) -> bool:
        """Count an operation that this is about; returns whether something happens to it."""
        every = f"{ARCHIVE}*" if operation.startswith(ARCHIVE) else "*"
        if self.operation not in {operation, every} or not fnmatch.fnmatchcase(path, self.pattern):
            return False
        self.hits += 1
        return self.first <= self.hits < self.first + self.count


@contextmanager
def planted(plan: str) -> Generator[list[Failpoint]]:
    """Let a plan be in force for a while."""
    points = plant(plan)
    try:
        yield points
    finally:
        remove()


def plant(plan: str) -> list[Failpoint]:
    """Put a plan in force, in place of the one before; returns its entries, which count their hits."""
    points = [Failpoint.parse(text) for text in plan.split(";") if text.strip()]
    remove()
    for name in OPERATIONS:
        if any(point.operation in {name, "*"} for point in points):
            setattr(files, name, _guarded(name, points))
    if any(point.operation.startswith(ARCHIVE) for point in points):
        storage.failpoints.plant(functools.partial(_archive_reached, points))
    return points


def remove() -> None:
    """Let every operation be the system's own again."""
    storage.failpoints.plant(None)
    for name, function in _real.items():
        setattr(files, name, function)


def _due(points: list[Failpoint], operation: str, path: str) -> list[str]:
    with _lock:
        return [point.action for point in points if point.concerns(operation, path)]


def _act(action: str, path: str) -> None:
    """Kill, wait or fail."""
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action.startswith("delay="):
        time.sleep(float(action.removeprefix("delay=")))
    else:
        number = getattr(errno, action)
        raise OSError(number, os.strerror(number), path)


def _archive_reached(points: list[Failpoint], operation: str, path: str) -> int | None:
    most = None
    for action in _due(points, ARCHIVE + operation, path):
        if action == "short":
            most = SHORT_WRITE_BYTES
        else:
            _act(action, path)
    return most


def _guarded(name: str, points: list[Failpoint]) -> Callable[..., Any]:
    real = _real[name]

    @functools.wraps(real)
    def guarded(target: Any, *rest: Any, **named: Any) -> Any:
        path = _path(target)
        for action in _due(points, name, path):
            if action == "short":
                rest = (max(1, rest[0] // 2), *rest[1:])  # pread's length
            else:
                _act(action, path)
        return real(target, *rest, **named)

    return guarded


def _path(target: Any) -> str:
    """Return the path of a descriptor or of a path."""
    if isinstance(target, int):
        try:
            return os.readlink(f"/proc/self/fd/{target}").removesuffix(" (deleted)")
        except OSError:
            return ""
    return os.fsdecode(target)
