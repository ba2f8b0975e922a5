"""Helpers of binding: a found file opened to be looked at, and the followed files that begin alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from daemon.discovery import Found
from daemon.files import open_regular
from daemon.following import Followed
from daemon.packs import Packs
from daemon.sources import Candidate

HEAD_KEY_BYTES = 32  # files that agree in so many first bytes are compared


class Alike:
    """Followed files by the first bytes that were read from them."""

    def __init__(self, files: Iterable[Followed]) -> None:
        self._by_first: dict[bytes, list[Followed]] = defaultdict(list)
        for followed in files:
            self.add(followed)

    def add(self, followed: Followed) -> None:
        """Add a file."""
        with suppress(OSError):  # a file that cannot be read now is no witness
            self._by_first[followed.first_bytes(HEAD_KEY_BYTES)].append(followed)

    def to(self, first: bytes) -> list[Followed]:
        """Return the files that begin with the bytes ``first``, or that ``first`` begins with."""
        if len(first) == HEAD_KEY_BYTES:
            keys = [first[:length] for length in range(1, HEAD_KEY_BYTES + 1)]
        else:
            keys = [key for key in self._by_first if key and (key.startswith(first) or first.startswith(key))]
        return [followed for key in keys for followed in self._by_first.get(key, ())]


class Opened:
    """A found file, open while it is being looked at; closed at the end unless somebody took it over.

    None for a file that cannot be read now, among them compressed ones that are not known to be whole.
    """

    def __init__(self, found: Found, packs: Packs) -> None:
        self._found = found
        self._packs = packs
        self._candidate: Candidate | None = None
        self.error: OSError | None = None  # why it could not be opened

    def __enter__(self) -> Candidate | None:
        try:
            file = open_regular(self._found.path)
        except OSError as error:
            self.error = error
            return None  # gone, or not ours to read now: the next listing tries again
        if file is None:
            return None
        try:
            content = self._packs.content(file, self._found.path)
            if content is not None and file.identity.key == self._found.key:
                self._candidate = Candidate.of(content, internal=self._found.root.internal)
        except OSError as error:
            self.error = error
            return None
        finally:
            if self._candidate is None:
                file.close()
        return self._candidate

    def __exit__(self, *_: object) -> None:
        if self._candidate is not None:
            self._candidate.close()
