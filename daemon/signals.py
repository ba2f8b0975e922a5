"""The signals that the daemon obeys: SIGTERM and Ctrl-C stop it in order, SIGHUP has it read its settings again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator


@contextlib.contextmanager
def obeyed(
    loop: asyncio.AbstractEventLoop, stop: asyncio.Event, on_hangup: Callable[[], None]
) -> Generator[None]:
    """Let SIGTERM and SIGINT set ``stop`` and SIGHUP call ``on_hangup``; only where signals can be handled."""
    ours = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    try:
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, stop.set)
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
    except (ValueError, RuntimeError):  # not in the main thread: whoever runs us there stops us by the event
        yield
        return
    try:
        yield
    finally:
        for number in ours:
            loop.remove_signal_handler(number)
