"""One worker a channel: takes messages out of the outbox, tries, waits, tries again, and in the end gives up loudly.

At least once: a message is struck off only after its receiver took it, and a crash in between sends it again with the
same key.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daemon.outbound.message import Message
from daemon.outbound.outbox import DIGEST, Outbox
from daemon.outbound.payloads import SHOWN_ALERTS
from daemon.outbound.sender import Channel, Outcome, Sender
from parsers.moments import rfc3339
from storage.observer import Observer

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 900.0
GIVE_UP_SECONDS = 86_400.0  # a day: whoever repairs a receiver after a night still gets everything
DIGEST_FROM = 3  # so many waiting messages become one when the channel may not speak as often
FURTHEST_SECONDS = 3600.0  # the longest wait there is, that of a Retry-After
DISK_WAIT_SECONDS = 5.0  # after the outbox could not be written
BURST = 5  # messages that may leave at once, before the pace counts
FAILING_SECONDS = 300.0  # a channel that has failed for so long is complained about

T = TypeVar("T")
InThread = Callable[[Callable[[], T]], Awaitable[T]]

_log = logging.getLogger(__name__)


def backoff(failures: int, luck: float) -> float:
    """Return how long to wait after so many failures in a row, seconds; ``luck`` in [0, 1) spreads the herd."""
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(failures - 1, 30))
    return longest * (0.5 + luck / 2)


@dataclass(slots=True)
class Pace:
    """A token bucket. Times are seconds on the caller's clock."""

    per_minute: int
    tokens: float = BURST
    at: float = 0.0

    def wait(self, now: float) -> float:
        """Return how long until the next message may leave, seconds."""
        rate = self.per_minute / 60
        self.tokens = min(float(min(BURST, self.per_minute)), self.tokens + max(0.0, now - self.at) * rate)
        self.at = now
        return 0.0 if self.tokens >= 1 else (1 - self.tokens) / rate

    def take(self) -> None:
        """Let one leave."""
        self.tokens -= 1


@dataclass(slots=True)
class _Tries:
    """What is known of a message that failed; it begins anew after a restart."""

    count: int = 0
    due: float = 0.0


@dataclass(slots=True)
class Worker:
    """Delivers the messages of one channel."""

    channel: Channel
    outbox: Outbox
    sender: Sender
    observer: Observer
    in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]
    clock: Callable[[], float] = time.time
    luck: Callable[[], float] = random.random
    failures: int = 0
    failing_since: float | None = None
    resumes: float = 0.0
    last_ok: float | None = None
    last_error: str = ""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    _tries: dict[str, _Tries] = field(default_factory=dict)
    _pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        self._pace = Pace(self.channel.per_minute, at=self.clock())

    def waiting(self) -> list[Message]:
        """Return what waits for this channel, oldest first."""
        return [one for one in list(self.outbox.pending.values()) if one.channel == self.channel.name]

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self.woken.clear()
            try:
                wait = await self.step()
            except OSError as error:
                _log.error("the outbox of alerts cannot be written", exc_info=error)
                wait = DISK_WAIT_SECONDS
            try:
                async with asyncio.timeout(wait):
                    await self.woken.wait()
            except TimeoutError:
                continue

    async def step(self) -> float | None:
        """Make at most one attempt; returns after how many seconds the next is due, None: when there is something."""
        waiting = self.waiting()
        now = self.clock()
        self._tries = {one.key: self._tries[one.key] for one in waiting if one.key in self._tries}
        if not waiting:
            return None
        if now < self.resumes <= now + FURTHEST_SECONDS:  # further ahead: the clock was set back
            return self.resumes - now
        pause = self._pace.wait(now)
        if pause > 0:
            return pause
        message = await self._gathered(waiting) or self._next(waiting)
        tries = self._tries.setdefault(message.key, _Tries())
        if now < tries.due <= now + FURTHEST_SECONDS:
            return tries.due - now
        self._pace.take()
        outcome = await self.sender.send(self.channel, message)
        await self._took_note(message, tries, outcome)
        return 0.0

    def _next(self, waiting: list[Message]) -> Message:
        """Return the message to try: the one tried least, but within a group the oldest first."""
        if waiting[0].group == DIGEST:
            return waiting[0]
        heads: dict[str, Message] = {}
        for message in waiting:
            heads.setdefault(message.group, message)
        fresh = _Tries()
        return min(heads.values(), key=lambda one: self._tries.get(one.key, fresh).due)

    async def _gathered(self, waiting: list[Message]) -> Message | None:
        """Make one message of what waits, if it is too much for people."""
        if not self.channel.kind.digest or len(waiting) < DIGEST_FROM or self._pace.tokens >= 2:
            return None
        self.observer.count("alert_digests", channel=self.channel.name)
        now_us = int(self.clock() * 1e6)
        message: Message = await self.in_thread(lambda: self.outbox.digest(waiting, SHOWN_ALERTS, now_us))
        return message

    async def _took_note(self, message: Message, tries: _Tries, outcome: Outcome) -> None:
        now = self.clock()
        name = self.channel.name
        if outcome.ok:
            self.observer.count("alert_messages", channel=name, result="sent")
            self.failures, self.failing_since, self.last_ok, self.last_error = 0, None, now, ""
            await self.in_thread(lambda: self.outbox.done(message, int(now * 1e6), outcome.what))
            return
        self.last_error = outcome.what
        self.failing_since = self.failing_since or now
        if outcome.permanent or now - message.at_us / 1e6 >= GIVE_UP_SECONDS:
            self.observer.count("alert_messages", channel=name, result="dead")
            _log.error(
                "a message about an alert was given up",
                extra={"channel": name, "key": message.key, "reason": outcome.what},
            )
            why = outcome.what if outcome.permanent else f"given up after a day: {outcome.what}"
            await self.in_thread(lambda: self.outbox.fail(message, why, int(now * 1e6)))
            return
        self.observer.count("alert_messages", channel=name, result="failed")
        self.failures += 1
        tries.count += 1
        asked = outcome.wait_seconds or 0.0
        tries.due = now + max(asked, backoff(tries.count, self.luck()))
        self.resumes = now + max(asked, backoff(self.failures, self.luck()))
        _log.warning(
            "a message about an alert will be sent again",
            extra={"channel": name, "key": message.key, "reason": outcome.what},
        )

    def failing(self) -> bool:
        """Whether nothing has got through for a while."""
        return self.failing_since is not None and self.clock() - self.failing_since >= FAILING_SECONDS

    def status(self) -> dict[str, Any]:
        """Return how the channel does; neither address nor secret."""
        waiting = self.waiting()
        return {
            "name": self.channel.name,
            "type": self.channel.type,
            "pending": len(waiting),
            "oldest": rfc3339(waiting[0].at_us) if waiting else None,
            "last_sent": rfc3339(int(self.last_ok * 1e6)) if self.last_ok else None,
            "failures": self.failures,
            "last_error": self.last_error or None,
        }
