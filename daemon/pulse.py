"""The daemon's pulse: how punctual the event loop is, and the heartbeat that systemd's watchdog waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from daemon.notify import Notifier
from storage.observer import Observer

LOOP_TIMER_SECONDS = 0.1  # how often the event loop's own punctuality is measured
PULSE_SECONDS = 10.0  # how long the reader may need for a turn before the watchdog is no longer fed


class Pulse:
    """Beats on the event loop. ``progress`` is when the reader last completed a turn, by the monotonic clock."""

    def __init__(self, observer: Observer, notifier: Notifier, progress: Callable[[], float]) -> None:
        self._observer = observer
        self._notifier = notifier
        self._progress = progress

    async def run(self) -> None:
        """Measure the loop, and feed the watchdog while loop and reader get on."""
        fed = 0.0
        while True:
            before = time.monotonic()
            await asyncio.sleep(LOOP_TIMER_SECONDS)
            now = time.monotonic()
            self._observer.seconds("loop_delay_seconds", max(0.0, now - before - LOOP_TIMER_SECONDS))
            period = self._notifier.watchdog_seconds
            if period is not None and now - fed >= period and now - self._progress() < PULSE_SECONDS:
                self._notifier.send(WATCHDOG="1")
                fed = now
