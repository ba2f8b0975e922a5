"""Tells people of alerts: takes changes, decides, delivers, and watches for what no rule finds. Runs beside the daemon.

`accept` is the way in: when it returns, the changes are durable, and everybody who is to be told will be.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from daemon.outbound import audit
from daemon.outbound.around import Around
from daemon.outbound.delivery import Worker
from daemon.outbound.dispatcher import Dispatcher, Route
from daemon.outbound.heartbeat import beat
from daemon.outbound.lookout import Lookout
from daemon.outbound.matchers import Inhibition, Matcher, Silence, labels, matched, parsed
from daemon.outbound.message import Message
from daemon.outbound.outbox import Outbox
from daemon.outbound.sender import Channel, Sender
from daemon.outbound.testmessage import tested
from daemon.outbound.watching import Quiet
from parsers.sigma.alert import Alert, AlertChange, ChangeKind
from storage.fs import Disk, Fs
from storage.observer import Observer

WATCH_SECONDS = 15.0  # how often is looked for silence and trouble
DISK_WAIT_SECONDS = 5.0  # after the outbox could not be written
MOST_SLEEP_SECONDS = 60.0  # a clock that was set is noticed after so long

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TellerOptions:
    """Who is told of what."""

    channels: tuple[Channel, ...] = ()
    routes: tuple[Route, ...] = ()
    inhibitions: tuple[Inhibition, ...] = ()
    quiet: tuple[Quiet, ...] = ()
    own_alerts: bool = True
    outbox_messages: int = 10_000
    heartbeat: str | None = None
    heartbeat_seconds: float = 300.0
    node: str = "main"


class Teller:
    """All of it. Belongs to the event loop; the outbox has a thread of its own."""

    def __init__(
        self,
        options: TellerOptions,
        folder: str,
        observer: Observer,
        environ: Mapping[str, str],
        around: Around,
        *,
        fs: Fs | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Read the outbox. Blocks. Raises OSError if it cannot be read."""
        self._options = options
        self._observer = observer
        self._around = around
        self._clock = clock
        single = frozenset(channel.name for channel in options.channels if channel.kind.single)
        dispatcher = Dispatcher(options.routes, options.inhibitions, single)
        disk = fs or Disk()
        self.outbox = Outbox(disk, folder, dispatcher, most=options.outbox_messages)
        self.outbox.load(self._now_us())
        if self.outbox.damaged:
            _log.error("%d lines of the outbox are damaged and were left out", self.outbox.damaged)
        self._sender = Sender(environ, clock=clock, dashboard=around.dashboard)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._workers = {
            channel.name: Worker(channel, self.outbox, self._sender, observer, self._in_thread, clock)
            for channel in options.channels
        }
        self._lookout = Lookout(
            options.quiet,
            options.node,
            self.outbox,
            around,
            own_alerts=options.own_alerts,
            fs=disk,
            folder=folder,
            accept=self.accept,
            in_thread=self._in_thread,
            now_us=self._now_us,
        )
        self._changed = asyncio.Event()
        self._heard: list[AlertChange] = []
        self._trouble = ""  # why the outbox cannot be written

    def _now_us(self) -> int:
        return int(self._clock() * 1e6)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run something of the outbox in its thread, to its end even if we are cancelled meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def accept(self, changes: Sequence[AlertChange]) -> None:
        """Take changes of alerts; they are durable on return. The same ones again change nothing. Raises OSError."""
        now_us = self._now_us()
        await self._in_thread(lambda: self.outbox.take(changes, now_us))
        self._changed.set()

    def hear(self, change: AlertChange) -> None:
        """Take a change as soon as may be, without waiting. One that a crash takes away is found again by `observe`."""
        self._heard.append(change)
        self._changed.set()

    async def _take_heard(self) -> None:
        heard, self._heard = self._heard, []
        if not heard:
            return
        try:
            await self.accept(heard)
        except OSError:
            self._heard = [*heard, *self._heard]
            raise

    async def run(self) -> None:
        """Decide, deliver and watch until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_kept(self._dispatch), name="alerts")
                group.create_task(_kept(self._observe), name="alerts-watch")
                for name, worker in self._workers.items():
                    group.create_task(_kept(worker.run), name=f"alerts-{name}")
                if self._options.heartbeat is not None:
                    group.create_task(_kept(self._beat), name="alerts-heartbeat")
        finally:
            await self._sender.close()

    async def _dispatch(self) -> None:
        while True:
            self._changed.clear()
            wait = await self.dispatch()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def dispatch(self) -> float:
        """Let what is due become messages; returns after how many seconds to look again."""

        def decide() -> tuple[list[Message], int | None, list[str]]:
            now_us = self._now_us()
            decisions = self.outbox.decide(now_us)
            self.outbox.expired(now_us)
            muted = [reason for decision in decisions for reason in decision.muted]
            made = [message for decision in decisions for message in decision.messages]
            return made, self.outbox.dispatcher.next_us, muted

        try:
            await self._take_heard()
            made, next_us, muted = await self._in_thread(decide)
        except OSError as error:
            self._trouble = error.strerror or str(error)
            _log.error("the outbox of alerts cannot be written", exc_info=error)
            return DISK_WAIT_SECONDS
        self._trouble = ""
        for reason in muted:
            self._observer.count("alerts_muted", reason=reason)
        for message in made:
            if message.key not in self.outbox.pending and message.key in self.outbox.dead:
                self._observer.count("alert_messages", channel=message.channel, result="refused")
        if made:
            for worker in self._workers.values():
                worker.woken.set()
        if next_us is None:
            return MOST_SLEEP_SECONDS
        return min(MOST_SLEEP_SECONDS, max(0.0, (next_us - self._now_us()) / 1e6))

    async def _observe(self) -> None:
        while True:
            try:
                await self.observe()
            except OSError as error:
                self._trouble = error.strerror or str(error)
                _log.error("an alert could not be written", exc_info=error)
            await asyncio.sleep(WATCH_SECONDS)

    async def observe(self) -> None:
        """Look once: for alerts that were not heard of (a crash came between), for silence and for trouble."""
        await self._lookout.look()

    async def _beat(self) -> None:
        channel = self._workers[self._options.heartbeat or ""].channel
        every, ready = self._options.heartbeat_seconds, self._around.ready
        await beat(channel, self._sender, ready, self._observer, every, self._now_us)

    # What people ask for

    def alerts(self) -> list[Alert]:
        """Return the daemon's own alerts that are remembered, the newest first. Any thread."""
        return sorted((own.alert for own in self.outbox.own), key=lambda alert: (-alert.opened_us, alert.id))

    def alert(self, identity: str) -> Alert | None:
        """Return one of the daemon's own alerts."""
        own = self.outbox.own.get(identity)
        return None if own is None else own.alert

    async def change(self, identity: str, kind: ChangeKind, *, by: str, comment: str = "") -> Alert | None:
        """Acknowledge, resolve or reopen one of the daemon's own alerts; None: there is none of this id.

        What it is already stays as it is. Raises OSError when that cannot be written down.
        """
        now_us = self._now_us()
        found = await self._in_thread(lambda: self.outbox.own.changed(identity, kind, by, comment, now_us))
        if not isinstance(found, AlertChange):
            return found
        await self.accept([found])
        await self._around.audit(audit.changed(found))
        return found.alert

    async def test(self, name: str, author: str = "") -> dict[str, Any]:
        """Send a test message over a channel now and return what came back. Raises ValueError for no such channel.

        It is an event, because something leaves.
        """
        if name not in self._workers:
            known = ", ".join(self._workers) or "none"
            raise ValueError(f"no channel is called {name!r}: there are {known}")
        answer = await tested(self._sender, self._workers[name].channel, self._now_us())
        await self._around.audit(audit.tested(answer, author))
        return answer

    def channels(self) -> list[dict[str, Any]]:
        """Return every channel: what it is, how it does, which routes lead to it; neither address nor secret."""
        return [
            {
                **worker.status(),
                "meaning": worker.channel.kind.meaning,
                "failing": worker.failing(),
                "heartbeat": name == self._options.heartbeat,
                "routes": [
                    {"match": [str(matcher) for matcher in route.matchers], "group_by": list(route.group_by)}
                    for route in self._options.routes
                    if name in route.channels
                ],
            }
            for name, worker in self._workers.items()
        ]

    def told(self, alert_id: str) -> list[dict[str, Any]]:
        """Return what is remembered of messages about an alert, oldest first: who took it, or why nobody did."""
        return [left.shown() for left in self.outbox.left.copy() if alert_id in left.alerts]

    def lately(self) -> list[dict[str, Any]]:
        """Return what is remembered of all messages that left or were given up, newest first."""
        return [left.shown() for left in reversed(self.outbox.left.copy())]

    def meant(self, matchers: Sequence[str]) -> list[str]:
        """Return the ids of the alerts that are not over and that matchers mean. Raises ValueError for one that is none."""
        wanted = parsed(matchers)
        known = list(self.outbox.dispatcher.alerts.values())
        return [one.id for one in known if one.state != "resolved" and matched(wanted, labels(one))]

    def silences(self) -> dict[str, Any]:
        """Return the silences in force, to come, and lately ended."""
        now_us = self._now_us()
        return {"silences": [_shown(one, now_us) for one in list(self.outbox.silences.values())]}

    async def silence(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Put a silence in force: ``matchers``, ``author``, ``comment``, ``seconds``, and ``starts_us`` if later.

        Raises ValueError if it cannot be used, OSError if it cannot be written.
        """
        now_us = self._now_us()
        starts_us = int(asked.get("starts_us") or now_us)
        ends_us = starts_us + int(float(asked["seconds"]) * 1e6)
        matchers: tuple[Matcher, ...] = parsed(asked["matchers"])
        author, comment = str(asked["author"]), str(asked["comment"])
        made = await self._in_thread(
            lambda: self.outbox.silence(matchers, author, comment, starts_us, ends_us)
        )
        await self._around.audit(audit.silenced(made, "create", author))
        return _shown(made, now_us)

    async def expire(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """End a silence. Raises ValueError if there is none of that ``id``."""
        now_us = self._now_us()
        ended = await self._in_thread(lambda: self.outbox.expire(str(asked["id"]), now_us))
        await self._around.audit(audit.silenced(ended, "delete", str(asked["author"])))
        self._changed.set()
        return _shown(ended, now_us)

    async def letters(self, doing: str, author: str = "") -> dict[str, Any]:
        """Return what waits and what is dead; ``retry`` sends the dead once more, ``discard`` throws them away.

        Either is an event: whoever throws a message away decides that nobody is told.
        """
        done = 0
        if doing == "retry":
            now_us = self._now_us()
            done = await self._in_thread(lambda: self.outbox.retry(now_us))
            for worker in self._workers.values():
                worker.woken.set()
        elif doing == "discard":
            done = await self._in_thread(self.outbox.discard)
        if done:
            await self._around.audit(audit.letters(doing, done, author))
        return {**self.outbox.shown(), "changed": done}

    def status(self) -> dict[str, Any]:
        """Return facts for `/status`."""
        now_us = self._now_us()
        return {
            "channels": [worker.status() for worker in self._workers.values()],
            "open": sum(a.state != "resolved" for a in list(self.outbox.dispatcher.alerts.values())),
            "pending": len(self.outbox.pending),
            "dead_letters": len(self.outbox.dead),
            "silences": sum(
                one.starts_us <= now_us < one.ends_us for one in list(self.outbox.silences.values())
            ),
        }

    def complaints(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong, as codes and words."""
        if self._trouble:
            yield "alert-outbox", f"what is to be told of alerts cannot be written: {self._trouble}"
        if self.outbox.dead:
            count, newest = len(self.outbox.dead), list(self.outbox.dead.values())[-1]
            last = f"the last for {newest.message.channel}: {newest.why}"
            yield (
                "dead-letters",
                f"{count} messages about alerts were given up (`watchkeep alerts outbox`), {last}",
            )
        for worker in self._workers.values():
            if worker.failing():
                yield (
                    "alert-delivery",
                    f"channel {worker.channel.name} does not take alerts: {worker.last_error}",
                )

    def measure(self) -> None:
        """Set the gauges."""
        for name, worker in self._workers.items():
            self._observer.gauge("alert_messages_pending", len(worker.waiting()), channel=name)
        self._observer.gauge("alert_dead_letters", len(self.outbox.dead))

    def close(self) -> None:
        """Wait for what is being written, and close. Blocks."""
        self._thread.shutdown(wait=True)
        self.outbox.close()


async def _kept(work: Callable[[], Awaitable[None]]) -> None:
    """Run something for ever, whatever goes wrong in it: telling of alerts must never stop the daemon."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - said loudly, and tried again
            _log.error("telling of alerts failed and goes on", exc_info=error)
        await asyncio.sleep(DISK_WAIT_SECONDS)


def _shown(silence: Silence, now_us: int) -> dict[str, Any]:
    state = "ended" if silence.ends_us <= now_us else "to come" if now_us < silence.starts_us else "in force"
    return {**silence.to_json(), "state": state}
