"""Whether the time of day is believed: ages decide what is removed, and a clock that jumped makes everything old."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from storage.archive import Archive
from storage.keeping import DAY_US, ClockError
from storage.retention import Policy

JUMP_SECONDS = 3600.0  # more than clocks are corrected by, and than a leap of summer time in a wrong zone
BELIEVED_SECONDS = 86_400.0  # after so long a jump is no accident


def elapsed() -> float:
    """Return seconds that passed, those in which the machine slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Belief:
    """What the clock of one daemon is believed to show. ``clock`` tells the time that passed, ``now`` that of day."""

    def __init__(
        self,
        archive: Archive,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        policy: Callable[[], Policy],
    ) -> None:
        self._archive = archive
        self._clock = clock
        self._now = now
        self._policy = policy
        # Between the time of day, as far as it is believed, and the time that passed.
        self._offset = self._first() - clock()
        self._jumped_at: float | None = None

    def _first(self) -> float:
        """Return what the clock shows at the start, or what it once showed, if that is later or far too early.

        Later: a machine without a battery begins in the past, and is set right when it has a network.
        """
        shown, known = self._now().timestamp(), self._archive.keeping.believed_us / 1e6
        return shown if not known or 0 <= shown - known <= self._far_seconds else known

    @property
    def _far_seconds(self) -> float:
        return self._policy().clock_jump_days * DAY_US / 1e6

    def check(self) -> None:
        """Raise ClockError while the clock shows a day that it should not show yet: ages would be wrong by the jump.

        A clock that was set forward a little is believed after a day, one that is far ahead only if a person says so,
        also after a restart. Backwards does no harm: everything is younger then, and it may come back.
        """
        passed, shown = self._clock(), self._now().timestamp()
        ahead = shown - passed - self._offset
        if ahead > self._far_seconds:
            self._jumped_at = None
            raise ClockError(ahead, far=True)
        if ahead <= JUMP_SECONDS:
            self._jumped_at = None
            return
        if self._jumped_at is None:
            self._jumped_at = passed
        if passed - self._jumped_at >= BELIEVED_SECONDS:
            self.confirm(shown)
            return
        raise ClockError(ahead, far=False)

    def confirm(self, shown: float) -> None:
        """Believe from now on that it is ``shown`` (seconds since 1970)."""
        self._offset, self._jumped_at = shown - self._clock(), None
