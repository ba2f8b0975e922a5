"""Detection while the daemon runs: rules look at rows after these are visible, and what they find becomes alerts.

It is a stage of its own, in a thread of its own at low priority, with its own DuckDB. It may lag, it never holds up
what comes in. Its watermark is durable and moves over committed rows alone; after a crash everything above it is looked
at again, and what was told already is in the daemon's own log, so nothing is told twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from daemon.casebook import Casebook
from daemon.rulebook import GIVEN, USELESS, Rulebook
from daemon.rulesheet import Fired, rule_row, text_of
from daemon.selflog import SelfLog
from parsers.sigma.alert import Alert, AlertChange, ChangeKind
from storage import watermark
from storage.archive import Archive
from storage.courtesy import SLIGHT_NICENESS, stand_back
from storage.detecting import Detector, DetectorOptions
from storage.freeing import give_back
from storage.observer import Observer
from web.status import RulesRead

T = TypeVar("T")

RETRY_SECONDS = 5.0  # after a look that failed
# Times as much as the CPU time of a look, detection rests when it has caught up. By the clock it would rest longest when
# the machine is busy with other work: at a load of ten a core, alerts came half a minute late.
REST_SHARE = 3
MOST_REST_SECONDS = 1.0  # whoever is to be told of an alert waits for a look, its rest and the next one
GIVE_WAY_SECONDS = 10.0  # the longest that detection waits between two looks because ingest has a backlog
GIVE_WAY_STEP_SECONDS = 0.2
TRIM_ROWS = 20_000  # of a look whose memory, several times what it keeps, is given back before the next one
RELOAD_SECONDS = 30.0  # how often the files of rules are looked at

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """``interval_seconds`` lie between two looks, ``update_seconds`` between two events of a growing alert."""

    interval_seconds: float = 0.5
    update_seconds: float = 300.0
    most_alerts: int = 10_000
    detector: DetectorOptions = field(default_factory=DetectorOptions)


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
        self._observer = observer
        self._options = options
        self._read_rules = read_rules
        self._files = files
        self._judge = judge
        self._busy = busy
        self.cases = Casebook(
            selflog,
            observer,
            most=options.most_alerts,
            update_seconds=options.update_seconds,
            clock=clock,
        )
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="detection", initializer=stand_back, initargs=(SLIGHT_NICENESS,)
        )
        self._book: Rulebook | None = None
        self._detector: Detector | None = None
        self._seen_files: Sequence[tuple[str, int]] = ()
        self._kept: Any = None  # what the watermark's file held at the start
        self._captured: tuple[int, Any] | None = None  # a state that waits for the commit of its rows
        self._looked_at = 0.0
        self._taken = 0.0  # CPU seconds of its thread in this turn
        self._current_at = time.monotonic()
        self._reloading = False
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
        while await self._turn() or self.cases.behind:
            pass

    async def _turn(self) -> bool:
        """Do one look; returns whether there is more to look at."""
        if self._detector is None or self._reloading or await self._rules_changed():
            await self._in_thread(self._load)
        await self.cases.tell()
        if self.cases.behind:
            return False  # the log refuses: what is found would be lost
        behind = await self._in_thread(self._look)
        await self.cases.tell()
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
            self.cases.restore(self._archive.snapshot, self._kept, self.watermark)
            self._kept = None
        self._observer.gauge("rules_active", len(book.emitting) - len(detector.broken))
        _log.info("rules are in force", extra={"rules": len(book.emitting), "broken": len(detector.broken)})

    def _look(self) -> bool:
        assert self._detector is not None
        assert self._book is not None
        snapshot = self._archive.snapshot
        if snapshot.seq > self.seq:
            began = time.monotonic()
            step = self._detector.step(snapshot, self.seq)
            self.cases.fold(step.anchors, self._book.rules, step.seq)
            self.seq = step.seq
            self._observer.seconds("detection_seconds", time.monotonic() - began)
            if step.rows >= TRIM_ROWS:
                give_back()
            self._observer.count("detection_rows", step.rows)
            self._observer.count("detection_withdrawn", len(step.withdrawn))
        lag = max(0, self._archive.snapshot.seq - self.seq)
        behind = lag > self._options.detector.rows // 10
        if not behind:
            self._current_at = time.monotonic()
        self._observer.gauge("detection_lag_rows", lag)
        self._observer.gauge("detection_lag_seconds", time.monotonic() - self._current_at)
        self._observer.gauge("detection_match_bytes", self._detector.match_bytes)
        self.cases.note(caught_up=not behind)
        return behind

    def _keep(self) -> None:
        """Move the durable watermark over rows that are committed, with the alerts as they were there."""
        committed = self._archive.state.max_seq
        if self._captured is not None and self._captured[0] <= committed:
            seq, held = self._captured
            self._captured = None
            watermark.write(self._archive.fs, self._archive.layout, seq, held)
            self.watermark = seq
        if self._captured is None and self.seq > self.watermark and not self.cases.behind:
            self._captured = (self.seq, {"episodes": self.cases.held()})

    async def _in_thread(self, work: Callable[[], T]) -> T:
        def counted() -> T:
            began = time.thread_time()
            try:
                return work()
            finally:
                self._taken += time.thread_time() - began

        return await asyncio.get_running_loop().run_in_executor(self._thread, counted)

    # Telling

    # What others ask

    def add_listener(self, listener: Callable[[AlertChange], None]) -> None:
        """Call ``listener`` with every change of an alert, after its event is durable, on the event loop."""
        self.cases.add_listener(listener)

    def alerts(self) -> list[Alert]:
        """Return all alerts that are remembered, the newest first. Any thread."""
        return self.cases.alerts()

    def alert(self, identity: str) -> Alert | None:
        """Return one alert. Any thread."""
        return self.cases.alert(identity)

    def changes(self) -> list[AlertChange]:
        """Return the newest change of every alert that is remembered, for listeners that may have missed one. Any thread."""
        return self.cases.changes()

    async def change(self, identity: str, kind: ChangeKind, *, by: str, comment: str = "") -> Alert | None:
        """Acknowledge, resolve or reopen an alert, see `Casebook.change`."""
        return await self.cases.change(identity, kind, by=by, comment=comment)

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with what became of it and how often it fired since the start. Any thread."""
        book, detector = self._book, self._detector
        if book is None or detector is None:
            return []
        fired = self.cases.by_rule()
        return [rule_row(item, fired.get(item.rule.id, Fired()), detector.broken) for item in book.judged]

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
        states = self.cases.states()
        return {
            "seq": self.seq,
            "watermark": self.watermark,
            "lag_rows": max(0, self._archive.snapshot.seq - self.seq),
            "trouble": self.trouble or self.cases.trouble or None,
            "open_alerts": states["open"] + states["acknowledged"],
            "new_alerts": states["open"],
        }

    def close(self) -> None:
        """Wait for the look under way. Blocks."""
        self._thread.shutdown(wait=True)
        if self._detector is not None:
            self._detector.close()
