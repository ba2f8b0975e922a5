"""Followed files: every call on one of them goes through this module, so that tests can make each of them fail.

The operations below are those of `os` themselves: nothing stands between the daemon and the kernel, unless
`daemon.failpoints` was told to put something there. Call them as attributes of the module (``files.stat(path)``).
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import stat as modes
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

open_file = os.open
close_file = os.close
duplicate = os.dup
fdatasync = os.fdatasync
fstat = os.fstat
fsync = os.fsync
lstat = os.lstat
pread = os.pread
readlink = os.readlink
rename = os.rename
scandir = os.scandir
seek = os.lseek
stat = os.stat
unlink = os.unlink

_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_UNSYNCABLE = {errno.EINVAL, errno.EROFS, errno.ENOTSUP, errno.EBADF}
_GET_VERSION = 0x80087601  # FS_IOC_GETVERSION: the inode's generation, so that a reused inode number shows
_GENERATION_MASK = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells two files apart while both exist, and (by the generation) a file from an earlier one of its inode."""

    device: int
    inode: int
    generation: int | None  # None where the file system has none

    @property
    def key(self) -> tuple[int, int]:
        """Return what a listing can tell too."""
        return self.device, self.inode

    def may_be(self, device: int, inode: int, generation: int | None) -> bool:
        """Return whether it may be the file that was once known by these numbers."""
        known = self.generation is not None and generation is not None
        return (self.device, self.inode) == (device, inode) and not (known and self.generation != generation)


class Content(Protocol):
    """The bytes of an open file, positions counted as its lines are: those on disk, or what a compressed file holds."""

    @property
    def closed(self) -> bool:
        """Return whether it was closed."""
        ...

    @property
    def identity(self) -> Identity:
        """Return which file on disk it is."""
        ...

    def pread(self, length: int, offset: int) -> bytes:
        """Return at most ``length`` bytes from ``offset`` on; fewer only at the end."""
        ...

    def size(self) -> int:
        """Return how many bytes it has now."""
        ...

    def data_from(self, offset: int) -> int:
        """Return the first position from ``offset`` on where bytes were ever written; ``offset`` if nobody can tell."""
        ...

    def reach(self, offset: int) -> bool:
        """Make reading at ``offset`` cheap, doing a bounded part of the work; returns whether it is done."""
        ...

    def info(self) -> os.stat_result:
        """Return what the file system says of the file on disk."""
        ...

    def real_path(self) -> bytes:
        """Return the path that leads to the file on disk without any symbolic link; empty if nobody knows it."""
        ...

    def sync(self) -> None:
        """Make its bytes durable where that can be done."""

    def duplicate(self) -> Content:
        """Return the same file, for another thread to sync and to close."""
        ...

    def close(self) -> None:
        """Close it; a second time does nothing."""


class Plain:
    """An open descriptor, which belongs to this object from now on."""

    __slots__ = ("_identity", "fd")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._identity: Identity | None = None

    @property
    def closed(self) -> bool:
        """Return whether it was closed."""
        return self.fd < 0

    @property
    def identity(self) -> Identity:
        """Return which file it is."""
        if self._identity is None:
            facts = fstat(self.fd)
            self._identity = Identity(facts.st_dev, facts.st_ino, generation_of(self.fd))
        return self._identity

    def pread(self, length: int, offset: int) -> bytes:
        """Return bytes of the file: a short answer of the system is asked for the rest, so that it means the end."""
        if not length:
            return b""
        data = pread(self.fd, length, offset)
        while 0 < len(data) < length:
            more = pread(self.fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def size(self) -> int:
        """Return the file's size now."""
        return fstat(self.fd).st_size

    def data_from(self, offset: int) -> int:
        """Return where the hole at ``offset`` ends, in a sparse file; the size if nothing comes after it."""
        try:
            return seek(self.fd, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return self.size()
            if error.errno in _UNSYNCABLE:
                return offset
            raise

    def reach(self, offset: int) -> bool:
        """Return True: every offset is as near as any other."""
        del offset
        return True

    def info(self) -> os.stat_result:
        """Return what the file system says."""
        return fstat(self.fd)

    def real_path(self) -> bytes:
        """Return the path by which the system knows the descriptor."""
        try:
            return readlink(f"/proc/self/fd/{self.fd}".encode())
        except OSError:
            return b""

    def sync(self) -> None:
        """Make the bytes durable. A read-only or special file system has nothing to lose."""
        try:
            fdatasync(self.fd)
        except OSError as error:
            if error.errno not in _UNSYNCABLE:
                raise

    def duplicate(self) -> Plain:
        """Return the same file with a descriptor of its own."""
        return Plain(duplicate(self.fd))

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            close_file(self.fd)
            self.fd = -1


def open_regular(path: bytes | str) -> Plain | None:
    """Open a file for reading; None if it is no regular file. Raises OSError."""
    fd = open_file(path, _OPEN_FLAGS)
    try:
        regular = modes.S_ISREG(fstat(fd).st_mode)
    except OSError:
        close_file(fd)
        raise
    if not regular:
        close_file(fd)
        return None
    return Plain(fd)


def spelled(path: bytes) -> str:
    r"""Return a path as text for people, events and the ledger, which hold only UTF-8: other bytes as ``\xff``."""
    return path.decode("utf-8", "backslashreplace")


def leads_to(path: bytes, key: tuple[int, int]) -> bool:
    """Return whether a path leads to the file of this device and inode."""
    return size_of(path, key) is not None


def size_of(path: bytes, key: tuple[int, int]) -> int | None:
    """Return how many bytes the file of this device and inode has, if a path leads to it; None if not."""
    with suppress(OSError):
        info = stat(path)
        return info.st_size if (info.st_dev, info.st_ino) == key else None
    return None


def generation_of(fd: int) -> int | None:
    """Return the inode's generation; None where the file system has none."""
    value = array.array("l", [0])
    try:
        fcntl.ioctl(fd, _GET_VERSION, value, True)
    except OSError:
        return None
    return value[0] & _GENERATION_MASK
