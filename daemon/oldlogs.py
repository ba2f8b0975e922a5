"""Log files that have become old: removed, or compressed first. Only when every byte of them is committed.

The reader's thread alone decides which files those are and removes them; compressing goes on in another, because a
large file takes minutes. A crash at any step leaves the original, or a verified copy of it, or both.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from daemon import files

Compression = Literal["gz", "zst"]
PART = ".tmp"  # never followed: see `daemon.discovery.EXCLUDE`
BLOCK_BYTES = 1 << 20
GZIP_LEVEL = 6  # what the command of that name uses


@dataclass(frozen=True, slots=True)
class OldFile:
    """A file that may go, as it was when that was found. It may go only while nothing of this has changed."""

    path: bytes
    device: int
    inode: int
    size: int
    mtime_ns: int
    packed: bool = field(default=False, compare=False)  # compressed already

    @classmethod
    def of(cls, path: bytes, info: os.stat_result, *, packed: bool = False) -> OldFile:
        """Return what a stat says."""
        return cls(path, info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, packed)

    def unchanged(self) -> bool:
        """Return whether the name still leads to the same file in the same state."""
        try:
            return OldFile.of(self.path, files.lstat(self.path)) == self
        except FileNotFoundError:
            return False


class NotCompressedError(OSError):
    """The compressed file is not the original, or a file that is not ours has its name. The original stays."""


def compress(old: OldFile, compression: Compression, stop: Callable[[], bool] = lambda: False) -> bytes:
    """Write a file's compressed copy beside it, verified and durable, and return its path. The original stays.

    The copy has the original's owner, mode and time. Raises OSError; a copy that is not whole never has its name.
    """
    target = old.path + b"." + compression.encode()
    wanted = _digest(os.fsdecode(old.path), None, stop)
    if os.path.lexists(target):  # a crash came between writing the copy and removing the original
        if _digest_or_none(target, compression, stop) == wanted:
            return target
        raise NotCompressedError(
            f"{os.fsdecode(target)} exists and is not the compressed {os.fsdecode(old.path)}"
        )
    part = target + PART.encode()
    with suppress(FileNotFoundError):
        files.unlink(part)
    try:
        _write(old.path, part, compression, stop)
        copied = _digest(os.fsdecode(part), compression, stop)
        _like(old.path, part)
        same = copied == wanted and old.unchanged()
        if same:
            files.rename(part, target)
    finally:
        with suppress(FileNotFoundError):
            files.unlink(part)
    if not same:
        raise NotCompressedError(f"{os.fsdecode(old.path)} changed while it was compressed")
    sync_folder(os.path.dirname(target))
    return target


def _write(source: bytes, target: bytes, compression: Compression, stop: Callable[[], bool]) -> None:
    fd = files.open_file(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file, open(source, "rb") as plain, _packer(file, compression) as out:
        while block := plain.read(BLOCK_BYTES):
            _go_on(stop)
            out.write(block)


def _packer(file: io.BufferedIOBase, compression: Compression) -> Any:
    """Return a stream that compresses into ``file``; closing it may close the file."""
    if compression == "gz":
        return gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=GZIP_LEVEL, mtime=0)
    return pa.CompressedOutputStream(pa.PythonFile(file, mode="w"), "zstd")


def _unpacked(path: str, compression: Compression | None) -> Any:
    """Return a stream of a file's content, decompressed."""
    if compression == "zst":
        return pa.input_stream(path, compression="zstd")
    return gzip.open(path) if compression == "gz" else open(path, "rb")


def _digest(path: str, compression: Compression | None, stop: Callable[[], bool]) -> tuple[int, str]:
    """Return length and SHA-256 of a file's content, decompressed."""
    digest = hashlib.sha256()
    size = 0
    with _unpacked(path, compression) as stream:
        while block := stream.read(BLOCK_BYTES):
            _go_on(stop)
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _digest_or_none(
    path: bytes, compression: Compression, stop: Callable[[], bool]
) -> tuple[int, str] | None:
    try:
        return _digest(os.fsdecode(path), compression, stop)
    except (OSError, EOFError, zlib.error):  # no archive, or not a whole one
        return None


def _like(original: bytes, copy: bytes) -> None:
    """Give a copy the owner, mode and time of the original, and make it durable."""
    info = files.stat(original)
    fd = files.open_file(copy, os.O_RDWR | os.O_CLOEXEC)
    try:
        if (info.st_uid, info.st_gid) != (os.geteuid(), os.getegid()):
            with suppress(PermissionError):  # only root may give files away; mode and time matter more
                os.fchown(fd, info.st_uid, info.st_gid)
        os.fchmod(fd, info.st_mode & 0o7777)
        os.utime(fd, ns=(info.st_atime_ns, info.st_mtime_ns))
        files.fsync(fd)
    finally:
        files.close_file(fd)


def _go_on(stop: Callable[[], bool]) -> None:
    if stop():
        raise InterruptedError("the daemon is stopping")


def sync_folder(folder: bytes) -> None:
    """Make the names in a folder durable."""
    fd = files.open_file(folder or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.fsync(fd)
    finally:
        files.close_file(fd)
