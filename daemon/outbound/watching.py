"""Alerts that no rule finds: files that fell silent, and the daemon itself being in trouble. Pure; times are given to it."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from daemon.outbound.ownalerts import QUIET, TROUBLE, Own
from daemon.outbound.rhythm import Rhythm
from parsers.sigma.alert import Alert, AlertChange
from parsers.sigma.rule import Level
from web.status import SourceStatus

HOLD_US = 60_000_000  # trouble that is over within a minute is told to nobody, and so is its pause
# Codes of `degraded` after which lines may be lost, or nobody hears of it; all others are "high".
CRITICAL = frozenset({"gap", "dead-letters", "not-ready"})
DETAIL_CHARS = 500


@dataclass(frozen=True, slots=True)
class Quiet:
    """Files of which something must come within ``within_us``; None: within what was usual (`rhythm`)."""

    files: str
    within_us: int | None
    level: Level = "high"


@dataclass(slots=True)
class Watch:
    """Remembers when files last grew and since when something is wrong."""

    quiet: Sequence[Quiet]
    node: str
    started_us: int
    rhythms: dict[str, Rhythm] = field(default_factory=dict)  # by the pattern of files
    learned: int = 0  # how often a rhythm learned something
    _sizes: dict[str, int] = field(default_factory=dict)
    _grew: dict[str, int] = field(default_factory=dict)
    _first: bool = True
    _since: dict[str, int] = field(default_factory=dict)  # code: since when it is there
    _gone: dict[str, int] = field(default_factory=dict)  # code: since when it is not

    def observe(
        self,
        now_us: int,
        sources: Iterable[SourceStatus],
        trouble: Mapping[str, str],
        known: Mapping[str, Own],
    ) -> list[AlertChange]:
        """Return what changed. ``trouble`` is by code; ``known`` are our alerts that are not over, or just ended by a person."""
        changes = [*self._quiet(now_us, list(sources), known), *self._trouble(now_us, trouble, known)]
        self._first = False
        return changes

    def _quiet(
        self, now_us: int, sources: list[SourceStatus], known: Mapping[str, Own]
    ) -> Iterable[AlertChange]:
        grown = [
            source.file
            for source in sources
            if source.sid and not source.internal and source.size > self._sizes.get(source.sid, -1)
        ]
        # What is there at the start did not grow just now; when it last did nobody knows, so the wait begins.
        if not self._first:
            for rule in self.quiet:
                if any(fnmatch.fnmatchcase(name, rule.files) for name in grown):
                    self._grew[rule.files] = now_us
                    if rule.within_us is None:
                        self.rhythms.setdefault(rule.files, Rhythm()).grew(now_us)
                        self.learned += 1
        self._sizes = {source.sid: source.size for source in sources if source.sid}
        for rule in self.quiet:
            last = self._grew.get(rule.files, self.started_us)
            within_us = self._within(rule, last)
            silent = within_us is not None and now_us - last >= within_us
            group = (("source", rule.files),)
            opened = _of(known, QUIET, group)
            if silent and opened is None:
                minutes = (now_us - last) // 60_000_000
                title = "A source fell silent"
                text = f"No file that matches {rule.files} grew for {minutes} minutes."
                if rule.within_us is None:
                    text += " None of its silences that began about this hour of the week was half as long lately."
                yield self._opened(QUIET, group, title, text, rule.level, now_us)
            elif opened is not None and rule.files in self._grew and not silent and _ends(opened):
                yield _resolved(opened, now_us)

    def _within(self, rule: Quiet, since_us: int) -> int | None:
        """Return how long files may be silent that last grew at a time; None while that is being learned."""
        if rule.within_us is not None:
            return rule.within_us
        rhythm = self.rhythms.get(rule.files)
        return None if rhythm is None else rhythm.within(since_us)

    def _trouble(
        self, now_us: int, trouble: Mapping[str, str], known: Mapping[str, Own]
    ) -> Iterable[AlertChange]:
        self._since = {code: self._since.get(code, now_us) for code in trouble}
        for code, detail in trouble.items():
            self._gone.pop(code, None)
            group = (("code", code), ("node", self.node))
            if _of(known, TROUBLE, group) is None and now_us - self._since[code] >= HOLD_US:
                level: Level = "critical" if code in CRITICAL else "high"
                yield self._opened(
                    TROUBLE, group, "Watchkeep itself is in trouble", detail[:DETAIL_CHARS], level, now_us
                )
        for own in known.values():
            code = dict(own.alert.group).get("code", "")
            if own.alert.rule_id != TROUBLE or code in trouble or not _ends(own):
                continue
            if now_us - self._gone.setdefault(code, now_us) >= HOLD_US:
                del self._gone[code]
                yield _resolved(own, now_us)

    def _opened(
        self,
        rule_id: str,
        group: tuple[tuple[str, str], ...],
        title: str,
        description: str,
        level: Level,
        now_us: int,
    ) -> AlertChange:
        name = hashlib.sha256(repr((self.node, rule_id, group, now_us)).encode()).hexdigest()[:32]
        alert = Alert(
            id=name,
            rule_id=rule_id,
            title=title,
            level=level,
            group=group,
            state="open",
            opened_us=now_us,
            last_us=now_us,
            count=1,
            description=description,
            changed_us=now_us,
        )
        return AlertChange(alert, "opened", 1)


def _of(known: Mapping[str, Own], rule_id: str, group: tuple[tuple[str, str], ...]) -> Own | None:
    alike = [own for own in known.values() if own.alert.rule_id == rule_id and own.alert.group == group]
    return min(alike, key=lambda own: own.alert.state == "resolved", default=None)


def _ends(own: Own) -> bool:
    """Say whether an alert ends by itself when its reason does."""
    return own.alert.state != "resolved" and not own.held


def _resolved(own: Own, now_us: int) -> AlertChange:
    over = dataclasses.replace(
        own.alert, state="resolved", last_us=now_us, changed_us=now_us, by="", comment=""
    )
    return AlertChange(over, "resolved", own.number + 1)
