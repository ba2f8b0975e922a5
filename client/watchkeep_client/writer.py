"""Appending records to the day's file: one ``os.write`` each, safe among threads, processes and forks."""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from watchkeep_client.encoding import encode

# One record; far below what a reader refuses, far above what an event needs.
MAX_RECORD_BYTES = 256 * 1024
# How often to look whether the path still names the file we hold (somebody may have removed or renamed it).
CHECK_SECONDS = 1.0
SECONDS_PER_DAY = 86_400
# Events name people: readable by the service's group, not by everybody.
FILE_MODE = 0o640
FOLDER_MODE = 0o750
SUFFIX = ".jsonl"

_log = logging.getLogger("watchkeep_client")


@dataclass(frozen=True, slots=True)
class WriterStats:
    """What became of this process's records. ``torn`` ones reached the file in part and count as dropped too."""

    written: int
    dropped: int
    torn: int
    last_error: str | None


class Writer:
    """Appends records to ``<directory>/<app>-YYYY-MM-DD.jsonl``, the day being UTC.

    Each record is one ``os.write`` on a file opened with O_APPEND, so processes may share a file without a lock.
    Every record carries ``writerBoot`` (this process's start) and ``writerSeq`` (its count, from 1, including the
    records that could not be written), so that a missing record leaves a hole that can be seen.
    Nothing here raises: a record that cannot be written is counted, and the first of a series is reported to the
    logger ``watchkeep_client``.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        app: str = "events",
        *,
        max_record_bytes: int = MAX_RECORD_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = Path(directory)
        self.app = app
        self._max_record_bytes = max_record_bytes
        self._clock = clock
        self._last_error: str | None = None
        self._lock = threading.RLock()  # re-entrant: a signal handler may log while a record is being written
        self._fd = -1
        self._day = -1
        self._checked = 0.0
        self._broken_line = False
        self._begin_process()
        _writers.add(self)

    @property
    def stats(self) -> WriterStats:
        """Counts since this process began."""
        return WriterStats(self._written, self._dropped, self._torn, self._last_error)

    @property
    def path(self) -> Path:
        """The file a record written now goes to."""
        return self._path_of(int(self._clock() // SECONDS_PER_DAY))

    def append(self, event: Mapping[str, Any]) -> bool:
        """Write one record; return whether the whole of it reached the file. Never raises."""
        try:
            body = encode(event, self._max_record_bytes)
        except Exception as error:  # noqa: BLE001 - whatever the application put in, logging must not break it
            self.drop(f"cannot encode the event: {error!r}")
            return False
        with self._lock:
            try:
                return self._append(body)
            except Exception as error:  # noqa: BLE001 - see above: full disk, missing folder, no permission
                self._drop(f"cannot write to {self.directory}: {error}")
                self._release()
                return False

    def drop(self, reason: str) -> None:
        """Count a record that never got as far as the file."""
        with self._lock:
            self._seq += 1
            self._drop(reason)

    def close(self) -> None:
        """Close the file; the next record opens it again."""
        with self._lock:
            self._release()

    def _append(self, body: bytes) -> bool:
        if os.getpid() != self._pid:
            self._begin_process()
        self._seq += 1
        self._open_for(int(self._clock() // SECONDS_PER_DAY))
        begin = b"\n" if self._broken_line else b""
        comma = b"," if len(body) > len(b"{}") else b""
        stamp = b'"writerBoot":"%s","writerSeq":%d}\n' % (self.boot.encode(), self._seq)
        record = begin + body[:-1] + comma + stamp
        count = os.write(self._fd, record)
        if count == len(record):
            self._broken_line = False
            self._written += 1
            self._reported = False
            return True
        # The rest is not tried again: another process may have appended meanwhile. The next record starts a line
        # of its own, so that one record is lost, not two.
        self._broken_line = self._broken_line if count == 0 else record[:count] != b"\n"
        self._torn += count > len(begin)
        self._drop(f"the disk took {count} of {len(record)} bytes")
        return False

    def _open_for(self, day: int) -> None:
        now = time.monotonic()
        if self._fd >= 0 and day == self._day and now - self._checked < CHECK_SECONDS:
            return
        path = self._path_of(day)
        self._checked = now
        if self._fd >= 0 and day == self._day and _names(path, self._fd):
            return
        self._release()
        self.directory.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        self._day = day
        self._broken_line = _ends_inside_a_line(path)

    def _path_of(self, day: int) -> Path:
        date = time.strftime("%Y-%m-%d", time.gmtime(day * SECONDS_PER_DAY))
        return self.directory / f"{self.app}-{date}{SUFFIX}"

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _begin_process(self) -> None:
        """Start counting as a process of its own: at first use, and in the child after a fork."""
        self._release()
        self._pid = os.getpid()
        self.boot = secrets.token_hex(8)
        self._seq = self._written = self._dropped = self._torn = 0
        self._day = -1
        self._checked = 0.0
        self._broken_line = False
        self._reported = False

    def after_fork(self) -> None:
        """Forget what belongs to the parent process; called in the child."""
        self._lock = threading.RLock()  # the parent's may be held by a thread that does not exist here
        self._begin_process()

    def _drop(self, reason: str) -> None:
        self._dropped += 1
        self._last_error = reason
        if not self._reported:
            self._reported = True
            _log.error(
                "An event was dropped: %s. Further ones are only counted until one is written.", reason
            )


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for writer in list(_writers):
        writer.after_fork()


os.register_at_fork(after_in_child=_reset_after_fork)


def _names(path: Path, fd: int) -> bool:
    """True when ``path`` still names the open file."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def _ends_inside_a_line(path: Path) -> bool:
    """True when the file's last byte is no newline: a writer was stopped in the middle of a record."""
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False  # write-only for us: then the reader meets the torn line, which it counts
