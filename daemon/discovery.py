"""Which files there are: a listing of the configured directories, at any depth, by include and exclude patterns.

A listing says what is there now and nothing else; who a file is, is decided by content in `daemon.sources`.
Paths are bytes, because a file name need not be UTF-8.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from daemon import files

INCLUDE = ("*.jsonl", "*.ndjson", "*.json", "*.log", "*.log.[0-9]*", "*.jsonl.[0-9]*")
EXCLUDE = ("*.gz", "*.zst", "*.bz2", "*.xz", "*.tmp", "*.swp", ".*")

_DATE = re.compile(rb"(?<!\d)((?:19|20)\d\d)[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)")
_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Root:
    """A directory to look in. Patterns without a slash match the file's name, others its path below the root."""

    path: bytes  # absolute
    include: tuple[str, ...] = INCLUDE
    exclude: tuple[str, ...] = EXCLUDE
    profile: str = "auto"
    internal: bool = False  # the daemon's own log


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


@dataclass(frozen=True, slots=True)
class Scan:
    """One listing. A file that several names lead to (hard link, symbolic link, overlapping roots) is here once."""

    files: tuple[Found, ...]
    roots: tuple[tuple[bytes, int, int], ...]  # path, device and inode of each root that exists
    problems: tuple[Problem, ...]

    def covers(self, path: bytes) -> bool:
        """Return whether the absence of ``path`` from this listing means that it is gone."""
        return not any(path.startswith(problem.path) for problem in self.problems)


@dataclass(slots=True)
class _Progress:
    files: dict[tuple[int, int], Found] = field(default_factory=dict)
    folders: set[tuple[int, int]] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


class Discovery:
    """Lists the files of some roots. `scan` blocks; call it off the event loop."""

    def __init__(self, roots: tuple[Root, ...]) -> None:
        self.roots = roots
        self._filters = {root: _Filter(root) for root in roots}

    def scan(self) -> Scan:
        """List everything. A directory that cannot be read is a problem in the result, never an exception."""
        progress = _Progress()
        present: list[tuple[bytes, int, int]] = []
        for root in self.roots:
            try:
                info = files.stat(root.path)
            except FileNotFoundError:
                progress.problems.append(Problem(root.path, "the directory does not exist yet"))
                continue
            except OSError as error:
                progress.problems.append(Problem(root.path, _reason(error)))
                continue
            if not stat.S_ISDIR(info.st_mode):
                progress.problems.append(Problem(root.path, "is not a directory"))
                continue
            present.append((root.path, info.st_dev, info.st_ino))
            self._walk(root, progress)
        return Scan(tuple(progress.files.values()), tuple(present), tuple(progress.problems))

    def concerns(self, path: bytes) -> bool:
        """Return whether a notice about ``path`` may mean that a listing would find something new."""
        for root in self.roots:
            relative = os.path.relpath(path, root.path)
            if not relative.startswith(b"..") and self._filters[root].matches(relative):
                return True
        return os.path.isdir(path)

    def _walk(self, root: Root, progress: _Progress) -> None:
        wanted = self._filters[root]
        pending = [root.path]
        while pending:
            folder = pending.pop()
            try:
                for entry in _entries(folder):
                    if entry.is_dir():
                        info = entry.stat()
                        # A link may lead back up: each directory is entered once.
                        if (info.st_dev, info.st_ino) not in progress.folders:
                            progress.folders.add((info.st_dev, info.st_ino))
                            pending.append(entry.path)
                    else:
                        self._file(root, wanted, entry, progress)
            except OSError as error:
                progress.problems.append(Problem(folder, _reason(error)))

    @staticmethod
    def _file(root: Root, wanted: _Filter, entry: os.DirEntry[bytes], progress: _Progress) -> None:
        relative = os.path.relpath(entry.path, root.path)
        if not wanted.matches(relative):
            return
        try:
            info = entry.stat()
        except FileNotFoundError:
            return  # removed since the listing, or a link to nothing
        except OSError as error:
            progress.problems.append(Problem(entry.path, _reason(error)))
            return
        if not stat.S_ISREG(info.st_mode):
            return  # opening a FIFO or a device could block for good
        found = Found(
            path=entry.path,
            file=relative.decode("utf-8", "backslashreplace"),
            device=info.st_dev,
            inode=info.st_ino,
            size=info.st_size,
            mtime_ns=info.st_mtime_ns,
            root=root,
        )
        progress.files.setdefault(found.key, found)


class _Filter:
    """A root's patterns, compiled once."""

    def __init__(self, root: Root) -> None:
        self._include = [_compiled(pattern) for pattern in root.include]
        self._exclude = [_compiled(pattern) for pattern in root.exclude]

    def matches(self, relative: bytes) -> bool:
        name = os.path.basename(relative)

        def hit(patterns: list[tuple[bool, re.Pattern[bytes]]]) -> bool:
            return any(pattern.fullmatch(relative if whole else name) for whole, pattern in patterns)

        return hit(self._include) and not hit(self._exclude)


def _compiled(pattern: str) -> tuple[bool, re.Pattern[bytes]]:
    """Return whether the pattern is about the whole relative path, and the pattern as an expression."""
    return "/" in pattern, re.compile(_expression(pattern.lstrip("/")).encode(), re.DOTALL)


_GLOB_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def _expression(pattern: str) -> str:
    """Translate a glob: ``*`` and ``?`` stay within a folder, ``**/`` is any number of folders."""
    meaning = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts: list[str] = []
    for token in _GLOB_TOKENS.findall(pattern):
        if token in meaning:
            parts.append(meaning[token])
        elif token.startswith("[") and len(token) > 1:
            body = token[1:-1].replace("\\", r"\\")
            parts.append(f"[^{body[1:]}]" if body.startswith("!") else f"[{body}]")
        else:
            parts.append(re.escape(token))
    return "".join(parts)


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    with files.scandir(folder) as entries:
        yield from entries


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def file_date_us(path: bytes) -> int | None:
    """Return the start of the UTC day that a file's name holds, in microseconds since 1970; None without a date."""
    match = _DATE.search(os.path.basename(path))
    if match is None:
        return None
    try:
        day = date(*(int(part) for part in match.groups()))
    except ValueError:
        return None  # the 31st of February
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * _MICROSECONDS
