"""The sign of life for a service that raises an alarm when it stays away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from daemon.outbound.message import Message
from daemon.outbound.sender import Channel, Sender
from storage.observer import Observer

_log = logging.getLogger(__name__)


async def beat(
    channel: Channel,
    sender: Sender,
    ready: Callable[[], tuple[bool, str]],
    observer: Observer,
    seconds: float,
    now_us: Callable[[], int],
) -> None:
    """Say every so many seconds that all is well. Whoever misses it knows that something is wrong, with us or between us."""
    while True:
        well, reason = ready()
        if well:
            at_us = now_us()
            message = Message(f"heartbeat-{at_us}", channel.name, "heartbeat", "heartbeat", (), at_us)
            outcome = await sender.send(channel, message)
            observer.count("alert_heartbeats", result="sent" if outcome.ok else "failed")
            reason = "" if outcome.ok else outcome.what
        if reason:
            _log.warning("no heartbeat was sent", extra={"channel": channel.name, "reason": reason})
        await asyncio.sleep(seconds)
