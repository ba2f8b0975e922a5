"""The durable part of telling: what is known of alerts, what waits to be sent, what could not be, and silences.

Everything is in one journal. A decision and its messages are one line of it, so a crash at any moment either
forgets both or keeps both; a message leaves when its receiver took it, or goes to the dead letters.
Blocks; one thread at a time.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.outbound.dispatcher import Decision, Dispatcher, Group
from daemon.outbound.matchers import Matcher, Silence
from daemon.outbound.message import Message, alert_from_json
from daemon.outbound.ownalerts import Own, OwnAlerts
from parsers.moments import rfc3339
from parsers.sigma.alert import AlertChange, ChangeKind
from storage.fs import Fs
from storage.journal import Journal

RECENT_US = 3_600_000_000  # an alert that ended unheard of within an hour is told all the same
DIGEST = "digest"  # group of a message that stands for many: whatever comes later waits for it
MOST_DEAD = 1000  # dead letters kept; of older ones only the count remains
MOST_TOLD = 1000  # messages that left, or were given up, of which is known when and to whom
KEPT_SILENCE_US = 5 * 86_400_000_000  # an expired silence is listed for five days, as Alertmanager does


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that nobody took, and why."""

    message: Message
    why: str
    at_us: int

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal."""
        return {"message": self.message.to_json(), "why": self.why, "at_us": self.at_us}


@dataclass(frozen=True, slots=True)
class Left:
    """How a message ended: who took it when, or why it was given up. ``what`` is what the receiver said."""

    key: str
    channel: str
    kind: str
    alerts: tuple[str, ...]
    at_us: int
    ok: bool
    what: str

    @classmethod
    def of(cls, message: Message, at_us: int, *, ok: bool, what: str) -> Left:
        """Return what is kept of a message."""
        alerts = tuple(alert.id for alert in message.alerts)
        return cls(message.key, message.channel, message.kind, alerts, at_us, ok, what)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Left:
        """Return what `dataclasses.asdict` made of one. Raises KeyError or TypeError for anything else."""
        values: dict[str, Any] = dict(given)
        values["alerts"] = tuple(given["alerts"])
        return cls(**values)

    def shown(self) -> dict[str, Any]:
        """Return it for people."""
        return {
            "key": self.key,
            "channel": self.channel,
            "kind": self.kind,
            "alerts": list(self.alerts),
            "when": rfc3339(self.at_us),
            "ok": self.ok,
            "answer": self.what,
        }


class Outbox:
    """Messages by key, in order, with the dispatcher's state."""

    def __init__(self, fs: Fs, folder: str, dispatcher: Dispatcher, *, most: int) -> None:
        """``most`` bounds the messages that wait; of more the newest go to the dead letters at once."""
        self.dispatcher = dispatcher
        self.pending: dict[str, Message] = {}
        self.dead: dict[str, Dead] = {}
        self.silences: dict[str, Silence] = {}
        self.own = OwnAlerts()
        self.dead_total = 0
        self.left: deque[Left] = deque(maxlen=MOST_TOLD)
        self._most = most
        self._unread = 0
        self._journal = Journal(fs, folder, self._state)

    @property
    def damaged(self) -> int:
        """Lines of the journal that could not be read."""
        return self._journal.damaged + self._unread

    def load(self, now_us: int) -> None:
        """Read the journal and take up where it ends. Raises OSError."""
        for record in self._journal.load():
            for kind, value in record.items():
                try:
                    self._replay(kind, value)
                except (KeyError, TypeError, ValueError):  # whole, but not ours: the rest counts all the same
                    self._unread += 1
        self.dispatcher.regroup(now_us)

    def _replay(self, kind: str, value: Any) -> None:
        dispatcher = self.dispatcher
        match kind:
            case "change":
                alert = alert_from_json(value["alert"])
                dispatcher.change(alert, value["number"], value["seen_us"])
                # Journals of 0.1 do not say of which kind a change was.
                became: ChangeKind = "resolved" if alert.state == "resolved" else "opened"
                self.own.take(AlertChange(alert, value.get("kind", became), value["number"]))
            case "alert":
                alert = alert_from_json(value["alert"])
                dispatcher.alerts[alert.id] = alert
                dispatcher.numbers[alert.id] = value["number"]
                self.own.take(AlertChange(alert, "opened", value["number"]))
            case "own":
                self.own.put(Own.from_json(value))
            case "number":
                dispatcher.numbers[value[0]] = value[1]
            case "group":
                dispatcher.restore(Group.from_json(value))
            case "decisions":
                for item in value:
                    self._settle(
                        Decision(
                            Group.from_json(item["group"]),
                            tuple(map(Message.from_json, item["messages"])),
                            item["sequence"],
                        )
                    )
            case "sequence":
                dispatcher.sequence = max(dispatcher.sequence, value)
            case "message":
                self._put(Message.from_json(value))
            case "digest":
                self._digested(Message.from_json(value["message"]), value["covers"])
            case "done":
                self.pending.pop(value, None)
            case "left":
                self.left.append(Left.from_json(value))
            case "dead":
                self._bury(Dead(Message.from_json(value["message"]), value["why"], value["at_us"]))
            case "dead_total":
                self.dead_total = value
            case "silence":
                self.silences[value["id"]] = Silence.from_json(value)
            case "retry":
                self._revive(value)
            case "discarded":
                self.dead.clear()
            case _:
                pass  # of a newer version: it is of no use here

    def _state(self) -> Iterator[Mapping[str, Any]]:
        """Yield records that say everything there is now."""
        dispatcher = self.dispatcher
        yield {"sequence": dispatcher.sequence}
        for name, number in dispatcher.numbers.items():
            if name not in dispatcher.alerts:
                yield {"number": [name, number]}
        for name, alert in dispatcher.alerts.items():
            yield {"alert": {"alert": dataclasses.asdict(alert), "number": dispatcher.numbers[name]}}
        for own in self.own:
            yield {"own": own.to_json()}
        for group in dispatcher.groups.values():
            yield {"group": group.to_json()}
        for message in self.pending.values():
            yield {"message": message.to_json()}
        for dead in self.dead.values():
            yield {"dead": dead.to_json()}
        yield {"dead_total": self.dead_total}
        for left in self.left:
            yield {"left": dataclasses.asdict(left)}
        for silence in self.silences.values():
            yield {"silence": silence.to_json()}

    # What comes in

    def take(self, changes: Sequence[AlertChange], now_us: int) -> None:
        """Take changes of alerts; durable on return. Known ones are passed over. Raises OSError: then take them again."""
        new = []
        open_now = set(self.dispatcher.alerts)
        for change in changes:
            # All that is remembered is offered now and then: what ended long ago is of no use to anybody.
            alert = change.alert
            over = (
                alert.state == "resolved"
                and alert.id not in open_now
                and now_us - (alert.changed_us or alert.last_us) > RECENT_US
            )
            if not over and not self.dispatcher.known(change.alert, change.number):
                new.append(change)
                open_now.add(change.alert.id)
        if not new:
            return
        self._journal.append(*(_changed(change, now_us) for change in new))
        for change in new:
            self.dispatcher.change(change.alert, change.number, now_us)
            self.own.take(change)

    def decide(self, now_us: int) -> list[Decision]:
        """Let what is due become messages, durably; returns the decisions. Raises OSError, and nothing has changed."""
        decisions = self.dispatcher.due(now_us, self.silences.values())
        if not decisions:
            return []
        self._journal.append(
            {
                "decisions": [
                    {
                        "group": decision.group.to_json(),
                        "messages": [message.to_json() for message in decision.messages],
                        "sequence": decision.sequence,
                    }
                    for decision in decisions
                ]
            }
        )
        for decision in decisions:
            self._settle(decision)
        self._journal.compact_if_large()
        return decisions

    def _settle(self, decision: Decision) -> None:
        self.dispatcher.settle(decision)
        for message in decision.messages:
            self._put(message)

    def _put(self, message: Message) -> None:
        if len(self.pending) >= self._most:
            self._bury(Dead(message, "too many messages wait already", message.at_us))
        else:
            self.pending[message.key] = message

    # What goes out

    def done(self, message: Message, now_us: int, what: str) -> None:
        """Note that the receiver took it, and what it said. Until that is durable it may be sent again, with the same key."""
        left = Left.of(message, now_us, ok=True, what=what)
        self._journal.append({"done": message.key, "left": dataclasses.asdict(left)})
        self.pending.pop(message.key, None)
        self.left.append(left)
        self._journal.compact_if_large()

    def fail(self, message: Message, why: str, now_us: int) -> None:
        """Give it up: it becomes a dead letter."""
        dead = Dead(message, why, now_us)
        left = Left.of(message, now_us, ok=False, what=why)
        self._journal.append({"dead": dead.to_json(), "left": dataclasses.asdict(left)})
        self._bury(dead)
        self.left.append(left)
        self._journal.compact_if_large()

    def _bury(self, dead: Dead) -> None:
        self.pending.pop(dead.message.key, None)
        if dead.message.key not in self.dead:
            self.dead_total += 1
        self.dead[dead.message.key] = dead
        while len(self.dead) > MOST_DEAD:
            del self.dead[next(iter(self.dead))]

    def digest(self, covered: Sequence[Message], shown: int, now_us: int) -> Message:
        """Let one message stand for several of one channel; it names ``shown`` of their alerts, the gravest first."""
        latest = {alert.id: alert for message in covered for alert in message.alerts}
        alerts = sorted(latest.values(), key=lambda alert: alert.state == "resolved")
        more = len(alerts) - shown if len(alerts) > shown else 0
        last = covered[-1]
        resolved = all(message.kind == "resolved" for message in covered)
        message = dataclasses.replace(
            last,
            key=f"{last.key}-digest",
            group=DIGEST,
            kind="resolved" if resolved else "firing",
            alerts=tuple(alerts[:shown]),
            more=more + sum(message.more for message in covered),
            at_us=now_us,
        )
        covers = [each.key for each in covered]
        self._journal.append({"digest": {"message": message.to_json(), "covers": covers}})
        self._digested(message, covers)
        return message

    def _digested(self, message: Message, covers: Iterable[str]) -> None:
        for key in covers:
            self.pending.pop(key, None)
        self.pending = {message.key: message, **self.pending}

    def retry(self, now_us: int) -> int:
        """Let every dead letter be tried again, for another day; returns how many."""
        count = len(self.dead)
        if count:
            self._journal.append({"retry": now_us})
            self._revive(now_us)
        return count

    def _revive(self, now_us: int) -> None:
        again, self.dead = self.dead, {}
        for dead in again.values():
            self._put(dataclasses.replace(dead.message, at_us=now_us))

    def discard(self) -> int:
        """Throw the dead letters away, after somebody has seen them; returns how many."""
        count = len(self.dead)
        self._journal.append({"discarded": count})
        self.dead.clear()
        return count

    # Silences

    def silence(
        self, matchers: tuple[Matcher, ...], author: str, comment: str, starts_us: int, ends_us: int
    ) -> Silence:
        """Put a silence in force. Raises ValueError for one that would mute everything or never begins."""
        if not matchers:
            raise ValueError("a silence needs a matcher: one without would mute every alert")
        if ends_us <= starts_us:
            raise ValueError("a silence ends after it begins")
        if not comment:
            raise ValueError("a silence needs a comment: why is nobody to be told?")
        silence = Silence(str(uuid.uuid4()), matchers, author, comment, starts_us, ends_us)
        self._journal.append({"silence": silence.to_json()})
        self.silences[silence.id] = silence
        return silence

    def expire(self, silence_id: str, now_us: int) -> Silence:
        """End a silence now. Raises ValueError if none of that id is in force or to come."""
        silence = self.silences.get(silence_id)
        if silence is None or silence.ends_us <= now_us:
            raise ValueError(f"no silence {silence_id!r} is in force: see `watchkeep alerts silence list`")
        ended = dataclasses.replace(silence, starts_us=min(silence.starts_us, now_us), ends_us=now_us)
        self._journal.append({"silence": ended.to_json()})
        self.silences[silence_id] = ended
        return ended

    def expired(self, now_us: int) -> list[Silence]:
        """Forget silences that ended long ago; returns them. Only in memory: a rewrite leaves them out."""
        old = [one for one in self.silences.values() if one.ends_us < now_us - KEPT_SILENCE_US]
        for silence in old:
            del self.silences[silence.id]
        return old

    def shown(self) -> dict[str, Any]:
        """Return what waits and what is dead, for people; without addresses."""
        return {
            "pending": [
                {
                    "key": message.key,
                    "channel": message.channel,
                    "kind": message.kind,
                    "since": rfc3339(message.at_us),
                    "alerts": [alert.title for alert in message.alerts],
                }
                for message in list(self.pending.values())
            ],
            "dead": [
                {
                    "key": dead.message.key,
                    "channel": dead.message.channel,
                    "kind": dead.message.kind,
                    "since": rfc3339(dead.message.at_us),
                    "given_up": rfc3339(dead.at_us),
                    "why": dead.why,
                    "alerts": [alert.title for alert in dead.message.alerts],
                }
                for dead in list(self.dead.values())
            ],
            "dead_total": self.dead_total,
        }

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()


def _changed(change: AlertChange, seen_us: int) -> dict[str, Any]:
    return {
        "change": {
            "alert": dataclasses.asdict(change.alert),
            "number": change.number,
            "kind": change.kind,
            "seen_us": seen_us,
        }
    }
