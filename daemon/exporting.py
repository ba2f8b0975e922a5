"""The daily exports of the running daemon: when a day is due, how often a failure is tried again, what is told of it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from storage.archive import Archive
from storage.daily import Due, Export, Ledger, StoppedError, outstanding, write
from storage.errors import ArchiveError
from storage.fs import Disk, Fs
from storage.observer import Observer
from storage.state import State

FIRST_RETRY_SECONDS = 60.0
LONGEST_RETRY_SECONDS = 3600.0
_NEVER_US = 2**62


@dataclass(frozen=True, slots=True)
class Planned:
    """An export and its schedule: from ``hour`` (UTC) of the day ``after_days`` after the one that is exported."""

    export: Export
    hour: int
    after_days: int

    def first_unfinished(self, now: datetime) -> str:
        """Return the first day that is not due at this moment."""
        return (now - timedelta(days=self.after_days - 1, hours=self.hour)).strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Wrote:
    """A day that was exported now."""

    name: str
    body: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return it as it is answered."""
        return {"ok": True, **{key: value for key, value in self.body.items() if key != "covers"}}


@dataclass(frozen=True, slots=True)
class Failed:
    """An export that failed. ``first`` is true once an episode, so that events do not repeat it."""

    name: str
    day: str
    reason: str
    first: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as it is answered."""
        return {"ok": False, "name": self.name, "day": self.day, "reason": self.reason}


def told(outcome: Wrote | Failed) -> dict[str, Any]:
    """Return the event that tells what became of a day."""
    event: dict[str, Any] = {"category": "data_management", "action": "export"}
    if isinstance(outcome, Wrote):
        body = outcome.body
        text = f"Export {outcome.name} wrote {body['day']}: {body['rows']} events"
        return {**event, "level": "info", "description": text, "metadata": outcome.to_json()}
    text = f"Export {outcome.name} of {outcome.day} failed and will be tried again: {outcome.reason}"
    return {
        **event,
        "level": "error",
        "outcome": "failure",
        "description": text,
        "metadata": outcome.to_json(),
    }


def shown(plan: Planned, state: State, node: str, now: datetime | None = None) -> dict[str, Any]:
    """Return an export with what it has written and what waits."""
    done = state.exports.get(plan.export.name, {})
    files = [file for file in list(state.files.values()) if file.node == node]
    waiting = outstanding(files, done, plan.first_unfinished(now or datetime.now(UTC)))
    return {
        "name": plan.export.name,
        "folder": plan.export.folder,
        "format": plan.export.form,
        "days": len(done),
        "last_day": max(done, default=None),
        "waiting": [due.day for due in waiting],
        "failures": 0,
        "reason": None,
    }


class Exporter:
    """Writes what is due, one day after the other. `run` blocks and belongs to one thread."""

    def __init__(
        self,
        archive: Archive,
        observer: Observer,
        plans: Sequence[Planned],
        *,
        version: str,
        fs: Fs | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plans = tuple(plans)
        self._archive = archive
        self._observer = observer
        self._version = version
        self._fs = fs or Disk()
        self._now = now
        self._clock = clock
        self._failures: dict[str, int] = {}  # in a row
        self._reasons: dict[str, str] = {}
        self._not_before: dict[str, float] = {}
        self._sealed_for: set[str] = set()
        self._stop = threading.Event()

    def due(self, *, whatever_the_hour: bool = False) -> bool:
        """Return whether a finished day waits, or has rows that are not sealed yet. Quick."""
        return any(
            self._waits(plan, self._limit(plan, whatever_the_hour=whatever_the_hour))
            for plan in self._ready(force=whatever_the_hour)
        )

    def unsealed(self) -> bool:
        """Return whether a day that just became due may have committed rows in no sealed file: a seal makes it whole.

        True once a day. Rows that come later are sealed in their time, and then are a supplement.
        """
        snapshot = self._archive.snapshot
        oldest = [f.min_time_us for f in snapshot.events if f.day is None and f.node == snapshot.node]
        found = False
        for plan in self.plans:
            limit = plan.first_unfinished(self._now())
            if limit not in self._sealed_for and min(oldest, default=_NEVER_US) < _midnight_us(limit):
                self._sealed_for.add(limit)
                found = True
        return found

    def run(self, *, whatever_the_hour: bool = False, seconds: float = math.inf) -> list[Wrote | Failed]:
        """Write every day that is due, or those that fit into so many seconds; returns what became of each. Blocks."""
        found: list[Wrote | Failed] = []
        ends = self._clock() + seconds
        for plan in self._ready(force=whatever_the_hour):
            for due in self._days(plan, self._limit(plan, whatever_the_hour=whatever_the_hour)):
                outcome = self._write(plan.export, due)
                if outcome is not None:
                    found.append(outcome)
                if self._clock() >= ends:
                    return found
                if not isinstance(outcome, Wrote):
                    break  # the days after it will hardly fare better
        return found

    def stop(self) -> None:
        """Let `run` end soon; the day under way is written again after the next start."""
        self._stop.set()

    def status(self) -> list[dict[str, Any]]:
        """Return each export with what waits and why."""
        found = []
        for plan in self.plans:
            name = plan.export.name
            seen = shown(plan, self._archive.state, self._archive.options.node, self._now())
            self._observer.gauge("export_waiting_days", len(seen["waiting"]), export=name)
            trouble = {"failures": self._failures.get(name, 0), "reason": self._reasons.get(name)}
            found.append({**seen, **trouble})
        return found

    def _ready(self, *, force: bool) -> list[Planned]:
        now = self._clock()
        return [plan for plan in self.plans if force or self._not_before.get(plan.export.name, 0.0) <= now]

    def _limit(self, plan: Planned, *, whatever_the_hour: bool) -> str:
        earliest = Planned(plan.export, 0, plan.after_days) if whatever_the_hour else plan
        return earliest.first_unfinished(self._now())

    def _waits(self, plan: Planned, before_day: str) -> bool:
        return bool(self._days(plan, before_day))

    def _days(self, plan: Planned, before_day: str) -> list[Due]:
        state = self._archive.state
        files = [file for file in list(state.files.values()) if file.node == self._archive.options.node]
        return outstanding(files, state.exports.get(plan.export.name, {}), before_day)

    def _write(self, export: Export, due: Due) -> Wrote | Failed | None:
        state = self._archive.state
        ledger = Ledger(state.n, state.head, self._archive.options.node, self._version)
        try:
            body = write(self._fs, export, due, self._archive.snapshot, ledger, self._stop.is_set)
            self._archive.keeping.exported(body)
        except StoppedError:
            return None
        except (OSError, ArchiveError) as error:
            return self._failed(export.name, due.day, error)
        self._failures.pop(export.name, None)
        self._reasons.pop(export.name, None)
        self._not_before.pop(export.name, None)
        self._observer.count("exports", export=export.name, result="written")
        return Wrote(export.name, body)

    def _failed(self, name: str, day: str, error: Exception) -> Failed:
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10))
        self._not_before[name] = self._clock() + pause
        reason = str(error)
        if isinstance(error, OSError) and error.strerror:
            reason = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        self._reasons[name] = f"{day}: {reason}"
        self._observer.count("exports", export=name, result="failed")
        return Failed(name, day, reason, first=failures == 1)


def _midnight_us(day: str) -> int:
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 1_000_000
