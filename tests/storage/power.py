"""A disk in memory whose power can be cut at any operation.

Bytes are durable after `sync`, names after `sync_dir` of their folder, folders like any other name. A cut keeps, loses,
tears, zeroes or riddles what was not synced, each file and each name by itself; a kill keeps everything but makes
nothing durable. A sync that fails is forgotten by the system: the next one succeeds, and the bytes are not on the disk.

Operations are recorded, so that one run of the archive gives a crash state for each of them without running it again.
"""

from __future__ import annotations

import errno
import io
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from storage.fs import Handle, Lock

ROOT = "/archive"
BLOCK = 64  # bytes that reach the disk together; small, because the files of these tests are


class PowerCut(BaseException):
    """The machine is off. Not an Exception, as nothing may catch it."""


@dataclass(slots=True)
class Inode:
    """A file's bytes as processes see them, and as the platter has them.

    ``forgotten``: the ranges whose sync failed, so that no later sync writes them.
    """

    data: bytes = b""
    stable: bytes = b""
    forgotten: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Op:
    """One operation as recorded: its name and arguments."""

    name: str
    args: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one name that is not durable yet: it appears with ``inode`` (None: a folder), or goes.

    ``pair`` is the same in both halves of a rename, which never leaves a file without any name.
    """

    path: str
    goes: bool = False
    inode: Inode | None = None
    pair: int = 0


class PowerDisk:
    """The `Fs` of these tests. ``fuse`` operations from now the power goes out; ``fault`` makes one of them fail."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self.stable: dict[str, Inode] = {}
        self.folders: set[str] = {"/"}
        self.stable_folders: set[str] = {"/"}
        self.pending: list[Change] = []
        self.journal: list[Op] | None = []  # None: not recorded
        self.fuse: int | None = None
        self.fault: tuple[int, int] | None = None  # (operations from now, errno)
        self.marks: list[tuple[int, Any]] = []
        self._pairs = 0

    # What a process calls

    def create(self, path: str, *, private: bool = False) -> Handle:
        if path in self.names:
            raise FileExistsError(errno.EEXIST, "file exists", path)
        self.do("create", path)
        return _SimHandle(self, path)

    def append(self, path: str) -> Handle:
        if path not in self.names:
            self.do("create", path)
        return _SimHandle(self, path)

    def read(self, path: str) -> bytes:
        return self._inode(path).data

    def reader(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def truncate(self, path: str, size: int) -> None:
        self.do("truncate", path, size)

    def rewrite(self, path: str, start: int, data: bytes) -> None:
        assert self._inode(path).data[start : start + len(data)] == data, "only ever the same bytes"
        self.do("rewrite", path, start, start + len(data))

    def sync_file(self, path: str) -> None:
        self.do("sync", path)

    def sync_dir(self, path: str) -> None:
        if path not in self.folders:
            raise FileNotFoundError(errno.ENOENT, "no such folder", path)
        self.do("sync_dir", path)

    def isdir(self, path: str) -> bool:
        return path in self.folders

    def mkdir(self, path: str) -> None:
        assert os.path.dirname(path) in self.folders
        if path not in self.folders:
            self.do("mkdir", path)

    def rename(self, source: str, target: str) -> None:
        self._inode(source)
        self.do("rename", source, target)

    def unlink(self, path: str) -> None:
        if path in self.names:
            self.do("unlink", path)

    def listdir(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        cut = len(prefix)
        below = [name[cut:] for name in (*self.names, *self.folders) if name.startswith(prefix)]
        return sorted(name for name in below if name and "/" not in name)

    def size(self, path: str) -> int | None:
        inode = self.names.get(path)
        return len(inode.data) if inode is not None else None

    def publish_mode(self, path: str) -> None:
        self._inode(path)

    def together(self, work: Sequence[Callable[[], None]]) -> None:
        for each in work:  # one after the other: a cut between any two of them is a state of its own
            each()

    def lock(self, path: str, owner: str) -> Lock:
        del path, owner
        return _NoLock()

    def _inode(self, path: str) -> Inode:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return self.names[path]

    # What happens on the disk

    @property
    def off(self) -> bool:
        """Whether the power is out."""
        return self.fuse is not None and self.fuse <= 0

    def do(self, name: str, *args: Any) -> None:
        if self.fuse is not None:
            if self.fuse <= 0:
                raise PowerCut(name)
            self.fuse -= 1
        if self.fault is not None:
            left, code = self.fault
            if left <= 0:
                self.fault = None
                self._fails(name, *args)
                raise OSError(code, os.strerror(code), str(args[0]))
            self.fault = (left - 1, code)
        self._carry_out(name, *args)

    def _carry_out(self, name: str, *args: Any) -> None:
        if self.journal is not None:
            self.journal.append(Op(name, args))
        getattr(self, f"on_{name}")(*args)

    def _fails(self, name: str, *args: Any) -> None:
        """What an operation that fails has done all the same: half a write, or a sync that is never made up for."""
        if name == "write":
            path, data = args
            self._carry_out("write", path, data[: len(data) // 2])
        elif name == "sync":
            self._carry_out("forget", *args)

    def on_create(self, path: str) -> None:
        assert os.path.dirname(path) in self.folders, path
        inode = self.names[path] = Inode()
        self.pending.append(Change(path, inode=inode))

    def on_write(self, path: str, data: bytes) -> None:
        self.names[path].data += data

    def on_truncate(self, path: str, size: int) -> None:
        inode = self.names[path]
        inode.data = inode.stable = inode.data[:size]
        inode.forgotten = tuple((a, min(b, size)) for a, b in inode.forgotten if a < size)

    def on_rewrite(self, path: str, start: int, end: int) -> None:
        inode = self.names[path]
        kept = [(a, min(b, start)) for a, b in inode.forgotten] + [
            (max(a, end), b) for a, b in inode.forgotten
        ]
        inode.forgotten = tuple((a, b) for a, b in kept if a < b)
        self.on_sync(path)

    def on_sync(self, path: str) -> None:
        inode = self.names[path]
        stable = inode.data
        for start, end in inode.forgotten:
            stable = stable[:start] + bytes(end - start) + stable[end:]
        inode.stable = stable

    def on_forget(self, path: str) -> None:
        inode = self.names[path]
        if len(inode.stable) < len(inode.data):
            inode.forgotten = (*inode.forgotten, (len(inode.stable), len(inode.data)))

    def on_sync_dir(self, path: str) -> None:
        kept = []
        for change in self.pending:
            if os.path.dirname(change.path) == path:
                self._settle(change)
            else:
                kept.append(change)
        self.pending = kept

    def on_mkdir(self, path: str) -> None:
        self.folders.add(path)
        self.pending.append(Change(path))

    def on_rename(self, source: str, target: str) -> None:
        inode = self.names.pop(source)
        self.names[target] = inode
        self._pairs += 1
        self.pending.append(Change(target, inode=inode, pair=self._pairs))
        self.pending.append(Change(source, goes=True, pair=self._pairs))

    def on_unlink(self, path: str) -> None:
        del self.names[path]
        self.pending.append(Change(path, goes=True))

    def _settle(self, change: Change) -> None:
        if change.goes:
            self.stable.pop(change.path, None)
        elif change.inode is None:
            self.stable_folders.add(change.path)
        else:
            self.stable[change.path] = change.inode

    # Crashes

    def will_fail(self, after: int, code: int) -> None:
        """Let one operation, ``after`` operations from now, fail with an errno."""
        self.fault = (after, code)

    def mark(self, what: Any) -> None:
        """Note what is promised from here on: a crash after this operation must keep it."""
        assert self.journal is not None
        self.marks.append((len(self.journal), what))

    def harden(self) -> None:
        """Make everything durable as it is."""
        self.stable, self.stable_folders, self.pending = dict(self.names), set(self.folders), []
        for inode in self.names.values():
            inode.stable, inode.forgotten = inode.data, ()

    def clone(self) -> PowerDisk:
        """Return the same disk, not recorded."""
        disk = type(self)()
        disk.journal = None
        copies: dict[int, Inode] = {}

        def copied(inode: Inode) -> Inode:
            copy = copies.get(id(inode))
            if copy is None:
                copy = copies[id(inode)] = Inode(inode.data, inode.stable, inode.forgotten)
            return copy

        disk.names = {name: copied(inode) for name, inode in self.names.items()}
        disk.stable = {name: copied(inode) for name, inode in self.stable.items()}
        disk.folders, disk.stable_folders = set(self.folders), set(self.stable_folders)
        disk.pending = [
            Change(c.path, c.goes, None if c.inode is None else copied(c.inode), c.pair) for c in self.pending
        ]
        disk._pairs = self._pairs
        return disk

    def crash_points(self, first: int = 0) -> Iterator[tuple[int, PowerDisk, Any]]:
        """Yield how many operations were done, the disk as it was then (clone it), and what had been promised."""
        assert self.journal is not None
        disk = type(self)()
        disk.journal = None
        marks = list(self.marks)
        promised: Any = None
        for count in range(len(self.journal) + 1):
            while marks and marks[0][0] <= count:
                promised = marks.pop(0)[1]
            if count >= first and promised is not None:
                yield count, disk, promised
            if count < len(self.journal):
                op = self.journal[count]
                getattr(disk, f"on_{op.name}")(*op.args)

    def cut(self, chance: random.Random) -> None:
        """Cut the power: whatever was not synced is kept, lost, torn or riddled, each thing by itself."""
        for change in self.pending:
            if change.inode is None and not change.goes and chance.random() < 0.5:
                self._settle(change)
        reachable = {"/"}
        for folder in sorted(self.stable_folders):
            if os.path.dirname(folder) in reachable:
                reachable.add(folder)
        self.folders, self.stable_folders = set(reachable), reachable
        halves = {change.pair for change in self.pending if change.pair and not change.goes}
        arrived: set[int] = set()
        for change in self.pending:
            if change.goes:
                # If the new name is lost, the old one is not gone.
                possible = change.pair not in halves or change.pair in arrived
            else:
                possible = change.inode is not None and os.path.dirname(change.path) in reachable
            if possible and chance.random() < 0.5:
                self._settle(change)
                arrived.add(change.pair)
        self.pending = []
        self.names = {
            path: inode for path, inode in self.stable.items() if os.path.dirname(path) in reachable
        }
        self.stable = dict(self.names)
        for inode in {id(inode): inode for inode in self.names.values()}.values():
            inode.data = inode.stable = _torn(inode, chance)
            inode.forgotten = ()
        self.fuse = None

    def kill(self) -> None:
        """Kill the process: the page cache stays, but nothing becomes durable by it."""
        self.fuse = None


def _torn(inode: Inode, chance: random.Random) -> bytes:
    if inode.data == inode.stable:
        return inode.stable
    known = len(inode.stable)
    fresh = inode.data[known:]
    for start, end in inode.forgotten:
        if end > known:  # never handed to the disk again, whatever else is
            begin = max(start, known)
            fresh = fresh[: begin - known] + bytes(end - begin) + fresh[end - known :]
    match chance.randrange(5):
        case 0:
            fresh = b""
        case 1:
            pass
        case 2:
            fresh = fresh[: chance.randrange(len(fresh) + 1)]
        case 3:
            fresh = bytes(len(fresh))
        case _:
            blocks = [fresh[at : at + BLOCK] for at in range(0, len(fresh), BLOCK)]
            fresh = b"".join(b if chance.random() < 0.6 else bytes(len(b)) for b in blocks)
    return inode.stable + fresh


class _SimHandle:
    """A file open for writing on a `PowerDisk`. Writes are gathered to one operation: pyarrow makes hundreds."""

    def __init__(self, disk: PowerDisk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._gathered: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> int:
        self._gathered.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def tell(self) -> int:
        return len(self._disk.names[self._path].data) + sum(map(len, self._gathered))

    def sync(self) -> None:
        self._hand_over()
        self._disk.do("sync", self._path)

    def close(self) -> None:
        if not self.closed and self._path in self._disk.names and not self._disk.off:
            self._hand_over()
        self.closed = True

    def _hand_over(self) -> None:
        if self._gathered:
            data, self._gathered = b"".join(self._gathered), []
            self._disk.do("write", self._path, data)


class _NoLock:
    def held(self) -> bool:
        return True

    def release(self) -> None:
        pass
