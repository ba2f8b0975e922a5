"""A disk in memory whose power can be cut at any operation, and the check of what is left afterwards.

Bytes are durable after `sync`, names after `sync_dir`. A cut keeps, loses, tears or zeroes what was not synced, each
file and each name independently; a kill keeps everything but makes nothing durable. Operations are recorded, so one
run of the archive gives a crash state for each of them without running it again.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from storage.archive import Archive, ArchiveOptions
from storage.fs import Handle, Lock

ROOT = "/archive"
LINE = 10  # bytes of a line in these tests


class PowerCut(BaseException):
    """The machine is off. Not an Exception, as nothing may catch it."""


@dataclass(slots=True)
class Inode:
    """A file's bytes as processes see them, and as the platter has them."""

    data: bytes = b""
    stable: bytes = b""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation as recorded: its name and arguments."""

    name: str
    args: tuple[Any, ...]


@dataclass(slots=True)
class Rename:
    """A change of names that is not durable yet: ``add`` and ``remove`` happen together or not at all."""

    add: tuple[str, Inode] | None
    remove: str | None

    def folders(self) -> set[str]:
        """Return the folders whose sync makes it durable."""
        paths = [self.add[0]] if self.add else []
        return {os.path.dirname(path) for path in (*paths, *([self.remove] if self.remove else []))}

    def apply(self, names: dict[str, Inode]) -> None:
        """Carry it out on ``names``."""
        if self.remove is not None:
            names.pop(self.remove, None)
        if self.add is not None:
            names[self.add[0]] = self.add[1]


class PowerDisk:
    """The `Fs` of these tests. ``fuse`` operations from now the power goes out; ``faults`` makes one of them fail."""

    def __init__(self) -> None:
        self.names: dict[str, Inode] = {}
        self.stable: dict[str, Inode] = {}
        self.pending: list[Rename] = []
        self.folders: set[str] = {"/", ROOT}
        self.journal: list[Op] = []
        self.fuse: int | None = None
        self.fault: tuple[int, int] | None = None  # (operations from now, errno)
        self.marks: list[tuple[int, Any]] = []

    # What a process calls

    def create(self, path: str) -> Handle:
        self.do("create", path)
        return _SimHandle(self, path)

    def append(self, path: str) -> Handle:
        if path not in self.names:
            self.do("create", path)
        return _SimHandle(self, path)

    def read(self, path: str) -> bytes:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return self.names[path].data

    def reader(self, path: str) -> BinaryIO:
        return io.BytesIO(self.read(path))

    def truncate(self, path: str, size: int) -> None:
        self.do("truncate", path, size)

    def sync_file(self, path: str) -> None:
        self.do("sync", path)

    def sync_dir(self, path: str) -> None:
        self.do("sync_dir", path)

    def makedirs(self, path: str) -> None:
        self.folders.add(path)

    def rename(self, source: str, target: str) -> None:
        self.do("rename", source, target)

    def unlink(self, path: str) -> None:
        if path in self.names:
            self.do("unlink", path)

    def listdir(self, path: str) -> list[str]:
        prefix = path.rstrip("/") + "/"
        below = {
            name[len(prefix) :].split("/")[0]
            for name in (*self.names, *self.folders)
            if name.startswith(prefix)
        }
        return sorted(below - {""})

    def size(self, path: str) -> int | None:
        return len(self.names[path].data) if path in self.names else None

    def publish_mode(self, path: str) -> None:
        assert path in self.names

    def lock(self, path: str, owner: str) -> Lock:
        del path, owner
        return _NoLock()

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
                raise OSError(code, os.strerror(code), str(args[0]))
            self.fault = (left - 1, code)
        self.journal.append(Op(name, args))
        getattr(self, f"on_{name}")(*args)

    def on_create(self, path: str) -> None:
        inode = self.names[path] = Inode()
        self.pending.append(Rename((path, inode), None))

    def on_write(self, path: str, data: bytes) -> None:
        self.names[path].data += data

    def on_truncate(self, path: str, size: int) -> None:
        inode = self.names[path]
        inode.data = inode.stable = inode.data[:size]

    def on_sync(self, path: str) -> None:
        inode = self.names[path]
        inode.stable = inode.data

    def on_sync_dir(self, path: str) -> None:
        kept = []
        for change in self.pending:
            if path in change.folders():
                change.apply(self.stable)
            else:
                kept.append(change)
        self.pending = kept

    def on_rename(self, source: str, target: str) -> None:
        inode = self.names.pop(source)
        self.names[target] = inode
        self.pending.append(Rename((target, inode), source))

    def on_unlink(self, path: str) -> None:
        del self.names[path]
        self.pending.append(Rename(None, path))

    # Crashes

    def will_fail(self, after: int, code: int) -> None:
        """Let one operation, ``after`` operations from now, fail with an errno."""
        self.fault = (after, code)

    def mark(self, what: Any) -> None:
        """Note what is promised from here on: a crash after this operation must keep it."""
        self.marks.append((len(self.journal), what))

    def replayed(self, operations: int) -> PowerDisk:
        """Return the disk as it was after the first ``operations`` recorded operations."""
        disk = type(self)()
        disk.folders = set(self.folders)
        for op in self.journal[:operations]:
            getattr(disk, f"on_{op.name}")(*op.args)
        disk.journal = self.journal[:operations]
        return disk

    def cut(self, chance: random.Random) -> None:
        """Cut the power: whatever was not synced is kept, lost, torn or zeroed, each thing by itself."""
        for change in self.pending:
            if chance.random() < 0.5:
                change.apply(self.stable)
        self.pending = []
        self.names = dict(self.stable)
        for inode in self.names.values():
            inode.data = inode.stable = _torn(inode, chance)
        self.fuse = None

    def kill(self) -> None:
        """Kill the process: the page cache stays, but nothing becomes durable by it."""
        self.fuse = None


def _torn(inode: Inode, chance: random.Random) -> bytes:
    if inode.data == inode.stable:
        return inode.stable
    fresh = inode.data[len(inode.stable) :]
    match chance.randrange(4):
        case 0:
            return inode.stable
        case 1:
            return inode.data
        case 2:
            return inode.stable + fresh[: chance.randrange(len(fresh) + 1)]
        case _:
            return inode.stable + bytes(len(fresh))


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
    def release(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Promise:
    """What a crash must keep: committed offset per source, and the highest seq anybody may have seen."""

    offsets: dict[str, int] = field(default_factory=dict)
    shown_seq: int = 0
    dropped_before: str = ""


class Rows:
    """The (source, offset, seq) of each file by content, read once however many crash states hold it."""

    def __init__(self) -> None:
        self._known: dict[str, list[tuple[str, int, int]]] = {}

    def of(self, data: bytes) -> list[tuple[str, int, int]]:
        """Return the rows of an events file."""
        key = hashlib.sha256(data).hexdigest()
        if key not in self._known:
            table = pq.read_table(pa.BufferReader(data), columns=["source", "source_offset", "seq"])
            self._known[key] = list(
                zip(
                    *(table.column(name).to_pylist() for name in ("source", "source_offset", "seq")),
                    strict=True,
                )
            )
        return self._known[key]


def options() -> ArchiveOptions:
    """Return options for an archive on a `PowerDisk`: superseded files go at once."""
    return ArchiveOptions(path=ROOT, grace_seconds=0.0, fold_files=3)


def recover(disk: PowerDisk) -> Archive:
    """Open the archive as after a restart."""
    return Archive.open(options(), fs=disk)


def check(archive: Archive, disk: PowerDisk, promise: Promise, rows: Rows) -> None:
    """Assert that a recovered archive keeps the promise: every committed line exactly once, and nothing else."""
    assert archive.problems == []
    state = archive.state
    for sid, offset in promise.offsets.items():
        assert state.sources[sid].offset >= offset, "an acknowledged commit is gone"
    assert archive.next_seq > promise.shown_seq, "a seq number could be used twice"
    found: list[tuple[str, int]] = []
    for file in state.files.values():
        data = disk.read(archive.layout.absolute(file.path))
        assert hashlib.sha256(data).hexdigest() == file.sha256, f"{file.path} is not what was committed"
        if file.kind == "events":
            assert all(seq <= state.max_seq for _, _, seq in rows.of(data))
            found += [(sid, offset) for sid, offset, _ in rows.of(data)]
    expected = {(sid, at) for sid, source in state.sources.items() for at in range(0, source.offset, LINE)}
    assert len(found) == len(set(found)), "a line is archived twice"
    if not state.drops:
        assert set(found) == expected, "committed lines and rows differ"
    else:
        assert set(found) <= expected
    listed = {archive.layout.absolute(path) for path in (*state.files, *state.retired)}
    strays = [
        name
        for name in disk.names
        if name.endswith(".parquet") and "/aside/" not in name and name not in listed
    ]
    assert strays == [], "a file that no record names was left behind"


def crash_points(disk: PowerDisk) -> Iterator[tuple[int, Promise]]:
    """Yield each number of operations after which the power can go, with what had been promised by then."""
    promise = Promise()
    marks = list(disk.marks)
    for count in range(len(disk.journal) + 1):
        while marks and marks[0][0] <= count:
            promise = marks.pop(0)[1]
        yield count, promise


Action = Callable[[], None]
