"""Tells people of alerts: takes changes, decides, delivers, and watches for what no rule finds. Runs beside the daemon.

`accept` is the way in: when it returns, the changes are durable, and everybody who is to be told will be.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from daemon.alerting import ACTIONS
from daemon.outbound.delivery import Worker
from daemon.outbound.dispatcher import Dispatcher, Route
from daemon.outbound.matchers import Inhibition, Matcher, Silence, labels, matched, parsed
from daemon.outbound.message import Message
from daemon.outbound.outbox import Outbox
from daemon.outbound.rhythm import Rhythm
from daemon.outbound.sender import Channel, Outcome, Sender
from daemon.outbound.watching import Quiet, Watch
from parsers.moments import rfc3339
from parsers.sigma.alert import Alert, AlertChange, ChangeKind
from storage.fs import Disk, Fs, replacing
from storage.observer import Observer
from web.status import SourceStatus

WATCH_SECONDS = 15.0  # how often is looked for silence and trouble
DISK_WAIT_SECONDS = 5.0  # after the outbox could not be written
MOST_SLEEP_SECONDS = 60.0  # a clock that was set is noticed after so long
TEST_ENDS_US = 60_000_000  # when an Alertmanager forgets a test
OWN_CODES = frozenset({"alert-delivery"})  # who cannot tell cannot tell that either; the dashboard shows it

QUIET_FILE = "quiet.json"  # in the outbox's folder: how long files are usually silent
KEEP_US = 600_000_000  # between two writes of it: a crash costs ten minutes of learning

T = TypeVar("T")
Audit = Callable[[Mapping[str, Any]], Awaitable[None]]

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


@dataclass(frozen=True, slots=True)
class Around:
    """What the teller sees of the daemon. ``sources`` takes a while with many files: it is called in a thread."""

    sources: Callable[[], Sequence[SourceStatus]]
    degraded: Callable[[], Sequence[Mapping[str, str]]]
    ready: Callable[[], tuple[bool, str]]
    audit: Audit
    dashboard: Callable[[], str]
    alerts: Callable[[], Sequence[AlertChange]] = tuple  # the newest change of every alert; asked in a thread
    logged: Callable[[set[str]], set[str]] = set  # which events of these ids were audited; asked in a thread


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
        self.outbox = Outbox(fs or Disk(), folder, dispatcher, most=options.outbox_messages)
        self.outbox.load(self._now_us())
        if self.outbox.damaged:
            _log.error("%d lines of the outbox are damaged and were left out", self.outbox.damaged)
        self._sender = Sender(environ, clock=clock, dashboard=around.dashboard)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._workers = {
            channel.name: Worker(channel, self.outbox, self._sender, observer, self._in_thread, clock)
            for channel in options.channels
        }
        self._fs, self._quiet_file = fs or Disk(), os.path.join(folder, QUIET_FILE)
        self._watch = Watch(options.quiet, options.node, self._now_us(), self._rhythms())
        self._kept = (0, self._now_us())  # what was learned when it was written, and when that was
        self._changed = asyncio.Event()
        self._heard: list[AlertChange] = []
        self._looked = False  # for events that a crash kept from being made
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
        if not self._looked:
            await self._audit_again()
            self._looked = True
        missed = await asyncio.to_thread(self._around.alerts)
        if missed:
            await self.accept(missed)
        trouble: dict[str, str] = {}
        if self._options.own_alerts:
            for complaint in self._around.degraded():
                if complaint["code"] not in OWN_CODES:
                    trouble.setdefault(complaint["code"], complaint["detail"])
            ready, reason = self._around.ready()
            if not ready:
                trouble["not-ready"] = reason
        sources = await asyncio.to_thread(self._around.sources) if self._options.quiet else ()
        now_us = self._now_us()
        known = await self._in_thread(lambda: self.outbox.own.standing(now_us))
        changes = self._watch.observe(now_us, sources, trouble, known)
        if changes:
            await self.accept(changes)
            for change in changes:
                await self._around.audit(_event(change))
        await self._in_thread(lambda: self._keep_rhythms(now_us))

    async def _audit_again(self) -> None:
        """Make the events of our own alerts that a crash kept from being made: people were to be told of these already."""
        own = await self._in_thread(lambda: list(self.outbox.own))
        made = [_event(AlertChange(each.alert, each.kind, each.number)) for each in own]
        events = {str(event["eventId"]): event for event in made}
        known = await asyncio.to_thread(self._around.logged, set(events)) if events else set()
        for name, event in events.items():
            if name not in known:
                await self._around.audit(event)

    def _rhythms(self) -> dict[str, Rhythm]:
        """Read how long files are usually silent. What cannot be read is learned again."""
        try:
            if self._fs.size(self._quiet_file) is None:
                return {}
            given = orjson.loads(self._fs.read(self._quiet_file))
            wanted = {rule.files for rule in self._options.quiet if rule.within_us is None}
            return {files: Rhythm.from_json(kept) for files, kept in given.items() if files in wanted}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("how long files are usually silent is learned again: %s", error)
            return {}

    def _keep_rhythms(self, now_us: int) -> None:
        """Write down what was learned, now and then. Blocks. Raises OSError."""
        learned, at_us = self._kept
        if self._watch.learned == learned or 0 <= now_us - at_us < KEEP_US:
            return
        kept = {files: rhythm.to_json() for files, rhythm in self._watch.rhythms.items()}
        with replacing(self._fs, self._quiet_file, f"{self._quiet_file}.part") as handle:
            handle.write(orjson.dumps(kept))
        self._kept = (self._watch.learned, now_us)

    async def _beat(self) -> None:
        """Say now and then that all is well. Whoever misses it knows that something is wrong, with us or between us."""
        name = self._options.heartbeat or ""
        channel = self._workers[name].channel
        while True:
            ready, reason = self._around.ready()
            if ready:
                now_us = self._now_us()
                message = Message(f"heartbeat-{now_us}", name, "heartbeat", "heartbeat", (), now_us)
                outcome = await self._sender.send(channel, message)
                self._observer.count("alert_heartbeats", result="sent" if outcome.ok else "failed")
                reason = "" if outcome.ok else outcome.what
            if reason:
                _log.warning("no heartbeat was sent", extra={"channel": name, "reason": reason})
            await asyncio.sleep(self._options.heartbeat_seconds)

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
        await self._around.audit(_event(found))
        return found.alert

    async def test(self, name: str, author: str = "") -> dict[str, Any]:
        """Send a test message over a channel now and return what came back. Raises ValueError for no such channel.

        It is an event, because something leaves.
        """
        if name not in self._workers:
            known = ", ".join(self._workers) or "none"
            raise ValueError(f"no channel is called {name!r}: there are {known}")
        answer = await tested(self._sender, self._workers[name].channel, self._now_us())
        await self._around.audit(_tested(answer, author))
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
        await self._around.audit(_silenced(made, "create", author))
        return _shown(made, now_us)

    async def expire(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """End a silence. Raises ValueError if there is none of that ``id``."""
        now_us = self._now_us()
        ended = await self._in_thread(lambda: self.outbox.expire(str(asked["id"]), now_us))
        await self._around.audit(_silenced(ended, "delete", str(asked["author"])))
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
            await self._around.audit(_letters(doing, done, author))
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


async def tested(sender: Sender, channel: Channel, now_us: int) -> dict[str, Any]:
    """Send a test message and return what came back. What opened an incident closes it again."""
    alert = Alert(
        id=f"test-{uuid.uuid4()}",
        rule_id="watchkeep.test",
        title="Watchkeep: a test message",
        level="informational",
        group=(("channel", channel.name),),
        state="open",
        opened_us=now_us,
        last_us=now_us,
        count=1,
        description="Somebody asked whether messages arrive. There is nothing to do.",
    )
    message = Message(alert.id, channel.name, alert.id, "test", (alert,), now_us, now_us + TEST_ENDS_US)
    outcome: Outcome = await sender.send(channel, message)
    if outcome.ok and channel.kind.single:
        over = Message(f"{alert.id}-end", channel.name, alert.id, "resolved", (alert,), now_us)
        outcome = await sender.send(channel, over)
    return {"channel": channel.name, "type": channel.type, "ok": outcome.ok, "answer": outcome.what}


def _shown(silence: Silence, now_us: int) -> dict[str, Any]:
    state = "ended" if silence.ends_us <= now_us else "to come" if now_us < silence.starts_us else "in force"
    return {**silence.to_json(), "state": state}


def _letters(doing: str, done: int, author: str) -> dict[str, Any]:
    again = doing == "retry"
    return {
        "level": "warning",
        "category": "security",
        "action": "update" if again else "delete",
        "description": f"{done} messages about alerts that nobody took "
        + ("are sent again" if again else "were thrown away"),
        "entity": {"type": "outbox", "id": "dead-letters", "name": "dead letters"},
        "metadata": {"messages": done},
        **({"user": {"username": author}} if author else {}),
    }


def _tested(answer: Mapping[str, Any], author: str) -> dict[str, Any]:
    return {
        "category": "security",
        "action": "system_event",
        "outcome": "success" if answer["ok"] else "failure",
        "description": f"A test message was sent over the channel {answer['channel']}",
        "entity": {"type": "channel", "id": answer["channel"], "name": answer["channel"]},
        "metadata": {"answer": answer["answer"]},
        **({"user": {"username": author}} if author else {}),
    }


def _silenced(silence: Silence, action: str, author: str) -> dict[str, Any]:
    means = ", ".join(map(str, silence.matchers))
    text = (
        f"Alerts with {means} are silenced until {rfc3339(silence.ends_us)}: {silence.comment}"
        if action == "create"
        else f"The silence of alerts with {means} was ended"
    )
    return {
        "level": "warning",
        "category": "security",
        "action": action,
        "description": text,
        "user": {"username": author},
        "entity": {"type": "silence", "id": silence.id, "name": means},
        "metadata": silence.to_json(),
    }


def _event(change: AlertChange) -> dict[str, Any]:
    alert, kind = change.alert, change.kind
    opened = kind == "opened"
    event: dict[str, Any] = {
        "eventId": f"own-alert-{alert.id}-{change.number}",
        "level": "error" if opened else "info",
        "category": "security",
        # What a person does has the same name whoever made the alert.
        "action": ACTIONS[kind] if alert.by else "system_event",
        "outcome": "failure" if opened else "success",
        "description": f"Alert {kind}: {alert.title}. {alert.description}",
        "entity": {"type": "alert", "id": alert.id, "name": alert.title},
        "metadata": {
            "change": kind,
            "rule": alert.rule_id,
            "level": alert.level,
            "group": dict(alert.group),
            "alert": {"comment": alert.comment, "count": alert.count},
        },
    }
    if alert.by:
        event["user"] = {"id": alert.by, "username": alert.by}
    return event
