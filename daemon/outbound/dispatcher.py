"""Decides who is told what, and when: routes, groups, waits and repeats, as in Alertmanager. Pure; times are given to it.

`change` takes what became of an alert, `due` says what is to be told now without changing anything, and
`settle` takes note of a decision once it is durable. So a crash in between decides again, and never forgets.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from daemon.outbound.matchers import Inhibition, Matcher, Silence, labels, matched
from daemon.outbound.message import Kind, Message, rank
from daemon.outbound.mutetimes import MuteTime
from parsers.sigma.alert import Alert, AlertChange, ChangeKind

ALONE = "..."  # group_by: each alert is a group of its own, as in Alertmanager
REMEMBERED_MOST = (
    10_000  # alerts that are over, whose changes may come again after a crash: some minutes' worth
)
KEY_CHARS = 16  # 64 bits of a hash: groups are few


def _hash(*parts: str) -> str:
    """Return a short name for some texts; their lengths keep them apart."""
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:KEY_CHARS]


@dataclass(frozen=True, slots=True)
class Route:
    """Which alerts go to which channels, and at what pace (microseconds)."""

    channels: tuple[str, ...]
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] = ("rule",)
    wait_us: int = 30_000_000
    interval_us: int = 300_000_000
    repeat_us: int = 14_400_000_000
    go_on: bool = False
    mute: tuple[MuteTime, ...] = ()  # when it tells nobody

    def group_of(self, alert: Alert) -> str:
        """Return the key of the alert's group: the same after a restart, and when other routes change."""
        given = labels(alert)
        by = [alert.id] if ALONE in self.group_by else [given.get(name, "") for name in self.group_by]
        return _hash(self.id, *by)

    @property
    def id(self) -> str:
        """What tells it from other routes, whatever their order."""
        return _hash(*self.channels, "", *map(str, self.matchers), "", *self.group_by)


MUTE_TIME = "mute_time"  # why nobody is told at such a time

# Each inhibition with the values of its equal fields that mute now.
Muting = Sequence[tuple[Inhibition, frozenset[tuple[str, ...]]]]


@dataclass(frozen=True, slots=True)
class Told:
    """What a group's channels were last told of one alert, and when."""

    state: str
    level: str
    at_us: int


@dataclass(slots=True)
class Group:
    """Alerts that are told together; None: not told yet."""

    key: str
    route: str
    next_us: int
    last_us: int = 0  # when something was last told
    told: dict[str, Told | None] = field(default_factory=dict)
    muted: dict[str, str] = field(default_factory=dict)  # alert id: why nobody is told

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal."""
        return {
            "key": self.key,
            "route": self.route,
            "next_us": self.next_us,
            "last_us": self.last_us,
            "told": {
                name: None if told is None else [told.state, told.level, told.at_us]
                for name, told in self.told.items()
            },
            "muted": self.muted,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Group:
        """Return what `to_json` wrote."""
        told = {name: None if value is None else Told(*value) for name, value in given["told"].items()}
        return cls(
            given["key"], given["route"], given["next_us"], given["last_us"], told, dict(given["muted"])
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one group now: the group as it is afterwards, what is sent, and who is newly muted and why."""

    group: Group
    messages: tuple[Message, ...]
    sequence: int
    muted: tuple[str, ...] = ()


