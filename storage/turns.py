"""A lock that is given in the order in which threads asked for it.

Python's own locks go to whoever comes first after a release, which is nearly always the thread that released: one that
commits without a pause would keep a seal, or a clean-up, waiting for ever.
"""

from __future__ import annotations

import threading
from collections import deque


class Turns:
    """A reentrant lock, first come first served. Use it in a with statement."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()  # held for a few instructions only
        self._owner: int | None = None
        self._depth = 0
        self._queue: deque[tuple[int, threading.Lock]] = deque()

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._mutex:
            if self._owner in (me, None):
                self._owner = me
                self._depth += 1
                return
            gate = threading.Lock()
            gate.acquire()
            self._queue.append((me, gate))
        try:
            gate.acquire()  # until the one before us hands over
        except BaseException:  # Ctrl-C: leave the queue, or pass on what we were handed
            with self._mutex:
                if (me, gate) in self._queue:
                    self._queue.remove((me, gate))
                else:
                    self._hand_over()
            raise

    def __exit__(self, *_: object) -> None:
        with self._mutex:
            self._depth -= 1
            if not self._depth:
                self._hand_over()

    def _hand_over(self) -> None:
        if not self._queue:
            self._owner, self._depth = None, 0
            return
        self._owner, gate = self._queue.popleft()
        self._depth = 1
        gate.release()
