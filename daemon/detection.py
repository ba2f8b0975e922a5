"""Detection while the daemon runs: rules look at rows after these are visible, and what they find becomes alerts.

It is a stage of its own, in a thread of its own at low priority, with its own DuckDB. It may lag, it never holds up
what comes in. Its watermark is durable and moves over committed rows alone; after a crash everything above it is looked
at again, and what was told already is in the daemon's own log, so nothing is told twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daemon.alerting import change_of, event_of, told
from daemon.rulebook import GIVEN, USELESS, Rulebook
from daemon.rulesheet import Fired, rule_row, text_of
from daemon.selflog import SelfLog
from parsers.sigma.alert import STATES, Alert, AlertChange, ChangeKind
from parsers.sigma.episodes import Episode, Episodes
from storage import watermark
from storage.anchors import Anchor
from storage.archive import Archive
from storage.courtesy import SLIGHT_NICENESS, stand_back
from storage.detecting import Detector, DetectorOptions
from storage.observer import Observer
from web.status import RulesRead

T = TypeVar("T")

FOLDED_AT_ONCE = 500  # anchors, about a millisecond: who asks for alerts waits no longer
RETRY_SECONDS = 5.0  # after a look that failed
# Times as much as the CPU time of a look, detection rests when it has caught up. By the clock it would rest longest when
# the machine is busy with other work: at a load of ten a core, alerts came half a minute late.
REST_SHARE = 4
MOST_REST_SECONDS = 2.0  # whoever is to be told of an alert waits for a look, its rest and the next one
GIVE_WAY_SECONDS = 10.0  # the longest that detection waits between two looks because ingest has a backlog
GIVE_WAY_STEP_SECONDS = 0.2
SETTLE_US = 60_000_000  # an episode is over no sooner than this after its last anchor was found
RESOLVE_SECONDS = 5.0  # how often episodes are looked at for being over
RELOAD_SECONDS = 30.0  # how often the files of rules are looked at

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """``interval_seconds`` lie between two looks, ``update_seconds`` between two events of a growing alert."""

    interval_seconds: float = 1.0
    update_seconds: float = 300.0
    most_alerts: int = 10_000
    detector: DetectorOptions = field(default_factory=DetectorOptions)


@dataclass(frozen=True, slots=True)
class _Untold:
    """A change whose event is not written yet; ``doubtful``: a write failed, and the event may be there all the same."""

    event: Mapping[str, Any]
    change: AlertChange
    doubtful: bool = False


class Detection:
    """Runs the rules and keeps the alerts. Belongs to the event loop, but for what says otherwise."""

    def __init__(
        self,
        archive: Archive,
        selflog: SelfLog,
        observer: Observer,
        options: DetectionOptions,
        read_rules: Callable[[], Rulebook],
        *,
        files: Callable[[], Sequence[tuple[str, int]]] = tuple,
        judge: Callable[[str], Rulebook] | None = None,
        busy: Callable[[], bool] = lambda: False,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """``read_rules`` reads the rules (blocking); ``files`` says by name and time what they are read from; ``busy`` whether ingest has a backlog."""
        self._archive = archive
        self._selflog = selflog
        self._observer = observer
        self._options = options
        self._read_rules = read_rules
        self._files = files
        self._judge = judge
        self._busy = busy
        self._clock = clock
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="detection", initializer=stand_back, initargs=(SLIGHT_NICENESS,)
        )
        self._memory = threading.Lock()
        self._telling = asyncio.Lock()
        self._episodes = Episodes(options.most_alerts)
        self._untold: list[_Untold] = []
        self._grown: set[str] = set()
        self._book: Rulebook | None = None
        self._detector: Detector | None = None
        self._seen_files: Sequence[tuple[str, int]] = ()
        self._kept: Any = None  # what the watermark's file held at the start
        self._captured: tuple[int, Any] | None = None  # a state that waits for the commit of its rows
        self._looked_at = 0.0
        self._resolved_at = 0.0
        self._taken = 0.0  # CPU seconds of its thread in this turn
        self._current_at = time.monotonic()
        self._reloading = False
        self._listeners: list[Callable[[AlertChange], None]] = []
        self.watermark = 0  # durable
        self.seq = 0  # looked at up to here
        self.trouble = ""

    def prepare(self) -> None:
        """Take the watermark up. Call it before any new row can be visible. Blocking.

        Where there is none, detection begins with the next row: what the archive held before is for the back-test.
        """
        archive = self._archive
        committed = archive.state.max_seq
        try:
            found = watermark.read(archive.fs, archive.layout)
        except (ValueError, OSError) as error:
            _log.error("how far detection had come cannot be read; it begins with the next event: %s", error)
            found = None
        if found is None:
            self.watermark = committed
            with contextlib.suppress(OSError):
                watermark.write(archive.fs, archive.layout, committed, None)
        else:
            self.watermark, self._kept = min(found[0], committed), found[1]
        self.seq = self.watermark

    def add_listener(self, listener: Callable[[AlertChange], None]) -> None:
        """Call ``listener`` with every change of an alert, after its event is durable, on the event loop."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            self._taken = 0.0
            behind = False
            try:
                behind = await self._turn()
                self.trouble = ""
            except Exception as error:  # noqa: BLE001 - whatever a look raises, ingest goes on and it is tried again
                self.trouble = str(error) or repr(error)
                self._observer.count("detection_failures")
                _log.error("detection failed and will be tried again", exc_info=error)
                await asyncio.sleep(RETRY_SECONDS)
            rest = max(self._options.interval_seconds, min(MOST_REST_SECONDS, REST_SHARE * self._taken))
            await asyncio.sleep(0 if behind else rest)
            await self._give_way()

    async def _give_way(self) -> None:
        """Wait while ingest works off a backlog, but not for ever: then each look has as much as it can take."""
        ends = time.monotonic() + GIVE_WAY_SECONDS
        while self._busy() and time.monotonic() < ends:  # noqa: ASYNC110 - nobody says when a backlog ends
            await asyncio.sleep(GIVE_WAY_STEP_SECONDS)

    async def caught_up(self) -> None:
        """Look at everything that is visible now, and tell of it. For tests and the end."""
        while await self._turn() or self._untold:
            pass

    async def _turn(self) -> bool:
        """Do one look; returns whether there is more to look at."""
        if self._detector is None or self._reloading or await self._rules_changed():
            await self._in_thread(self._load)
        await self._tell()
        if self._untold:
            return False  # the log refuses: what is found would be lost
        behind = await self._in_thread(self._look)
        await self._tell()
        await self._in_thread(self._keep)
        return behind

    async def _rules_changed(self) -> bool:
        if time.monotonic() - self._looked_at < RELOAD_SECONDS:
            return False
        self._looked_at = time.monotonic()
        return await self._in_thread(self._files) != self._seen_files

    def reload(self) -> None:
        """Read the rules again before the next look."""
        self._reloading = True

    # In the thread

    def _load(self) -> None:
        """Read the rules; at first also what alerts there are. Rules that cannot be read leave those before in force."""
        self._reloading = False
        first = self._detector is None
        self._seen_files = self._files()
        book = self._read_rules()
        detector = Detector(book.emitting, book.rules, book.routes, self._options.detector, self._observer)
        if self._detector is not None:
            self._detector.close()
        self._book, self._detector = book, detector
        if first:
            self._restore()
        self._observer.gauge("rules_active", len(book.emitting) - len(detector.broken))
        _log.info("rules are in force", extra={"rules": len(book.emitting), "broken": len(detector.broken)})

    def _restore(self) -> None:
        """Take up the alerts: as they were at the watermark, with every state that an event tells of since."""
        held = [Episode.from_json(item) for item in (self._kept or {}).get("episodes", ())]
        kept = {episode.id: episode for episode in held}
        self._kept = None
        known = told(self._archive.snapshot, self._selflog, self._options.most_alerts)
        with self._memory:
            for episode in known.values():
                before = kept.pop(episode.id, None)
                episode.told = episode.count
                if before is not None:  # its anchors as of the watermark, its state as of now
                    episode.count, episode.first, episode.last = before.count, before.first, before.last
                elif episode.opened_seq > self.watermark:  # all its anchors will be found again
                    episode.count, episode.first, episode.last = 0, [], []
                self._episodes.put(episode)
            for episode in kept.values():
                self._episodes.put(episode)

    def _look(self) -> bool:
        assert self._detector is not None
        assert self._book is not None
        snapshot = self._archive.snapshot
        if snapshot.seq > self.seq:
            began = time.monotonic()
            step = self._detector.step(snapshot, self.seq)
            for at in range(0, len(step.anchors), FOLDED_AT_ONCE):
                self._fold(step.anchors[at : at + FOLDED_AT_ONCE], step.seq)
            self.seq = step.seq
            self._observer.seconds("detection_seconds", time.monotonic() - began)
            self._observer.count("detection_rows", step.rows)
            self._observer.count("detection_withdrawn", len(step.withdrawn))
        lag = max(0, self._archive.snapshot.seq - self.seq)
        behind = lag > self._options.detector.rows // 10
        if not behind:
            self._current_at = time.monotonic()
        self._observer.gauge("detection_lag_rows", lag)
        self._observer.gauge("detection_lag_seconds", time.monotonic() - self._current_at)
        self._observer.gauge("detection_match_bytes", self._detector.match_bytes)
        with self._memory:
            self._note_changes(caught_up=not behind)
        return behind

    def _fold(self, anchors: Sequence[Anchor], seq: int) -> None:
        assert self._book is not None
        now = self._clock()
        with self._memory:
            for anchor in anchors:
                rule = self._book.rules[anchor.rule]
                episode = self._episodes.add(
                    rule, anchor.groups, anchor.at_us, anchor.source, anchor.offset, anchor.event_id, seq
                )
                episode.arrived_us = now
                self._grown.add(episode.id)
        for anchor in anchors:
            self._observer.count("detections", rule=self._book.rules[anchor.rule].title)

    def _note_changes(self, *, caught_up: bool) -> None:
        """Note what is to be told: new alerts at once, growth now and then, and the end."""
        now = self._clock()
        for identity in sorted(self._grown):
            episode = self._episodes.by_id.get(identity)
            if episode is None or episode.count <= episode.told:
                self._grown.discard(identity)
            elif not episode.number:
                self._change(episode, "opened", now)
            elif now - episode.told_us >= self._options.update_seconds * 1e6 and episode.state != "resolved":
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

    def _keep(self) -> None:
        """Move the durable watermark over rows that are committed, with the alerts as they were there."""
        committed = self._archive.state.max_seq
        if self._captured is not None and self._captured[0] <= committed:
            seq, held = self._captured
            self._captured = None
            watermark.write(self._archive.fs, self._archive.layout, seq, held)
            self.watermark = seq
        if self._captured is None and self.seq > self.watermark and not self._untold:
            with self._memory:
                # What is over and told stands in the archive.
                held = [e.to_json() for e in self._episodes if e.state != "resolved" or e.count > e.told]
            self._captured = (self.seq, {"episodes": held})

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def counted() -> T:
            began = time.thread_time()
            try:
                return work()
            finally:
                self._taken += time.thread_time() - began

        return await asyncio.get_running_loop().run_in_executor(self._thread, counted)

    # Telling

    async def _tell(self) -> None:
        """Make the events of all changes that have none. A disk that refuses is tried again with the next look."""
        async with self._telling:
            while self._untold:
                untold = self._untold[0]
                if not await self._written(untold):
                    return
                self._untold.pop(0)
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
        await self._tell()
        if self._untold:
            raise OSError(self.trouble)
        return self.alert(identity)

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with what became of it and how often it fired since the start. Any thread."""
        book, detector = self._book, self._detector
        if book is None or detector is None:
            return []
        fired = self._by_rule()
        return [rule_row(item, fired.get(item.rule.id, Fired()), detector.broken) for item in book.judged]

    def _by_rule(self) -> dict[str, Fired]:
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

    async def read(self, text: str) -> RulesRead:
        """Read rules in YAML, which may refer to the rules in force."""
        assert self._judge is not None
        book = await asyncio.to_thread(self._judge, text)
        given = [item for item in book.judged if item.rule.path == GIVEN]
        emitting = [rule for rule in book.emitting if rule.path == GIVEN]
        bad = [(item.rule, item.why) for item in given if item.state in USELESS]
        return RulesRead(emitting, bad, book.rules, book.routes)

    def named(self, identity: str) -> RulesRead | None:
        """Return a rule that is in force, or is correlated, to be tried as it is; None: there is none of this id."""
        book, detector = self._book, self._detector
        item = None if book is None else next((it for it in book.judged if it.rule.id == identity), None)
        if book is None or detector is None or item is None:
            return None
        why = detector.broken.get(identity, item.why if item.state in USELESS else "")
        return RulesRead(
            [] if why else [item.rule], [(item.rule, why)] if why else [], book.rules, book.routes
        )

    async def text(self, identity: str) -> str:
        """Return the text of a rule in force, as it stands in its file; empty where there is none."""
        book = self._book
        rule = None if book is None else book.rules.get(identity)
        return "" if rule is None else await asyncio.to_thread(text_of, rule)

    @property
    def book(self) -> Rulebook | None:
        """The rules in force."""
        return self._book

    def status(self) -> Mapping[str, Any]:
        """Return how detection is."""
        with self._memory:
            states = Counter(episode.state for episode in self._episodes if episode.number)
        return {
            "seq": self.seq,
            "watermark": self.watermark,
            "lag_rows": max(0, self._archive.snapshot.seq - self.seq),
            "trouble": self.trouble or None,
            "open_alerts": states["open"] + states["acknowledged"],
            "new_alerts": states["open"],
        }

    def close(self) -> None:
        """Wait for the look under way. Blocks."""
        self._thread.shutdown(wait=True)
        if self._detector is not None:
            self._detector.close()
