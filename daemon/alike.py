"""The followed files that begin alike."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from daemon.following import Followed


class Alike:
    """Followed files in the order of what they begin with, as ``beginnings`` tells it: none, one or several each.

    Thousands of logs may begin with the same hundred bytes, such as the time at which a day began: all bytes that tell
    files apart count here, so that each is compared with its copies only and not with all the others.
    """

    def __init__(self, files: Iterable[Followed], beginnings: Callable[[Followed], Sequence[bytes]]) -> None:
        self._beginnings = beginnings
        # Two lists side by side, of what is looked for and of whom it belongs to: fifty thousand pairs would wake the
        # garbage collector, and that takes as long as all the rest.
        keys: list[bytes] = []
        owners: list[Followed] = []
        for followed in files:
            for key in filter(None, self._of(followed)):
                keys.append(key)
                owners.append(followed)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._keys = [keys[at] for at in order]
        self._files = [owners[at] for at in order]

    def _of(self, followed: Followed) -> Sequence[bytes]:
        try:
            return self._beginnings(followed)
        except OSError:
            return ()  # a file that cannot be read now is no witness

    def add(self, followed: Followed) -> None:
        """Add a file."""
        for key in filter(None, self._of(followed)):
            at = bisect_right(self._keys, key)
            self._keys.insert(at, key)
            self._files.insert(at, followed)

    def to(self, first: bytes) -> list[Followed]:
        """Return the files that begin with the bytes ``first``, or that ``first`` begins with; shorter ones first."""
        found: dict[Followed, None] = {}
        for start, end in (*reversed([*self._shorter(first)]), self._longer(first)):
            found.update(dict.fromkeys(self._files[start:end]))
        return list(found)

    def _longer(self, first: bytes) -> tuple[int, int]:
        """Return where the keys are that begin with ``first``, ``first`` itself among them."""
        start = bisect_left(self._keys, first)
        end = bisect_left(self._keys, True, lo=start, key=lambda key: not key.startswith(first))
        return start, end

    def _shorter(self, first: bytes) -> Iterator[tuple[int, int]]:
        """Yield where the keys are that ``first`` begins with and that are shorter, the longest first.

        Of keys in order, all between a prefix of ``first`` and ``first`` begin with that prefix: what the greatest key
        up to some prefix has in common with it bounds how long the next one can be.
        """
        longest = len(first) - 1
        while longest > 0:
            end = bisect_right(self._keys, first[:longest])
            if not end:
                return
            key = self._keys[end - 1]
            common = _common(key, first)
            if common == len(key):
                start = bisect_left(self._keys, key, hi=end)
                yield start, end
                common -= 1
            longest = common


def _common(left: bytes, right: bytes) -> int:
    """Return how many first bytes two texts have in common."""
    size = min(len(left), len(right))
    return bisect_left(range(size), True, key=lambda at: left[: at + 1] != right[: at + 1])
