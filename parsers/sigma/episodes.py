"""Anchors become alerts: a group's anchors belong to one episode until the group was quiet for long enough.

An alert's id follows from its rule, its group and the event of its first anchor, so whoever makes it again makes the
same. What is here does no I/O and has no clock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parsers.sigma.alert import Alert, AlertState
from parsers.sigma.rule import Rule

SHOWN_FIRST = SHOWN_LAST = 20  # event ids kept of an episode's beginning and of its end
DEFAULT_QUIET_US = 3_600_000_000  # an hour without an anchor ends an episode, unless the rule says otherwise
ID_CHARS = 32
_SUPPRESS = re.compile(r"([0-9]+)([smhd])")
_UNIT_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def quiet_us(rule: Rule) -> int:
    """Return how long a group must be quiet until its episode is over: the rule's `suppress`, at least its window."""
    found = _SUPPRESS.fullmatch(str(rule.custom.get("suppress", "")))
    suppress = int(found[1]) * _UNIT_US[found[2]] if found else DEFAULT_QUIET_US
    return max(suppress, rule.correlation.span_us if rule.correlation else 0)


def alert_id(rule_id: str, groups: Sequence[str], source: str, offset: int) -> str:
    """Return the id of the alert that begins with an anchor."""
    text = "\x1f".join((rule_id, *groups, source, str(offset)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:ID_CHARS]


@dataclass(slots=True)
class Episode:
    """An alert as it grows. ``about`` is what is told of the rule; times are microseconds.

    ``number`` counts the changes that were told, ``told`` the anchors when the last one was; ``told_us`` and
    ``arrived_us`` are by the clock of whoever drives. ``opened_seq`` is how far detection was when it was opened.
    ``held``: somebody opened it again, so only a person ends it, however quiet the group is.
    """

    id: str
    rule_id: str
    groups: tuple[str, ...]
    about: Mapping[str, Any]
    quiet_us: int
    opened_us: int
    last_us: int
    opened_seq: int = 0
    count: int = 0
    first: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    state: AlertState = "open"
    number: int = 0
    told: int = 0
    told_us: int = 0
    arrived_us: int = 0
    changed_us: int = 0
    by: str = ""
    comment: str = ""
    held: bool = False

    def add(self, at_us: int, event_id: str) -> None:
        """Count an anchor."""
        self.count += 1
        self.opened_us = min(self.opened_us, at_us)
        self.last_us = max(self.last_us, at_us)
        if len(self.first) < SHOWN_FIRST:
            self.first.append(event_id)
        else:
            self.last.append(event_id)
            if len(self.last) > 2 * SHOWN_LAST:  # now and then, not each time
                del self.last[:-SHOWN_LAST]

    def reaches(self, at_us: int) -> bool:
        """Say whether an anchor at a time belongs to it. What somebody resolved is quiet for as long again."""
        end = max(self.last_us, self.changed_us) if self.state == "resolved" and self.by else self.last_us
        return self.opened_us - self.quiet_us <= at_us <= end + self.quiet_us

    @property
    def alert(self) -> Alert:
        """What others are told."""
        about = self.about
        return Alert(
            id=self.id,
            rule_id=self.rule_id,
            title=about["title"],
            level=about["level"],
            group=tuple(zip(about["group_by"], self.groups, strict=False)),
            state=self.state,
            opened_us=self.opened_us,
            last_us=self.last_us,
            count=self.count,
            evidence=(*self.first, *self.last[-SHOWN_LAST:]),
            author=about["author"],
            references=tuple(about["references"]),
            techniques=tuple(about["techniques"]),
            runbook=about["runbook"],
            description=about["description"],
            changed_us=self.changed_us,
            by=self.by,
            comment=self.comment,
            false_positives=tuple(about.get("false_positives", ())),
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        names = (name for name in self.__slots__)
        return {name: getattr(self, name) for name in names} | {
            "about": dict(self.about),
            "last": self.last[-SHOWN_LAST:],
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Episode:
        """Return what `to_json` made. Raises KeyError, TypeError or ValueError for anything else."""
        known = {name: given[name] for name in cls.__slots__ if name in given}
        known["groups"] = tuple(known["groups"])
        for name in ("first", "last"):
            known[name] = list(known.get(name, ()))
        return cls(**known)


def about(rule: Rule) -> dict[str, Any]:
    """Return what an alert tells of its rule."""
    return {
        "title": rule.title,
        "level": rule.level,
        "group_by": list(rule.grouped_by),
        "author": rule.author,
        "license": rule.license,
        "references": list(rule.references),
        "techniques": list(rule.techniques),
        "runbook": str(rule.custom.get("runbook", "")),
        "description": rule.description,
        "false_positives": list(rule.falsepositives),
    }


class Episodes:
    """All episodes that are remembered, at most ``most`` of them. Not for two threads at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.by_id: dict[str, Episode] = {}
        self._of: dict[tuple[str, tuple[str, ...]], list[Episode]] = {}
        self.forgotten = 0

    def __iter__(self) -> Iterator[Episode]:
        return iter(list(self.by_id.values()))

    def put(self, episode: Episode) -> None:
        """Remember an episode in the place of one with the same id."""
        before = self.by_id.get(episode.id)
        if before is not None:
            self._forget(before)
        self.by_id[episode.id] = episode
        self._of.setdefault((episode.rule_id, episode.groups), []).append(episode)

    def add(
        self,
        rule: Rule,
        groups: tuple[str, ...],
        at_us: int,
        source: str,
        offset: int,
        event_id: str,
        seq: int,
    ) -> Episode:
        """Return the episode to which an anchor belongs, the earliest that reaches it, or one that begins with it."""
        for episode in self._of.get((rule.id, groups), ()):
            if episode.reaches(at_us):
                episode.add(at_us, event_id)
                return episode
        episode = Episode(
            alert_id(rule.id, groups, source, offset),
            rule.id,
            groups,
            about(rule),
            quiet_us(rule),
            at_us,
            at_us,
            seq,
        )
        episode.add(at_us, event_id)
        if episode.id in self.by_id:  # its first anchor was withdrawn and came back: still the same alert
            known = self.by_id[episode.id]
            known.add(at_us, event_id)
            return known
        self._make_room()
        self.put(episode)
        return episode

    def _make_room(self) -> None:
        if len(self.by_id) < self._most:
            return
        oldest = min(self.by_id.values(), key=lambda e: (e.state != "resolved", e.last_us))
        self._forget(oldest)
        self.forgotten += oldest.state != "resolved"

    def _forget(self, episode: Episode) -> None:
        del self.by_id[episode.id]
        key = (episode.rule_id, episode.groups)
        self._of[key].remove(episode)
        if not self._of[key]:
            del self._of[key]
