"""Which files there are: a listing of the configured directories, at any depth, by include and exclude patterns.

A listing says what is there now and nothing else; who a file is, is decided by content in `daemon.sources`.
Paths are bytes, because a file name need not be UTF-8. A folder whose own times have not changed holds the names it
held before, so it is not read again; a folder that cannot be read now holds what it held when it could be.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from daemon import files
from daemon.filesystems import remote_kind
from daemon.patterns import Patterns, literally

INCLUDE = (
    *("*.jsonl", "*.ndjson", "*.json", "*.log"),
    *(
        "*.jsonl.[0-9]*",
        "*.ndjson.[0-9]*",
        "*.json.[0-9]*",
        "*.log.[0-9]*",
    ),  # as rotation names them: by number,
    *("*.jsonl-[0-9]*", "*.ndjson-[0-9]*", "*.json-[0-9]*", "*.log-[0-9]*"),  # or by date
)
EXCLUDE = ("*.tmp", "*.swp", ".*")

SETTLED_NS = 3_000_000_000  # times of a folder younger than this may not tell the next change from this one
RELIST_SECONDS = 60.0  # a folder is read again after this long even if its times say that nothing changed


@dataclass(frozen=True, slots=True)
class Root:
    """A directory to look in. Patterns without a slash match the file's name, others its path below the root."""

    path: bytes  # absolute
    include: tuple[str, ...] = INCLUDE
    exclude: tuple[str, ...] = EXCLUDE
    profile: str = "auto"
    internal: bool = False  # the daemon's own log
    deep: bool = True  # look into the folders below


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file that matches. ``file`` is its path below the root as text; sizes in bytes."""

    path: bytes
    file: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    root: Root

    @property
    def key(self) -> tuple[int, int]:
        """Return what tells two files apart while both exist."""
        return self.device, self.inode


@dataclass(frozen=True, slots=True)
class Problem:
    """A directory or file that could not be looked at. What is below it stays as it was known."""

    path: bytes
    reason: str


class Watchable(NamedTuple):
    """A directory that notices can be had of: with those below it, if it is ``deep``."""

    path: bytes
    device: int
    inode: int
    deep: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """One listing. A file that several names lead to (hard link, symbolic link, overlapping roots) is here once.

    Of files that are followed already, size and time may be those of an earlier listing, unless they are in ``fresh``.
    """

    files: tuple[Found, ...]
    roots: tuple[Watchable, ...]  # those that exist
    problems: tuple[Problem, ...]
    changed: bool = True  # some name may lead elsewhere than at the listing before
    loose: tuple[Found, ...] | None = None  # those of ``files`` that nobody follows; None: not told
    fresh: tuple[Found, ...] = ()
    unwatchable: tuple[tuple[bytes, str], ...] = ()  # roots where change notices do not help, and why
    folders: int = 0  # folders in the other roots: each needs a watch

    def covers(self, path: bytes) -> bool:
        """Return whether the absence of ``path`` from this listing means that it is gone."""
        return not any(_below(path, problem.path) for problem in self.problems)


@dataclass(slots=True)
class _Folder:
    """What a folder held when it was last read, and by what it shows that this has changed."""

    key: tuple[int, int]
    stamp: tuple[int, ...]
    settled: bool  # as long as its stamp is the same it holds the same names
    read_at: float
    files: dict[bytes, Found] = field(default_factory=dict)  # by name, those that count
    numbers: dict[bytes, int] = field(default_factory=dict)  # the inode numbers that the folder itself says
    links: list[bytes] = field(
        default_factory=list
    )  # names of symbolic links: where they lead may change unseen
    loose: list[bytes] = field(default_factory=list)  # names of files that nobody followed
    folders: list[bytes] = field(default_factory=list)  # paths
    linked: dict[bytes, Found | bytes] = field(
        default_factory=dict
    )  # a link's file, or the path of its folder
    undecodable: bool = False


@dataclass(slots=True)
class _Pass:
    """What one listing has come to so far."""

    followed: Container[tuple[int, int]]
    now: float
    relist: bool
    visited: set[tuple[Root, tuple[int, int]]] = field(default_factory=set)
    kept: dict[tuple[Root, bytes], _Folder] = field(default_factory=dict)
    problems: dict[bytes, str] = field(default_factory=dict)
    loose: dict[tuple[int, int], Found] = field(default_factory=dict)
    fresh: list[Found] = field(default_factory=list)
    unwatchable: dict[bytes, str] = field(default_factory=dict)
    changed: bool = False


class Discovery:
    """Lists the files of some roots. `scan` blocks; call it off the event loop, from one thread."""

    def __init__(
        self,
        roots: tuple[Root, ...],
        *,
        clock: Callable[[], float] = time.monotonic,
        remote: Callable[[bytes], str] = remote_kind,
    ) -> None:
        self.roots = roots
        self._clock = clock
        self._remote = remote
        self._patterns = {root: Patterns(root.include, root.exclude) for root in roots}
        self._single: dict[Root, Root] = {}  # a configured path that is a file, and the root that finds it
        self._kinds: dict[int, str] = {}  # kind of remote file system by device, empty for local ones
        self._folders: dict[tuple[Root, bytes], _Folder] = {}
        self._files: tuple[Found, ...] = ()
        self._watches = 0

    def scan(self, followed: Container[tuple[int, int]] = (), *, relist: bool = False) -> Scan:
        """List everything. A directory that cannot be read is a problem in the result, never an exception.

        Of files that are ``followed`` only the names are looked at; ``relist`` reads every folder again.
        """
        progress = _Pass(followed, self._clock(), relist)
        present: list[Watchable] = []
        for configured in self.roots:
            root = self._effective(configured)
            try:
                info = files.stat(root.path)
                if not stat.S_ISDIR(info.st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, "is not a directory")
            except OSError as error:
                known = (root, root.path) in self._folders
                progress.problems[root.path] = _root_reason(error, known=known)
            else:
                present.append(Watchable(root.path, info.st_dev, info.st_ino, root.deep))
                if _undecodable(root.path):
                    progress.unwatchable[root.path] = "its path is not UTF-8"
            self._walk(root, progress)
        self._folders = progress.kept
        if progress.changed:
            self._files = self._all_files()
            self._watches = len(
                {key for root, key in progress.visited if root.path not in progress.unwatchable}
            )
        return Scan(
            files=self._files,
            roots=tuple(present),
            problems=tuple(Problem(path, reason) for path, reason in progress.problems.items()),
            changed=progress.changed,
            loose=tuple(progress.loose.values()),
            fresh=tuple(progress.fresh),
            unwatchable=tuple(progress.unwatchable.items()),
            folders=self._watches,
        )

    def concerns(self, path: bytes) -> bool:
        """Return whether a notice about ``path`` may mean that a listing would find something new."""
        for configured in self.roots:
            root = self._single.get(configured, configured)
            base = root.path.rstrip(b"/") + b"/"
            if path.startswith(base) and self._patterns[root].match(path[len(base) :]):
                return True
        return _is(path, stat.S_ISDIR)

    def _effective(self, root: Root) -> Root:
        """Return the root to walk: of a configured path that is a file, its folder with a pattern for its name."""
        if root in self._single or not _is(root.path, stat.S_ISREG):
            return self._single.get(root, root)
        folder, name = os.path.split(root.path)
        literal = literally(os.fsdecode(name))
        names = (literal, f"{literal}.[0-9]*")  # what a rotation makes of it is the same log
        single = replace(root, path=folder, include=names, exclude=(), deep=False)
        self._patterns[single] = Patterns(single.include, ())
        self._single[root] = single
        return single

    def _all_files(self) -> tuple[Found, ...]:
        files: dict[tuple[int, int], Found] = {}
        for folder in self._folders.values():
            for found in folder.files.values():
                files.setdefault(found.key, found)
            for linked in folder.linked.values():
                if isinstance(linked, Found):
                    files.setdefault(linked.key, linked)
        return tuple(files.values())

    def _walk(self, root: Root, progress: _Pass) -> None:
        """Visit every folder of a root once, reading those that may have changed."""
        pending = [root.path]
        while pending:
            path = pending.pop()
            folder = self._visit(root, path, progress)
            if folder is None:
                continue
            progress.kept[root, path] = folder
            if folder.undecodable:
                progress.unwatchable.setdefault(root.path, "it holds a name that is not UTF-8")
            if root.deep:
                pending.extend(folder.folders)
                pending.extend(link for link in folder.linked.values() if isinstance(link, bytes))

    def _visit(self, root: Root, path: bytes, progress: _Pass) -> _Folder | None:
        """Return what a folder holds; what it held before if it cannot be looked at; None if it was visited."""
        known = self._folders.get((root, path))
        folder: _Folder | None
        try:
            info = files.stat(path)
            key = (info.st_dev, info.st_ino)
            if (root, key) in progress.visited:
                return None  # a link may lead back up: each directory is entered once
            progress.visited.add((root, key))
            remote = self._kind(path, info.st_dev)
            if remote:
                progress.unwatchable.setdefault(root.path, f"{remote} does not tell of every change")
            if known is not None and (known.key != key or not stat.S_ISDIR(info.st_mode)):
                known, progress.changed = None, True  # another folder of the same name
            if known is None or remote or progress.relist or not _holds(known, info, progress.now):
                folder = self._read(root, path, info, known, progress, remote=bool(remote))
            else:
                folder = known
        except OSError as error:
            progress.problems.setdefault(path, _reason(error))
            folder = known
            if folder is None:
                return None
        self._look_again(root, path, folder, progress)
        return folder

    def _read(
        self,
        root: Root,
        path: bytes,
        info: os.stat_result,
        known: _Folder | None,
        progress: _Pass,
        *,
        remote: bool,
    ) -> _Folder:
        """Read a folder. Only names that are new in it are looked at, unless it is on a remote file system."""
        newest_ns = max(info.st_mtime_ns, info.st_ctime_ns)
        settled = time.time_ns() - newest_ns > SETTLED_NS and not remote
        folder = _Folder((info.st_dev, info.st_ino), _stamp(info), settled, progress.now)
        match = self._patterns[root].match
        prefix = path[len(root.path.rstrip(b"/")) + 1 :]
        prefix = prefix + b"/" if prefix else prefix
        before = known or folder
        for entry in _entries(path):
            name = entry.name
            if not name.isascii() and not folder.undecodable:
                folder.undecodable = _undecodable(name)
            if entry.is_symlink():
                folder.links.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folder.folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False) and match(prefix + name):
                number = folder.numbers[name] = entry.inode()
                found = before.files.get(name)
                if found is None or remote or before.numbers.get(name) != number:
                    found = self._file(root, entry.path, found, progress)
                    if found is None:
                        folder.settled = False
                        continue
                folder.files[name] = found
        folder.linked = before.linked
        folder.loose = [name for name, found in folder.files.items() if found.key not in progress.followed]
        progress.changed = progress.changed or known is None or _differ(folder, known)
        return folder

    def _look_again(self, root: Root, path: bytes, folder: _Folder, progress: _Pass) -> None:
        """Look at what may change without the folder showing it: where links lead, and files nobody follows yet."""
        loose: list[bytes] = []
        for name in folder.loose:
            known = folder.files[name]
            if known.key in progress.followed:
                continue
            found = self._file(root, os.path.join(path, name), known, progress)
            if found is None:
                folder.settled = False  # gone: the next reading says so
                continue
            progress.changed = progress.changed or found.key != known.key
            folder.files[name] = found
            loose.append(name)
            progress.loose.setdefault(found.key, found)
        folder.loose = loose
        linked: dict[bytes, Found | bytes] = {}
        for name in folder.links:
            leads = self._link(root, path, name, folder.linked.get(name), progress)
            if leads is not None:
                linked[name] = leads
                if isinstance(leads, Found) and leads.key not in progress.followed:
                    progress.loose.setdefault(leads.key, leads)
        progress.changed = progress.changed or _targets(linked) != _targets(folder.linked)
        folder.linked = linked

    def _link(
        self, root: Root, folder: bytes, name: bytes, known: Found | bytes | None, progress: _Pass
    ) -> Found | bytes | None:
        """Return the file that a symbolic link leads to if it counts, or the link's path if it leads to a folder."""
        path = os.path.join(folder, name)
        if _is(path, stat.S_ISDIR):
            return path if root.deep else None
        if not self._patterns[root].match(path[len(root.path.rstrip(b"/")) + 1 :]):
            return None
        return self._file(root, path, known if isinstance(known, Found) else None, progress)

    @staticmethod
    def _file(root: Root, path: bytes, known: Found | None, progress: _Pass) -> Found | None:
        """Look at a file that counts by its name; what it was before if it cannot be looked at now."""
        try:
            info = files.stat(path)
        except FileNotFoundError:
            return None  # removed since the listing, or a link to nothing
        except OSError as error:
            progress.problems[path] = _reason(error)
            return known
        if not stat.S_ISREG(info.st_mode):
            return None  # opening a FIFO or a device could block for good
        found = Found(
            path=path,
            file=path[len(root.path.rstrip(b"/")) + 1 :].decode("utf-8", "backslashreplace"),
            device=info.st_dev,
            inode=info.st_ino,
            size=info.st_size,
            mtime_ns=info.st_mtime_ns,
            root=root,
        )
        progress.fresh.append(found)
        return found

    def _kind(self, path: bytes, device: int) -> str:
        if device not in self._kinds:
            self._kinds[device] = self._remote(path)
        return self._kinds[device]