class Dispatcher:
    """The state of all groups. ``routes`` are tried in order; the first that matches ends it unless it says otherwise."""

    def __init__(
        self,
        routes: Sequence[Route],
        inhibitions: Sequence[Inhibition] = (),
        single: frozenset[str] = frozenset(),
    ) -> None:
        """``single`` names the channels that take one alert a message."""
        self._routes = tuple(routes)
        self._by_id = {route.id: route for route in routes}
        self._inhibitions = tuple(inhibitions)
        self._single = single
        self.alerts: dict[str, Alert] = {}
        self.numbers: dict[str, int] = {}
        self.groups: dict[str, Group] = {}
        # Alert id: keys of groups that have it, perhaps had. With ten thousand of each, looking through all takes minutes.
        self._where: dict[str, set[str]] = {}
        self.sequence = 0  # of decisions; part of the messages' keys, never used twice

    def known(self, alert: Alert, number: int) -> bool:
        """Whether this change, or a later one of the same alert, was taken already."""
        return number <= self.numbers.get(alert.id, 0)

    def change(self, alert: Alert, number: int, now_us: int) -> None:
        """Take what became of an alert. The same change again changes nothing."""
        if self.known(alert, number):
            return
        new = alert.id not in self.alerts
        self.alerts[alert.id] = alert
        self.numbers[alert.id] = number
        self._join(alert, now_us, new=new)
        self._forget([alert.id])

    def newest(self) -> list[AlertChange]:
        """Return the newest change of every alert that is known."""
        kinds: Mapping[str, ChangeKind] = {"resolved": "resolved", "acknowledged": "acknowledged"}
        return [
            AlertChange(alert, kinds.get(alert.state, "opened"), self.numbers[name])
            for name, alert in self.alerts.items()
        ]

    def regroup(self, now_us: int) -> None:
        """After a start: leave groups of routes that are no more, and let open alerts join those of new ones."""
        self.groups = {key: group for key, group in self.groups.items() if group.route in self._by_id}
        for alert in list(self.alerts.values()):
            if alert.state != "resolved":
                self._join(alert, now_us, new=True)
        self._forget(list(self.alerts))

    def routes_of(self, alert: Alert) -> list[Route]:
        """Return the routes that an alert takes."""
        found: list[Route] = []
        given = labels(alert)
        for route in self._routes:
            if matched(route.matchers, given):
                found.append(route)
                if not route.go_on:
                    break
        return found

    def _join(self, alert: Alert, now_us: int, *, new: bool) -> None:
        """Put an alert into its groups; each will look at it after its wait, or its interval if it spoke just now."""
        joined = {route.group_of(alert): route for route in self.routes_of(alert) if route.channels}
        # A level that rose may lead elsewhere; groups that know the alert go on to tell of it until it is over.
        for group in self._having(alert.id):
            if group.route in self._by_id:
                joined[group.key] = self._by_id[group.route]
        for key, route in joined.items():
            if key not in self.groups:
                if alert.state == "resolved" and not new:
                    continue
                self.groups[key] = Group(key, route.id, now_us + route.wait_us)
            group = self.groups[key]
            group.told.setdefault(alert.id, None)
            self._where.setdefault(alert.id, set()).add(key)
            soonest = max(now_us + route.wait_us, group.last_us + route.interval_us if group.last_us else 0)
            group.next_us = min(group.next_us, soonest)

    def _having(self, name: str) -> list[Group]:
        """Return the groups that have an alert."""
        found = [self.groups.get(key) for key in self._where.get(name, ())]
        return [group for group in found if group is not None and name in group.told]

    def restore(self, group: Group) -> None:
        """Put a group as it was written down in its place."""
        self.groups[group.key] = group
        for name in group.told:
            self._where.setdefault(name, set()).add(group.key)

    @property
    def next_us(self) -> int | None:
        """When something may be due next."""
        return min((group.next_us for group in self.groups.values()), default=None)

    def due(self, now_us: int, silences: Iterable[Silence] = ()) -> list[Decision]:
        """Return what is to be told now."""
        waiting = [group for group in self.groups.values() if self._is_due(group, now_us)]
        if not waiting:
            return []
        in_force = tuple(silences)
        firing = [labels(alert) for alert in self.alerts.values() if alert.state != "resolved"]
        muting = [(inhibition, inhibition.muting(firing)) for inhibition in self._inhibitions]
        decisions = []
        sequence = self.sequence
        for group in waiting:
            sequence += 1
            decisions.append(self._decide(group, now_us, sequence, in_force, muting))
        return decisions

    def _is_due(self, group: Group, now_us: int) -> bool:
        route = self._by_id[group.route]
        # Further ahead than any wait: the clock was set back, and nobody may wait for it to come round again.
        return group.next_us <= now_us or group.next_us - now_us > route.wait_us + route.interval_us

    def _mute(
        self, alert: Alert, route: Route, now_us: int, silences: tuple[Silence, ...], muting: Muting
    ) -> str:
        """Return why nobody is told of an alert, empty if somebody is."""
        given = labels(alert)
        if any(time.holds(now_us) for time in route.mute):
            return MUTE_TIME
        if any(silence.mutes(given, now_us) for silence in silences):
            return "silenced"
        if any(inhibition.mutes(given, values) for inhibition, values in muting):
            return "inhibited"
        return ""

    def _decide(
        self,
        group: Group,
        now_us: int,
        sequence: int,
        silences: tuple[Silence, ...],
        muting: Muting,
    ) -> Decision:
        route = self._by_id[group.route]
        after = Group(group.key, route.id, now_us + route.interval_us, group.last_us, {}, {})
        news: list[Alert] = []
        newly: list[str] = []
        fresh = False
        for name, told in group.told.items():
            alert = self.alerts[name]
            if alert.state == "resolved":
                reason = "" if told is not None else self._mute(alert, route, now_us, silences, muting)
                if reason:
                    newly += [reason] if group.muted.get(name) != reason else []
                    if reason == MUTE_TIME:  # it is told when that ends; otherwise the group forgets it
                        after.told[name], after.muted[name] = None, reason
                    continue
                if told is None:
                    # Over before anybody was told, as when we catch up after a downtime: an attack is news all the
                    # same. It is told as it was; its end is told next, so that every receiver gets both.
                    after.told[name] = Told("open", alert.level, now_us)
                # Whoever was told of it is told of its end, also under a silence: an incident must not stay open.
                news.append(alert if told is not None else dataclasses.replace(alert, state="open"))
                fresh = True
                continue
            changed = told is None or told.state != alert.state or rank(told.level) < rank(alert.level)
            repeat = told is not None and alert.state == "open" and now_us - told.at_us >= route.repeat_us
            after.told[name] = told
            reason = self._mute(alert, route, now_us, silences, muting)
            if reason:
                after.muted[name] = reason
                if group.muted.get(name) != reason:
                    newly.append(reason)
            elif changed or repeat:
                news.append(alert)
                fresh = fresh or changed
                after.told[name] = Told(alert.state, alert.level, now_us)
        if not news:
            return Decision(after, (), self.sequence, tuple(newly))
        after.last_us = now_us
        until = now_us + route.repeat_us + 2 * route.interval_us
        messages: list[Message] = []
        for channel in route.channels:
            for name, alerts in self._parts(channel, group, news):
                kind = _kind(alerts, group)
                key = f"{name}-{kind}-{sequence}-{channel}"
                messages.append(Message(key, channel, name, kind, alerts, now_us, until, repeat=not fresh))
        return Decision(after, tuple(messages), sequence, tuple(newly))

    def _parts(self, channel: str, group: Group, news: list[Alert]) -> list[tuple[str, tuple[Alert, ...]]]:
        if channel in self._single:
            return [(alert.id, (alert,)) for alert in news]
        return [(group.key, tuple(news))]

    def settle(self, decision: Decision) -> None:
        """Take note of a decision that is durable."""
        self.sequence = max(self.sequence, decision.sequence)
        before = self.groups.pop(decision.group.key, None)
        if decision.group.told:
            self.restore(decision.group)
        self._forget([*(before.told if before is not None else ()), *decision.group.told])

    def _forget(self, names: Iterable[str]) -> None:
        """Forget those of some alerts that are over and of which everybody knows."""
        for name in names:
            alert = self.alerts.get(name)
            if alert is not None and alert.state == "resolved" and not self._having(name):
                del self.alerts[name]
                self._where.pop(name, None)
        if len(self.numbers) - len(self.alerts) > 2 * REMEMBERED_MOST:  # seldom, for it looks at all of them
            for name in [known for known in self.numbers if known not in self.alerts][:-REMEMBERED_MOST]:
                del self.numbers[name]


def _kind(alerts: tuple[Alert, ...], group: Group) -> Kind:
    if all(alert.state == "resolved" for alert in alerts):
        return "resolved"
    # One that was acknowledged before anybody was told of it is news all the same.
    if all(alert.state != "open" and group.told.get(alert.id) is not None for alert in alerts):
        return "acknowledged"
    return "firing"
