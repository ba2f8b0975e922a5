"""Ctrl-C in the middle of work that may only end between two steps: it is remembered, and asked for by who works."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Whether somebody pressed Ctrl-C."""

    asked = False

    def note(self, _number: int, _frame: FrameType | None) -> None:
        """Remember the first one. A second one ends the work where it is, as a kill would."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def deferred() -> Generator[Interrupt]:
    """Let Ctrl-C wait. Not in another thread, which never gets one, nor where it is ignored, as in a shell's background."""
    interrupt = Interrupt()
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt
        return
    before = signal.signal(signal.SIGINT, interrupt.note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