def _stamp(info: os.stat_result) -> tuple[int, ...]:
    # The second time cannot be set by anybody: an unpacked archive may set the first one back.
    return info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_nlink


def _holds(known: _Folder, info: os.stat_result, now: float) -> bool:
    """Return whether a folder must still hold the names it held."""
    return known.settled and known.stamp == _stamp(info) and now - known.read_at < RELIST_SECONDS


def _differ(folder: _Folder, known: _Folder) -> bool:
    """Return whether some name leads elsewhere."""
    return (
        folder.folders != known.folders
        or folder.links != known.links
        or len(folder.files) != len(known.files)
        or any(
            found is not (before := known.files.get(name)) and (before is None or found.key != before.key)
            for name, found in folder.files.items()
        )
    )


def _targets(linked: dict[bytes, Found | bytes]) -> dict[bytes, object]:
    return {name: leads.key if isinstance(leads, Found) else leads for name, leads in linked.items()}


def _below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")


def _undecodable(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return True
    return False


def _is(path: bytes, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(files.stat(path).st_mode)
    except OSError:
        return False


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    with files.scandir(folder) as entries:
        yield from entries


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _root_reason(error: OSError, *, known: bool) -> str:
    if not isinstance(error, FileNotFoundError):
        return _reason(error)
    return (
        "the directory is gone; what was in it counts as unchanged"
        if known
        else "the directory does not exist yet"
    )
