"""Opening found files, and keeping as few of them open as the process may have."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping

from daemon import files
from daemon.descriptors import LEAST_KEPT
from daemon.discovery import Found
from daemon.following import Fate, Followed
from daemon.packs import Packs
from daemon.sources import Candidate

_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}


class Opened:
    """A found file, open while it is being looked at; closed at the end unless somebody took it over.

    None for a file that cannot be read now, among them compressed ones that are not known to be whole. ``failed`` is
    told why it could not be opened.
    """

    def __init__(
        self,
        found: Found,
        packs: Packs,
        failed: Callable[[Found, OSError], None] = lambda _found, _error: None,
    ) -> None:
        self._found = found
        self._packs = packs
        self._failed = failed
        self._candidate: Candidate | None = None

    def __enter__(self) -> Candidate | None:
        try:
            file = files.open_regular(self._found.path)
        except OSError as error:
            self._failed(self._found, error)
            return None  # gone, or not ours to read now: the next listing tries again
        if file is None:
            return None
        try:
            content = self._packs.content(file, self._found.path)
            if content is not None and file.identity.key == self._found.key:
                self._candidate = Candidate.of(content, internal=self._found.root.internal)
        except OSError as error:
            self._failed(self._found, error)
            return None
        finally:
            if self._candidate is None:
                file.close()
        return self._candidate

    def __exit__(self, *_: object) -> None:
        if self._candidate is not None:
            self._candidate.close()


class Descriptors:
    """Which followed files are open. ``lock`` is held while one is closed: another thread may duplicate it."""

    def __init__(
        self,
        followed: Mapping[tuple[int, int], Followed],
        packs: Packs,
        most: int,
        lock: threading.Lock,
        *,
        committed: Callable[[Followed], bool],
        unopened: Callable[[Found], None],
    ) -> None:
        self._files = followed
        self._packs = packs
        self._most = most
        self._lock = lock
        self._committed = committed
        self._unopened = unopened
        self._open = 0
        self.refused: dict[str, str] = {}  # files that could not be opened since the last listing, and why
        self.starved = False  # some file could not be opened for want of descriptors

    def begin(self) -> None:
        """Forget what could not be opened: a new listing tries everything again."""
        self.refused, self.starved = {}, False

    def candidate(self, found: Found) -> Opened:
        """Return a found file to be looked at."""
        return Opened(found, self._packs, self._not_opened)

    def _not_opened(self, found: Found, error: OSError) -> None:
        path = files.spelled(found.path)
        if isinstance(error, PermissionError) and found.size:
            self._unopened(found)
        if error.errno in _NO_DESCRIPTORS:
            self._most = max(LEAST_KEPT, min(self._most, self._open * 3 // 4))
            self.shrink(None)
            self.starved = True
        if not isinstance(error, FileNotFoundError):
            self.refused[path] = error.strerror or str(error)

    def took(self, followed: Followed) -> None:
        """Count a file that is open from now on."""
        self._open += 1
        self.shrink(followed)

    def close(self, followed: Followed) -> None:
        """Close the descriptor; the file is opened again when it is needed."""
        with self._lock:
            if not followed.reader.file.closed:
                followed.reader.file.close()
                self._open -= 1

    def shrink(self, keep: Followed | None) -> None:
        """Close the longest idle descriptors when there are too many of them.

        First those of files that are read and committed. If that is not enough, of others that have a name to be
        opened by again; never of a file without one, which would be lost.
        """
        if self._open <= self._most:
            return
        named = [
            f
            for f in self._files.values()
            if not f.reader.file.closed and f is not keep and f.fate not in {Fate.UNLINKED, Fate.MOVED}
        ]
        named.sort(key=lambda f: (bool(f.unread) or not self._committed(f), f.changed_at))
        for longest in named[: max(1, self._open - self._most // 2)]:
            self.close(longest)
