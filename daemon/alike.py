"""The followed files that begin alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

from daemon.following import Followed

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
