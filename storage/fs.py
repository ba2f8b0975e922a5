"""Every durable operation of the archive goes through one small object, so that a simulator can cut the power at each.

`Disk` is the real one; each of its operations passes a failpoint first (`storage.failpoints`). Nothing else in
`storage` opens, renames or removes a file of the archive; reading of published Parquet files by DuckDB is the exception,
because a reader can do no harm.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import BinaryIO, Protocol

from storage.errors import LockedError
from storage.failpoints import reach

PUBLISHED_MODE = 0o440  # written once, so nobody needs to write it again
FILE_MODE = 0o640
PRIVATE_MODE = 0o600  # what only the daemon's own user may read: the hashes of keys
PRIVATE_DIR_MODE = 0o750
# A file system gathers syncs that wait at the same time into one write of its journal: 300 small files take 1.3 s one
# after the other, 0.06 s sixteen at a time.
SYNCS_AT_ONCE = 16


class Handle(Protocol):
    """A file open for writing. Nothing is durable before `sync` returns."""

    closed: bool

    def write(self, data: bytes) -> int:
        """Append bytes; all of them are taken or OSError is raised."""
        ...

    def flush(self) -> None:
        """Do nothing: there is no buffer of our own."""

    def tell(self) -> int:
        """Return how many bytes the file has."""
        ...

    def sync(self) -> None:
        """Make the bytes durable. After an error the file must be written again, never synced again."""

    def close(self) -> None:
        """Close without syncing."""


class Lock(Protocol):
    """A lock on an archive node, held until released or until the process ends."""

    def held(self) -> bool:
        """Whether the lock still keeps others out: its file may have been removed or replaced."""
        ...

    def release(self) -> None:
        """Let another process write."""


class Fs(Protocol):
    """The file system as the archive needs it. Paths are absolute; errors are OSError."""

    def create(self, path: str, *, private: bool = False) -> Handle:
        """Open a new file for writing; an existing one of that name is an error. ``private``: its owner's alone."""
        ...

    def append(self, path: str) -> Handle:
        """Open for appending, creating it if needed."""
        ...

    def read(self, path: str) -> bytes:
        """Return the whole file."""
        ...

    def reader(self, path: str) -> BinaryIO:
        """Open a file for reading piece by piece; whoever opens it closes it."""
        ...

    def truncate(self, path: str, size: int) -> None:
        """Cut a file to ``size`` bytes and make that durable."""

    def rewrite(self, path: str, start: int, data: bytes) -> None:
        """Write over the bytes from ``start`` and make them durable.

        Unlike a sync it also reaches the disk when an earlier sync of these bytes failed: the system forgets that.
        """

    def sync_file(self, path: str) -> None:
        """Make the present bytes of a file durable."""

    def sync_dir(self, path: str) -> None:
        """Make the names in a folder durable."""

    def isdir(self, path: str) -> bool:
        """Whether there is a folder of that name."""
        ...

    def mkdir(self, path: str) -> None:
        """Create a folder in an existing one, durable only after `sync_dir` of that; an existing one is no error."""

    def rename(self, source: str, target: str) -> None:
        """Rename within the archive, replacing the target; durable only after `sync_dir` of both folders."""

    def unlink(self, path: str) -> None:
        """Remove a name; a missing one is no error."""

    def listdir(self, path: str) -> list[str]:
        """Return the names in a folder; one that is missing is empty, and so is a file: people leave some between folders."""
        ...

    def size(self, path: str) -> int | None:
        """Return a file's size in bytes, None if there is none."""
        ...

    def publish_mode(self, path: str) -> None:
        """Make a finished file read-only."""

    def together(self, work: Sequence[Callable[[], None]]) -> None:
        """Do operations that do not depend on one another, several at once where that is faster.

        Returns when all are done; raises what the first that failed raised, after the others have ended.
        """

    def lock(self, path: str, owner: str) -> Lock:
        """Take the exclusive lock, writing ``owner`` into it; LockedError if somebody has it."""
        ...


def makedirs(fs: Fs, path: str) -> None:
    """Create a folder and its parents; each new name is durable on return.

    A folder that is there already may have been made by a process that was killed before it synced the name: who
    relies on it after a restart syncs its parent (`storage.recovery`).
    """
    if fs.isdir(path):
        return
    parent = os.path.dirname(path)
    makedirs(fs, parent)
    fs.mkdir(path)
    fs.sync_dir(parent)


