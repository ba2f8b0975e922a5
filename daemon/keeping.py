"""What the daemon keeps and what it lets go: daily exports, retention by age, the disk budget, old log files.

Everything here may take minutes (a hold looks into files, an export writes a day), so it has a task and a thread of its
own beside `daemon.upkeep`. Exports come first: retention removes no day that one has not written.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from daemon import files, held
from daemon.belief import Belief, elapsed
from daemon.exporting import Exporter, Failed, Wrote, told
from daemon.kept import KeeperOptions, Surroundings
from daemon.oldlogs import compress
from daemon.steps import Steps
from daemon.wanted import Values
from storage.archive import Archive
from storage.courtesy import stand_back
from storage.keeping import DAY_US, ClockError, HoldsUnknownError
from storage.observer import Observer
from storage.retention import DropReport, ages

TICK_SECONDS = 1.0
BUDGET_SECONDS = 60.0  # how often the disk budget is looked at
EXPORT_SECONDS = 60.0  # how often is looked whether a day is due
EXPORT_TURN_SECONDS = 30.0  # then the other steps have their turn
RETRY_SECONDS = 60.0  # a step that failed waits this long
FIRST_CLEANUP_SECONDS = 300.0  # after a start: the hour may have passed while the machine was off
SHOWN_KEPT = 20  # of what stays although its time has come, in the status

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Keeper:
    """Runs the steps, one at a time. Everything but `close` belongs to the event loop."""

    def __init__(
        self,
        archive: Archive,
        observer: Observer,
        options: KeeperOptions,
        exporter: Exporter,
        surroundings: Surroundings,
        *,
        clock: Callable[[], float] = elapsed,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._archive = archive
        self._observer = observer
        self._options = options
        self._exporter = exporter
        self._around = surroundings
        self._clock = clock
        self._now = now
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keeper", initializer=stand_back)
        self._exporting = asyncio.Lock()
        self._due = {"export": clock(), "budget": clock(), "retention": clock() + FIRST_CLEANUP_SECONDS}
        self._last: dict[str, Any] = {}
        self._over_bytes = 0  # above the budget, and nothing may go
        self._belief = Belief(archive, clock, now, lambda: self._options.policy)
        self._doubt: ClockError | HoldsUnknownError | None = None  # why nothing is removed
        self._exports: list[dict[str, Any]] = []  # as they were when last looked at
        self._stop = False

    @property
    def options(self) -> KeeperOptions:
        """What is in force."""
        return self._options

    async def use(self, options: KeeperOptions) -> None:
        """Take other options. The removal after the start stays due: who reads settings anew every day never had another."""
        self._options = options
        at_its_hour = self._clock() + _seconds_until(options.cleanup_hour, self._now())
        self._due["retention"] = at_its_hour if self._last else min(self._due["retention"], at_its_hour)
        await asyncio.to_thread(self._archive.keeping.set_policy, options.policy)

    async def run(self) -> None:
        """Run what is due until cancelled."""
        steps = Steps(
            {
                "export": self._export,
                "retention": self._retain,
                "budget": self._budget,
            },
            self._due,
            self._observer,
            self._clock,
            tick_seconds=TICK_SECONDS,
            retry_seconds=RETRY_SECONDS,
        )
        await steps.run()

    # Events

    async def cleanup(self, before_day: str | None, *, dry_run: bool) -> DropReport:
        """Drop, or list: everything before a day, or, without one, what is older than its class's maximum age."""
        keeping = self._archive.keeping
        day = self._today()
        if not dry_run:
            await self._trusted()
            await self._in_thread(lambda: keeping.take_late(before_day, day=day))
        if before_day is not None:
            return await self._drop(lambda dry: keeping.asked(before_day, dry_run=dry), dry_run=dry_run)
        return await self._drop(lambda dry: keeping.old(dry_run=dry, day=day), dry_run=dry_run)

    async def _drop(self, plan: Callable[[bool], DropReport], *, dry_run: bool, why: str = "") -> DropReport:
        """Plan, tell, drop. The event comes first: a removal without a trace must not be possible."""
        report = await asyncio.to_thread(plan, True)
        if dry_run:
            return report
        if not report.files:
            return replace(report, dry_run=False)
        text = f"Retention removes {report.rows} events of {len(report.days)} days{why}"
        await self._around.say(
            text,
            "warning",
            {
                "days": [day.day for day in report.days],
                "events": report.rows,
                "files": report.files,
                "bytes": report.bytes,
                "classes": sorted(report.classes),
            },
            category="data_management",
            action="delete",
        )
        report = await asyncio.to_thread(plan, False)
        for name, tally in report.classes.items():
            self._observer.count("dropped_events", tally.rows, retention_class=name)
            self._observer.count("dropped_bytes", tally.bytes, retention_class=name)
        await self._around.publish()
        return report

    async def _retain(self) -> None:
        """Remove what is too old, once a day."""
        await self._trusted()
        self._due["retention"] = self._clock() + _seconds_until(self._options.cleanup_hour, self._now())
        report = await self.cleanup(None, dry_run=False)
        removed = await self._old_log_files()
        self._last = {
            "at": self._now().isoformat(timespec="seconds").replace("+00:00", "Z"),
            "days": len(report.days),
            "events": report.rows,
            "bytes": report.bytes,
            "log_files": len(removed),
            "kept": [
                {"day": kept.day, "class": kept.retention_class, "reason": kept.reason}
                for kept in report.kept[:SHOWN_KEPT]
            ],
        }

    async def _trusted(self) -> None:
        """Raise if what decides cannot be relied on: ClockError or HoldsUnknownError. Told once, as an event."""
        try:
            self._archive.keeping.check_holds()
            self._belief.check()
        except (ClockError, HoldsUnknownError) as error:
            told, self._doubt = type(self._doubt) is type(error), error
            if not told:
                await self._around.say(f"Retention waits: {error}", "error", {}, outcome="failure")
            raise
        self._doubt = None

    async def _note_clock(self) -> None:
        """Write down once a day what the clock shows, for the next start. Only a clock that is believed gets here."""
        keeping, shown_us = self._archive.keeping, int(self._now().timestamp() * 1e6)
        known_us = self._archive.state.clock_us
        if not known_us or shown_us - known_us >= DAY_US:
            await asyncio.to_thread(lambda: keeping.believe(max(shown_us, keeping.believed_us)))

    async def confirm(self, what: held.Confirmed, *, reason: str, author: str) -> dict[str, Any]:
        """Take a person's word that the clock is right, or that no hold is missing."""
        shown = self._now().timestamp()
        answer = await self._changed(
            lambda: held.confirm(self._archive, what, int(shown * 1e6), reason=reason, author=author)
        )
        if what == "clock":
            self._belief.confirm(shown)
        self._doubt = None
        self._due["retention"] = self._clock()
        return answer

    def _today(self) -> str:
        return self._now().strftime("%Y-%m-%d")

    # What must be kept

    async def hold(self, name: str, values: Values, *, reason: str, author: str) -> dict[str, Any]:
        """Put a hold in force."""
        return await self._changed(
            lambda: held.add(self._archive, name, values, reason=reason, author=author)
        )

    async def release(self, name: str, *, reason: str, author: str) -> dict[str, Any]:
        """Lift a hold."""
        return await self._changed(lambda: held.release(self._archive, name, reason=reason, author=author))

    async def lower(self, name: str, days: int, *, reason: str, author: str) -> dict[str, Any]:
        """Lower a class's minimum age."""
        return await self._changed(
            lambda: held.lower(self._archive, name, days, reason=reason, author=author)
        )

    async def _changed(self, work: Callable[[], held.Told]) -> dict[str, Any]:
        answer, event = await asyncio.to_thread(work)
        await self._around.say(**event)
        return answer

    def holds(self) -> list[dict[str, Any]]:
        """Return the holds in force."""
        return held.listed(self._archive)

    # Budget

    async def _budget(self) -> None:
        """Remove the oldest files while the archive takes more than it may, or the disk has less than it should."""
        await self._trusted()
        self._due["budget"] = self._clock() + BUDGET_SECONDS
        await self._note_clock()
        excess = await asyncio.to_thread(self._excess)
        if excess > 0:
            keeping, day = self._archive.keeping, self._today()
            report = await self._drop(
                lambda dry: keeping.smaller(excess, dry_run=dry, day=day),
                dry_run=False,
                why=", to keep the disk budget",
            )
            excess -= report.bytes
            if excess > 0 and not self._over_bytes:
                await self._cannot_keep(excess, report)
        self._over_bytes = max(0, excess)
        self._observer.gauge("budget_over_bytes", self._over_bytes)

    def _excess(self) -> int:
        """Return how many bytes must go. Dropped files that readers may still use are on their way already."""
        state, options = self._archive.state, self._options
        excess = 0
        if options.max_bytes is not None:
            node = self._archive.options.node
            used = sum(file.bytes for file in list(state.files.values()) if file.node == node)
            excess = used - options.max_bytes
        if options.min_free_bytes is not None:
            info = os.statvfs(self._archive.options.path)
            leaving = sum(self._size(path) for path in list(state.retired))
            excess = max(excess, options.min_free_bytes - info.f_bavail * info.f_frsize - leaving)
        return excess

    def _size(self, path: str) -> int:
        try:
            return os.stat(self._archive.layout.absolute(path)).st_size
        except FileNotFoundError:
            return 0

    async def _cannot_keep(self, excess: int, report: DropReport) -> None:
        reasons = sorted({kept.reason for kept in report.kept}) or [
            "what is left is of today or not sealed yet"
        ]
        text = f"The disk budget cannot be kept: {excess} bytes too many, and nothing more may be removed"
        _log.error(text, extra={"bytes": excess, "reasons": reasons[:SHOWN_KEPT]})
        metadata = {"bytes": excess, "reasons": reasons[:SHOWN_KEPT]}
        await self._around.say(text, "error", metadata, outcome="failure")

    # Log files

    async def _old_log_files(self) -> list[str]:
        """Remove or compress the log files that are old enough; returns their paths."""
        options = self._options
        if options.log_file_days is None:
            return []
        cutoff = self._now() - timedelta(days=options.log_file_days)
        removed: list[str] = []
        for old in await self._around.old_log_files(int(cutoff.timestamp() * 1_000_000)):
            path = files.spelled(old.path)
            if old.packed and options.log_files == "compress":
                continue
            try:
                if options.log_files == "compress":
                    await self._in_thread(lambda old=old: compress(old, options.compression, self._stopping))  # type: ignore[misc]
                if await self._around.remove_log_file(old):
                    removed.append(path)
            except OSError as error:  # one file in the way must not keep the others
                self._observer.count("log_file_failures")
                _log.error(
                    "a log file stays: %s", error.strerror or error, extra={"path": path}, exc_info=error
                )
        if removed:
            done = "compressed" if options.log_files == "compress" else "removed"
            self._observer.count(f"{done}_log_files", len(removed))
            text = f"Retention {done} {len(removed)} log files"
            await self._around.say(
                text, "warning", {"log_files": removed}, category="data_management", action="delete"
            )
        return removed

    def _stopping(self) -> bool:
        return self._stop

    # Exports

    async def _export(self) -> None:
        self._due["export"] = self._clock() + EXPORT_SECONDS
        if not self._exporter.plans or self._exporting.locked():
            return
        self._exports = await asyncio.to_thread(self._exporter.status)
        if await asyncio.to_thread(self._exporter.unsealed):
            await self._around.seal()
        if await asyncio.to_thread(self._exporter.due):
            await self.export(seconds=EXPORT_TURN_SECONDS)
            if await asyncio.to_thread(self._exporter.due):
                self._due["export"] = self._clock()  # ten years of days must not keep the budget waiting

    async def export(
        self, *, whatever_the_hour: bool = False, seconds: float = math.inf
    ) -> list[dict[str, Any]]:
        """Write the days that are due, or all that are finished; returns what became of each.

        Only what is sealed is written: whoever asks beside the schedule seals first.
        """
        async with self._exporting:
            outcomes = await self._in_thread(
                lambda: self._exporter.run(whatever_the_hour=whatever_the_hour, seconds=seconds)
            )
        self._exports = await asyncio.to_thread(self._exporter.status)
        for outcome in outcomes:
            await self._tell(outcome)
        return [outcome.to_json() for outcome in outcomes]

    async def _tell(self, outcome: Wrote | Failed) -> None:
        event = told(outcome)
        if isinstance(outcome, Failed):
            _log.error(event["description"])
            if not outcome.first:
                return  # one event an episode; the log and the measurement have every attempt
        await self._around.say(**event)

    async def exports(self) -> list[dict[str, Any]]:
        """Return each export with what waits."""
        self._exports = await asyncio.to_thread(self._exporter.status)
        return self._exports

    # What is told

    def complaints(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong, each with a code."""
        if self._over_bytes:
            yield "budget", f"{self._over_bytes} bytes above the disk budget, and nothing more may be removed"
        for export in self._exports:
            if export["reason"]:
                yield (
                    "export",
                    f"export {export['name']} fails, and its days are not removed: {export['reason']}",
                )
        if self._doubt is not None:
            yield "clock" if isinstance(self._doubt, ClockError) else "holds", str(self._doubt)
        configured = self._options.policy.minimums
        for name, days in self._archive.keeping.minimums.items():
            given = configured.get(name, 0)
            if given < days:
                yield "minimum", f"class {name} is kept for {days} days, though the settings say {given}"

    def status(self) -> dict[str, Any]:
        """Return what is kept, for `/status`."""
        keeping = self._archive.keeping
        policy = self._options.policy
        holds = keeping.holds
        self._observer.gauge("holds", len(holds))
        return {
            "event_days": policy.event_days,
            "classes": ages(policy, keeping.minimums),
            "holds": [hold.name for hold in holds],
            "max_bytes": self._options.max_bytes,
            "min_free_bytes": self._options.min_free_bytes,
            "over_budget_bytes": self._over_bytes,
            "waits": str(self._doubt) if self._doubt is not None else None,
            "last": self._last or None,
            "exports": self._exports,
        }

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def stop(self) -> None:
        """Let long work end soon."""
        self._stop = True
        self._exporter.stop()

    def close(self) -> None:
        """Wait for the step under way. Blocks."""
        self.stop()
        self._thread.shutdown(wait=True)


def _seconds_until(hour: int, now: datetime) -> float:
    """Return the seconds until the next time the clock shows ``hour``:00 UTC."""
    at = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    return ((at if at > now else at + timedelta(days=1)) - now).total_seconds()
