"""The alerts that rules made: what was found becomes episodes, and each change of one an event of the daemon's own.

A change is durable before anybody hears of it. What is remembered is made again from those events after a restart, as
of the watermark, so what is found once more changes nothing that was told.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.alerting import change_of, event_of, told
from daemon.rulesheet import Fired
from daemon.selflog import SelfLog
from parsers.sigma.alert import STATES, Alert, AlertChange, AlertState, ChangeKind
from parsers.sigma.episodes import Episode, Episodes
from parsers.sigma.rule import Rule
from storage.anchors import Anchor
from storage.observer import Observer
from storage.snapshot import Snapshot

FOLDED_AT_ONCE = 500  # anchors, about a millisecond: who asks for alerts waits no longer
SETTLE_US = 60_000_000  # an episode is over no sooner than this after its last anchor was found
RESOLVE_SECONDS = 5.0  # how often episodes are looked at for being over

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Untold:
    """A change whose event is not written yet; ``doubtful``: a write failed, and the event may be there all the same."""

    event: Mapping[str, Any]
    change: AlertChange
    doubtful: bool = False


class Casebook:
    """All of them, at most ``most``. Belongs to the event loop, but for what says otherwise."""

    def __init__(
        self,
        selflog: SelfLog,
        observer: Observer,
        *,
        most: int,
        update_seconds: float,
        clock: Callable[[], int],
    ) -> None:
        """``update_seconds`` lie between two events of an alert that grows; ``clock`` gives microseconds since 1970."""
        self._selflog = selflog
        self._observer = observer
        self._most = most
        self._update_us = update_seconds * 1e6
        self._clock = clock
        self._memory = threading.Lock()
        self._telling = asyncio.Lock()
        self._episodes = Episodes(most)
        self._untold: list[_Untold] = []
        self._grown: set[str] = set()
        self._resolved_at = 0.0
        self._listeners: list[Callable[[AlertChange], None]] = []
        self.trouble = ""  # why the newest change has no event

    @property
    def behind(self) -> bool:
        """Whether the log refuses: there are changes that nobody was told of."""
        return bool(self._untold)

    def add_listener(self, listener: Callable[[AlertChange], None]) -> None:
        """Call ``listener`` with every change of an alert, after its event is durable, on the event loop."""
        self._listeners.append(listener)

    # What rules found

    def restore(self, snapshot: Snapshot, kept: Any, watermark: int) -> None:
        """Take up the alerts: as they were at the watermark (``kept``), with every state that an event tells of since. Blocks."""
        held = [Episode.from_json(item) for item in (kept or {}).get("episodes", ())]
        left = {episode.id: episode for episode in held}
        known = told(snapshot, self._selflog, self._most)
        with self._memory:
            for episode in known.values():
                before = left.pop(episode.id, None)
                episode.told = episode.count
                if before is not None:  # its anchors as of the watermark, its state as of now
                    episode.count, episode.first, episode.last = before.count, before.first, before.last
                elif episode.opened_seq > watermark:  # all its anchors will be found again
                    episode.count, episode.first, episode.last = 0, [], []
                self._episodes.put(episode)
            for episode in left.values():
                self._episodes.put(episode)

    def fold(self, anchors: Sequence[Anchor], rules: Mapping[str, Rule], seq: int) -> None:
        """Let anchors found up to ``seq`` become alerts, or let these grow. One thread at a time."""
        now = self._clock()
        for at in range(0, len(anchors), FOLDED_AT_ONCE):
            with self._memory:
                for anchor in anchors[at : at + FOLDED_AT_ONCE]:
                    rule = rules[anchor.rule]
                    episode = self._episodes.add(
                        rule, anchor.groups, anchor.at_us, anchor.source, anchor.offset, anchor.event_id, seq
                    )
                    episode.arrived_us = now
                    self._grown.add(episode.id)
        for identity, count in Counter(anchor.rule for anchor in anchors).items():
            self._observer.count("detections", count, rule=rules[identity].title)

    def note(self, *, caught_up: bool) -> None:
        """Note what is to be told: new alerts at once, growth now and then, and the end. The thread of `fold`."""
        with self._memory:
            self._note(caught_up=caught_up)

    def _note(self, *, caught_up: bool) -> None:
        now = self._clock()
        for identity in sorted(self._grown):
            episode = self._episodes.by_id.get(identity)
            if episode is None or episode.count <= episode.told:
                self._grown.discard(identity)
            elif not episode.number:
                self._change(episode, "opened", now)
            elif now - episode.told_us >= self._update_us and episode.state != "resolved":
                self._change(episode, "updated", now)
        if caught_up and time.monotonic() - self._resolved_at >= RESOLVE_SECONDS:
            self._resolved_at = time.monotonic()
            for episode in self._episodes:
                due = max(episode.last_us + episode.quiet_us, episode.arrived_us + SETTLE_US)
                if episode.state != "resolved" and not episode.held and now >= due:
                    episode.state, episode.by, episode.comment = "resolved", "", ""
                    self._change(episode, "resolved", now)
            open_now = sum(episode.state != "resolved" for episode in self._episodes)
            self._observer.gauge("alerts_open", open_now)
            self._observer.count("alerts_forgotten", self._episodes.forgotten)
            self._episodes.forgotten = 0

    def _change(self, episode: Episode, kind: ChangeKind, now: int) -> None:
        episode.number += 1
        episode.told, episode.told_us, episode.changed_us = episode.count, now, now
        self._grown.discard(episode.id)
        self._untold.append(_Untold(event_of(episode, kind), change_of(episode, kind)))

    def held(self) -> list[dict[str, Any]]:
        """Return the alerts as they are now, to be kept with the watermark. What is over and told stands in the archive. Any thread."""
        with self._memory:
            return [e.to_json() for e in self._episodes if e.state != "resolved" or e.count > e.told]

    async def tell(self) -> None:
        """Make the events of all changes that have none. A disk that refuses is tried again with the next look."""
        async with self._telling:
            while self._untold:
                untold = self._untold[0]
                if not await self._written(untold):
                    return
                self._untold.pop(0)
                self.trouble = ""
                self._observer.count("alert_changes", kind=untold.change.kind)
                for listener in self._listeners:
                    listener(untold.change)

    async def _written(self, untold: _Untold) -> bool:
        """Write an event unless it is there; says whether it is there now."""
        event = untold.event
        if untold.doubtful:
            there = await asyncio.to_thread(self._selflog.holds, {str(event["eventId"])})
            if there:
                return True
        try:
            await self._selflog.append(event, durable=True)
        except OSError as error:
            self._untold[0] = _Untold(event, untold.change, doubtful=True)
            self.trouble = f"an alert could not be written down: {error.strerror or error}"
            _log.error("an alert could not be told of: %s", event["description"], exc_info=error)
            return False
        return True

    # What others ask

    def alerts(self) -> list[Alert]:
        """Return all alerts that are remembered, the newest first. Any thread."""
        with self._memory:
            found = [episode.alert for episode in self._episodes if episode.number]
        return sorted(found, key=lambda alert: (-alert.opened_us, alert.id))

    def changes(self) -> list[AlertChange]:
        """Return the newest change of every alert that is remembered, for listeners that may have missed one. Any thread."""
        kinds: Mapping[str, ChangeKind] = {"acknowledged": "acknowledged", "resolved": "resolved"}
        with self._memory:
            held = [episode for episode in self._episodes if episode.number]
            return [change_of(episode, kinds.get(episode.state, "updated")) for episode in held]

    def alert(self, identity: str) -> Alert | None:
        """Return one alert. Any thread."""
        with self._memory:
            episode = self._episodes.by_id.get(identity)
            return episode.alert if episode is not None and episode.number else None

    async def change(self, identity: str, kind: ChangeKind, *, by: str, comment: str = "") -> Alert | None:
        """Acknowledge, resolve or reopen an alert; None: there is no such alert.

        Returns it as it is then; what it is already stays as it is, and what is over is opened again before somebody
        looks after it. Raises OSError when the log refuses: then the change is written as soon as it can be.
        """
        with self._memory:
            episode = self._episodes.by_id.get(identity)
            if episode is None or not episode.number:
                return None
            state = STATES[kind]
            if state == episode.state or (kind == "acknowledged" and episode.state == "resolved"):
                return episode.alert
            episode.state = state
            episode.held = kind == "reopened" or (episode.held and kind == "acknowledged")
            episode.by, episode.comment = by, comment
            self._change(episode, kind, self._clock())
        await self.tell()
        if self._untold:
            raise OSError(self.trouble)
        return self.alert(identity)

    def by_rule(self) -> dict[str, Fired]:
        """Return by a rule's id how often it fired, and its alerts; the same after a restart."""
        found: dict[str, Fired] = {}
        with self._memory:
            for episode in self._episodes:
                if episode.number:
                    before = found.get(episode.rule_id, Fired())
                    found[episode.rule_id] = before.with_alert(
                        episode.count, episode.last_us, is_open=episode.state != "resolved"
                    )
        return found

    def states(self) -> Mapping[AlertState, int]:
        """Return how many alerts there are in each state. Any thread."""
        with self._memory:
            return Counter(episode.state for episode in self._episodes if episode.number)