@contextmanager
def replacing(fs: Fs, path: str, part: str, *, private: bool = False) -> Generator[Handle]:
    """Yield a handle on ``part``, in the same directory; at the end, what was written takes the place of ``path``, durably.

    A power cut leaves the old file or the new one, whole. If the body raises, ``part`` is removed and ``path`` stays as
    it is. Raises OSError.
    """
    fs.unlink(part)
    handle = fs.create(part, private=private)
    try:
        yield handle
        handle.sync()
    except BaseException:
        handle.close()
        fs.unlink(part)
        raise
    handle.close()
    fs.rename(part, path)
    fs.sync_dir(os.path.dirname(path))


class _DiskHandle:
    """A file descriptor with the few calls pyarrow and the ledger need."""

    def __init__(self, path: str, flags: int, mode: int = FILE_MODE) -> None:
        reach("open", path)
        self._path = path
        self._fd = os.open(path, flags | os.O_CLOEXEC, mode)
        self._size = os.fstat(self._fd).st_size
        self.closed = False

    def write(self, data: bytes) -> int:
        view = memoryview(data).cast("B")
        total = len(view)
        while view:
            most = reach("write", self._path)
            written = os.write(self._fd, view if most is None else view[:most])
            view = view[written:]
        self._size += total
        return total

    def flush(self) -> None:
        pass

    def tell(self) -> int:
        return self._size

    def sync(self) -> None:
        reach("sync", self._path)
        os.fdatasync(self._fd)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._fd)


class _DiskLock:
    def __init__(self, fd: int, path: str) -> None:
        self._fd: int | None = fd
        self._path = path

    def held(self) -> bool:
        if self._fd is None:
            return False
        try:
            mine, there = os.fstat(self._fd), os.stat(self._path)
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)  # closing drops the flock
            self._fd = None


class Disk:
    """The real file system."""

    def create(self, path: str, *, private: bool = False) -> Handle:
        mode = PRIVATE_MODE if private else FILE_MODE
        return _DiskHandle(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)

    def append(self, path: str) -> Handle:
        return _DiskHandle(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def read(self, path: str) -> bytes:
        reach("read", path)
        with open(path, "rb") as file:
            return file.read()

    def reader(self, path: str) -> BinaryIO:
        reach("read", path)
        return open(path, "rb")

    def truncate(self, path: str, size: int) -> None:
        reach("truncate", path)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)

    def rewrite(self, path: str, start: int, data: bytes) -> None:
        reach("rewrite", path)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            view = memoryview(data)
            while view:
                written = os.pwrite(fd, view, start)
                view, start = view[written:], start + written
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_file(self, path: str) -> None:
        reach("sync_file", path)
        # A read-only descriptor is enough: sealed files may already be mode 0440.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def sync_dir(self, path: str) -> None:
        reach("sync_dir", path)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def isdir(self, path: str) -> bool:
        return os.path.isdir(path)

    def mkdir(self, path: str) -> None:
        reach("mkdir", path)
        with suppress(FileExistsError):
            os.mkdir(path, PRIVATE_DIR_MODE)

    def rename(self, source: str, target: str) -> None:
        reach("rename", target)
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        reach("unlink", path)
        with suppress(FileNotFoundError):
            os.unlink(path)

    def listdir(self, path: str) -> list[str]:
        reach("listdir", path)
        try:
            return sorted(os.listdir(path))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def size(self, path: str) -> int | None:
        reach("stat", path)
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return None

    def publish_mode(self, path: str) -> None:
        reach("chmod", path)
        os.chmod(path, PUBLISHED_MODE)

    def together(self, work: Sequence[Callable[[], None]]) -> None:
        if len(work) <= 1:
            for each in work:
                each()
            return
        with ThreadPoolExecutor(min(SYNCS_AT_ONCE, len(work)), thread_name_prefix="disk") as pool:
            futures = [pool.submit(each) for each in work]
        for future in futures:
            future.result()

    def lock(self, path: str, owner: str) -> Lock:
        reach("lock", path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(fd, 200).decode("utf-8", "replace").strip()
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise LockedError(
                    f"another process writes this archive ({holder or 'unknown'})",
                    where=path,
                    hint="stop it first, or use a command that talks to the running daemon",
                ) from None
            raise
        with suppress(OSError):  # who holds it is a help for people: on a full disk it is left out
            os.ftruncate(fd, 0)
            os.pwrite(fd, owner.encode(), 0)
        return _DiskLock(fd, path)
