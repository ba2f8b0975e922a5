"""Which followed files are looked at when nobody noticed anything: the busier the oftener, each kind within a budget."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from daemon.binding import Binder
from daemon.following import Followed

HOT_SECONDS = 10.0  # a file that grew within this time is hot
ACTIVE_SECONDS = 600.0
HOT_EVERY_SECONDS = 0.25
ACTIVE_EVERY_SECONDS = 2.0
SWEEP_FILES = 2000  # idle files looked at in one turn: about 5 ms
SWEEP_PAUSE_SECONDS = 0.05
IDLE_COST_FACTOR = 50  # a kind of look that nothing asked for takes at most a fiftieth of a processor
REMOTE_COST_FACTOR = (
    10  # where there are no notices it is all there is, and mostly waits: a tenth of the thread's time
)

Began = tuple[float, float]


class Rounds:
    """Hot files four times a second, active ones every two seconds, the others in turn, some at a time.

    ``look`` sees what became of a file, ``enqueue`` has it read. A round of the others takes ``seconds`` or longer.
    """

    def __init__(
        self,
        binder: Binder,
        clock: Callable[[], float],
        seconds: float,
        *,
        look: Callable[[Followed, float], None],
        enqueue: Callable[[Followed], None],
    ) -> None:
        self._binder = binder
        self._books = binder.books
        self._clock = clock
        self._seconds = seconds
        self._look = look
        self._enqueue = enqueue
        self._hot: OrderedDict[Followed, None] = OrderedDict()
        self._active: OrderedDict[Followed, None] = OrderedDict()
        self._idle: list[Followed] = []  # still to be looked at in this round
        self._hot_due = self._active_due = self._idle_due = self._round_due = 0.0

    @property
    def due(self) -> float:
        """Return when `some` has something to look at."""
        due = min(self._active_due, self._idle_due)
        return min(due, self._hot_due) if self._hot else due

    def heat(self, followed: Followed) -> None:
        """Look at a file often for a while."""
        self._hot[followed] = None
        self._active[followed] = None

    def drop(self, followed: Followed) -> None:
        """Look at a file no more."""
        self._hot.pop(followed, None)
        self._active.pop(followed, None)

    def some(self, now: float) -> None:
        """Look at what is due."""
        if self._hot_due <= now:
            began = self.began()
            for followed in list(self._hot):
                self._look(followed, now)
                if now - followed.changed_at > HOT_SECONDS:
                    self._hot.pop(followed, None)
            self._hot_due = self._next(now, HOT_EVERY_SECONDS, began)
        if self._active_due <= now:
            began = self.began()
            for followed in list(self._active):
                self._look(followed, now)
                if followed.unread:
                    self._enqueue(followed)  # perhaps it may be finished now, or its reserved room was filled
                if now - followed.changed_at > ACTIVE_SECONDS and not followed.unread:
                    self._active.pop(followed, None)
            self._active_due = self._next(now, ACTIVE_EVERY_SECONDS, began)

    def sweep(self, now: float) -> None:
        """Look at some of the idle files: a notice about one of them may have been lost."""
        if now < self._idle_due:
            return
        if not self._idle:
            if now < self._round_due:
                self._idle_due = self._round_due
                return
            self._idle = list(self._books.files.values())
            self._round_due = now + self._seconds
        began = self.began()
        some, self._idle = self._idle[-SWEEP_FILES:], self._idle[:-SWEEP_FILES]
        for followed in some:
            self.check(followed, now)
        self._idle_due = self._next(now, SWEEP_PAUSE_SECONDS, began)

    def everything(self, now: float) -> None:
        """Look at every file at once: nobody knows what was missed."""
        for followed in list(self._books.files.values()):
            self.check(followed, now)

    def check(self, followed: Followed, now: float) -> None:
        """Look at a file only as far as is needed to see that nothing happened to it."""
        if self._books.follows(followed) and (followed.trouble or not followed.unchanged()):
            self._look(followed, now)
        if followed.unread and self._books.follows(followed):
            self._enqueue(followed)  # it could not be read when it was to be

    def began(self) -> Began:
        """Return what the clock says, and how much of a processor this thread has used."""
        return self._clock(), time.thread_time()

    def spent(self, began: Began) -> float:
        """Return what some looks cost since then, in seconds of this thread.

        On a busy machine a look takes longer than it works; where disks are remote it works less than it takes.
        """
        clock, worked = self.began()
        return clock - began[0] if self._binder.unwatchable else worked - began[1]

    def _next(self, started: float, period: float, began: Began) -> float:
        """Return when something that costs as much as it just did is due again."""
        return max(started + period, self._clock() + self.pause(began))

    def pause(self, began: Began) -> float:
        """Return how long to wait before the same look again, for it to stay within its budget."""
        factor = REMOTE_COST_FACTOR if self._binder.unwatchable else IDLE_COST_FACTOR
        return factor * self.spent(began)
