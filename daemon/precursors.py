"""What a file held before it was bound, and what lay in its place: that decides where it goes on (rule 4).

Belongs to the tailer's thread.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Sequence

from daemon import files
from daemon.discovery import Found
from daemon.files import Identity
from daemon.following import Climb
from daemon.reader import MARK_BYTES
from daemon.sources import Candidate, Catalogue, Known

DELETED_MOST = 1000  # paths at which another file may yet take the place of a deleted one


class Precursors:
    """Sources that were read from a file, or from one that lay in its place."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        # By unbound file, as it was first seen, the last one last: another file may take over their lines meanwhile.
        self._before: dict[tuple[int, int], tuple[Identity, Sequence[Known]]] = {}
        self._deleted: dict[bytes, Climb] = {}  # what was read of the file that was last deleted at a path

    def keep(self, keys: Container[tuple[int, int]]) -> None:
        """Forget unbound files that are listed no more."""
        for key in [key for key in self._before if key not in keys]:
            del self._before[key]

    def bound(self, key: tuple[int, int]) -> None:
        """Note that a file is followed: from now on its own books say what was read of it."""
        self._before.pop(key, None)

    def remembers(self, key: tuple[int, int]) -> bool:
        """Return whether a file was seen before."""
        return key in self._before

    def deleted(self, path: bytes, climb: Climb) -> None:
        """Remember what was read of a deleted file: another one may be put in its place."""
        self._deleted.pop(path, None)
        self._deleted[path] = climb
        if len(self._deleted) > DELETED_MOST:
            del self._deleted[next(iter(self._deleted))]

    def remember(self, candidate: Candidate, bound: Sequence[Known]) -> Sequence[Known]:
        """Note, at the first sight of an unbound file, which of the sources ``bound`` to its inode were its own.

        Returns them, the newest last.
        """
        here = candidate.file.identity
        before, own = self._before.get(here.key, (None, ()))
        if before != here:
            own = _own(candidate, bound)
            self._before[here.key] = here, own
        return own

    def former(self, candidate: Candidate, goes_on: Callable[[Known, Known], bool]) -> Climb | None:
        """Return the source that was last read from this very file, or since then from what took it over (rule 4).

        Of several that end at one place that is the one which ``goes_on`` says went on behind it.
        """
        here = candidate.file.identity
        before, own = self._before.get(here.key, (None, ()))
        read = [known for known in own if known.offset]
        if not read or before != here:
            return None
        further = (known for known in read if goes_on(known, read[-1]))
        known = max(further, key=lambda known: known.offset, default=read[-1])
        return Climb(known, known.offset)

    def replaced(self, found: Found, candidate: Candidate) -> Climb | None:
        """Return what was read of the deleted file in whose place this one is, if it begins alike by more than chance."""
        climb = self._deleted.get(found.path)
        if climb is None:
            known = self._catalogue.replaced(candidate, files.spelled(found.path))
            return None if known is None else Climb(known, known.offset)
        known = climb.known
        alike = (
            MARK_BYTES <= known.head_length <= candidate.size and known.source.internal == candidate.internal
        )
        return climb.again() if alike and candidate.head(known.head_length) == known.head else None


def _own(candidate: Candidate, bound: Sequence[Known]) -> list[Known]:
    """Return the sources among ``bound`` that were last read from this very file, the newest last."""
    here = candidate.file.identity
    own = [
        known
        for known in bound
        if here.may_be(known.device, known.inode, known.generation)
        and not known.gone
        and known.source.internal == candidate.internal
    ]
    return sorted(own, key=lambda known: known.source.first_seen_us)


def never_archived(own: Sequence[Known]) -> list[Known]:
    """Return the sources of a file that are newer than the last one of which something is archived, the newest first."""
    return list(itertools.takewhile(lambda known: not known.offset, reversed(own)))
