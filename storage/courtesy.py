"""Long work lets whoever waits for an answer go first: exports, back-tests, detection, sealing, clean-up.

Three means, because none is enough alone (docs/decisions/0023-long-work-steps-aside.md). Its threads stand back: they get
the processor when nobody else wants it, and a little of it always. Work that consists of many pieces steps aside between
two of them while a question is under way, for a moment at most, so that it comes to its end as well. And a thread that
computes in Python gives the interpreter away after a short turn.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Generator
from contextvars import ContextVar

# Ten steps are a tenth of the processor when somebody else wants all of it. Less would be worse for everybody: a thread
# that was stopped while it held the interpreter keeps all others waiting until it gets its share.
NICENESS = 10
# Three steps are half a share. Somebody waits for what detection finds, if not as impatiently as for an answer: with ten
# steps, beside eight busy processes a core, alerts came half a minute late.
SLIGHT_NICENESS = 3
# A question needs the interpreter some ten times, and each time waits so long for a thread that computes in it. Python's
# own five milliseconds made questions beside a back-test twice as slow.
TURN_SECONDS = 0.001
PAUSE_SECONDS = (
    0.02  # what a piece of long work (some 10 ms) waits at most: a third of its speed is left to it
)


def stand_back(niceness: int = NICENESS) -> None:
    """Lower the priority of this thread, and of those that it starts. Where threads have none, nothing happens."""
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, max(niceness, os.getpriority(os.PRIO_PROCESS, thread)))
    with contextlib.suppress(OSError):
        os.sched_setscheduler(
            thread, os.SCHED_BATCH, os.sched_param(0)
        )  # it interrupts nobody when it wakes up


def take_short_turns() -> None:
    """Let threads hold the interpreter no longer than TURN_SECONDS when others want it; for the whole process."""
    sys.setswitchinterval(TURN_SECONDS)


class Courtesy:
    """Knows whether anybody waits for an answer. For any thread."""

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._pause_seconds = pause_seconds
        self._questions = 0
        self._lock = threading.Lock()
        self._nobody = threading.Event()
        self._nobody.set()

    @contextlib.contextmanager
    def question(self) -> Generator[None]:
        """Somebody waits for an answer inside this context."""
        with self._lock:
            self._questions += 1
            self._nobody.clear()
        try:
            yield
        finally:
            with self._lock:
                self._questions -= 1
                if not self._questions:
                    self._nobody.set()

    def step_aside(self) -> None:
        """Return when nobody waits, or after ``pause_seconds``. Blocks."""
        self._nobody.wait(self._pause_seconds)


COURTESY: ContextVar[Courtesy | None] = ContextVar("courtesy", default=None)


def step_aside() -> None:
    """Wait a moment if this is long work and somebody waits for an answer; call it between two pieces. Blocks."""
    courtesy = COURTESY.get()
    if courtesy is not None:
        courtesy.step_aside()
