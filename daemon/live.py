"""The running daemon as the web side and the control socket see it: implements `web.status.Daemon`."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from daemon import files
from daemon.atlas import Atlas
from daemon.discovery import Found
from daemon.following import Fate, Followed
from daemon.keeping import Keeper
from daemon.metrics import Metrics
from daemon.outbound.teller import Teller
from daemon.ownlog import OwnLog
from daemon.packs import Pack
from daemon.pipeline import Pipeline
from daemon.rounds import HOT_SECONDS
from daemon.selflog import SelfLog, verified_event
from daemon.tailer import Tailer
from daemon.upkeep import Upkeep
from daemon.watcher import Watcher
from parsers.batch import Counts
from storage.archive import Archive
from storage.gaps import REASONS, Gap, Tally
from storage.occupancy import occupancy
from storage.pruning import Pruning
from storage.retention import DropReport
from web.status import LogFile, SourceStatus

STUCK_SECONDS = 30.0  # without a completed turn the reader is stuck: turns come every two seconds at least
REUSE_COST_FACTOR = 20  # of fifty thousand files it takes a third of a second: not too often
REUSE_SECONDS = 0.5  # a list of sources is built at most this often
SHOWN_SOURCES = 100  # files with a measurement of their own: those that lag most
NO_COUNTS = Counts()
NO_GAPS = Tally()
GAP_SECONDS = (
    24 * 3600.0
)  # so long after a gap the daemon calls itself degraded: somebody should have seen it by then
SHOWN_PROBLEMS = 20  # folders and files that cannot be read, in the readiness answer
SHOWN_LOST = 100  # sources that are gone and lost bytes, newest first


class LiveDaemon:
    """Answers at once from what is in memory. Belongs to the event loop, but for what says otherwise."""

    def __init__(
        self,
        *,
        archive: Archive,
        tailer: Tailer,
        pipeline: Pipeline,
        watcher: Watcher,
        upkeep: Upkeep,
        keeper: Keeper,
        selflog: SelfLog,
        metrics: Metrics,
        pruning: Pruning,
        atlas: Atlas,
        version: str,
        directories: Sequence[str] = (),
    ) -> None:
        self._archive = archive
        self._tailer = tailer
        self._pipeline = pipeline
        self._watcher = watcher
        self._upkeep = upkeep
        self.keeper = keeper
        self._selflog = selflog
        self._metrics = metrics
        self._pruning = pruning
        self._atlas = atlas
        self._version = version
        self._directories = list(directories)
        self._started_us = time.time_ns() // 1000
        self._before = {sid: state.counts for sid, state in archive.sources.items()}
        self._sources: list[SourceStatus] = []
        self._sources_until = 0.0
        self._listing = threading.Lock()  # a list is built once, for all who ask meanwhile
        self.stopping = False
        self.own_log: OwnLog | None = None  # what the daemon says for operators, once it runs
        self.url: str | None = None  # where the HTTP side answers, once it does
        self.teller: Teller | None = (
            None  # who tells of alerts; it asks us what is wrong, so it comes after us
        )
        metrics.before_each(self._measure)

    def sources(self) -> Sequence[SourceStatus]:
        """Return every source that is followed or held back now, by path. Any thread."""
        with self._listing:
            return self._listed()

    def _listed(self) -> Sequence[SourceStatus]:
        now = time.monotonic()
        if now >= self._sources_until:
            found = [self._status(followed, now) for followed in list(self._tailer.files)]
            found += [
                _unread(held.found, "copy" if held.reported else "held", f"repeats {held.original}")
                for held in list(self._tailer.binder.copies.held.values())
            ]
            found += [_packed(pack) for pack in list(self._tailer.binder.books.packs.unread.values())]
            found += self._lost({source.sid for source in found})
            self._sources = sorted(found, key=lambda source: source.path)
            ended = time.monotonic()
            self._sources_until = ended + max(REUSE_SECONDS, REUSE_COST_FACTOR * (ended - now))
        return self._sources

    def _lost(self, followed: set[str]) -> list[SourceStatus]:
        """Return the sources that lost bytes and have no file any more."""
        book = self._archive.state.gap_book
        gone = [(tally, sid) for sid, tally in list(book.by_source.items()) if sid not in followed]
        newest = sorted(gone, key=lambda entry: entry[0].when_us, reverse=True)[:SHOWN_LOST]
        return [self._gone(sid, tally) for tally, sid in newest]

    def _gone(self, sid: str, lost: Tally) -> SourceStatus:
        state = self._archive.sources.get(sid)
        counts = state.counts if state else NO_COUNTS
        offset = state.offset if state else 0
        return SourceStatus(
            sid=sid,
            path=state.path if state else self._archive.state.gap_book.paths.get(sid, ""),
            file=state.file if state else "",
            size=offset,
            read=offset,
            committed=offset,
            lines=counts.lines,
            events=counts.events,
            rejects=counts.rejects,
            last_event_us=None,
            state="gone",
            internal=state.internal if state else False,
            note=REASONS.get(lost.code, lost.code),
            gaps=lost.count,
            gap_bytes=lost.bytes,
            gap_reason=lost.code,
        )

    def _status(self, followed: Followed, now: float) -> SourceStatus:
        sid = followed.sid
        committed = self._archive.sources.get(sid)
        visible = self._pipeline.visible.get(sid)
        durable = committed.offset if committed else 0
        lost = self._archive.state.gap_book.by_source.get(sid, NO_GAPS)
        counts = self._before.get(sid, NO_COUNTS) + (visible.counts if visible else NO_COUNTS)
        read = max(visible.end if visible else followed.origin.base, durable)
        return SourceStatus(
            sid=sid,
            path=files.spelled(followed.path),
            file=followed.file,
            size=followed.size,
            read=read,
            committed=durable,
            lines=counts.lines,
            events=counts.events,
            rejects=counts.rejects,
            last_event_us=visible.last_event_us if visible else None,
            state=_state(followed, followed.size - read, now),
            profile=followed.root.profile,
            internal=followed.root.internal,
            note=followed.trouble or _note(followed),
            gaps=lost.count,
            gap_bytes=lost.bytes,
            gap_reason=lost.code,
            base=committed.base if committed else followed.origin.base,
            continues=committed.continues if committed else followed.origin.continues,
        )

    def log_files(self) -> Sequence[LogFile]:
        """Return the plain files that discovery admits and that still have a name there."""
        return [
            LogFile(
                sid=followed.sid,
                root=os.fsdecode(followed.root.path),
                file=followed.file,
                day=_day(followed.date_us),
                internal=followed.root.internal,
                profile=followed.root.profile,
            )
            for followed in list(self._tailer.files)
            if followed.fate not in {Fate.UNLINKED, Fate.MOVED} and followed.packed is None
        ]

    def ready(self) -> tuple[bool, str]:
        """Return whether lines get into the archive, and if not, why."""
        if self.stopping:
            return False, "the daemon is stopping"
        for stage, reason in self._pipeline.trouble.items():
            return False, f"the {stage} stage does not get on: {reason}"
        silent = time.monotonic() - self._pipeline.progress
        if silent > STUCK_SECONDS:
            return False, f"no file was looked at for {silent:.0f} s"
        return True, ""

    def degraded(self) -> Sequence[Mapping[str, str]]:
        """Return what is wrong although lines are archived."""
        return [{"code": code, "detail": detail} for code, detail in self._complaints()]

    def _complaints(self) -> Iterator[tuple[str, str]]:
        gap = self._archive.state.gap_book.last
        if gap is not None and time.time() - gap.when_us / 1e6 < GAP_SECONDS:
            yield "gap", f"{gap.bytes} bytes of {gap.path or gap.sid} were lost: {gap.reason}"
        if self._watcher.trouble:
            yield "watches", f"new lines may be seen late: {self._watcher.trouble}"
        for problem in self._tailer.binder.problems[:SHOWN_PROBLEMS]:
            yield "unreadable", problem
        for file, why in self._archive.lost[:SHOWN_PROBLEMS]:
            what = f"{file.path} is not whole ({why}), and its {file.rows} rows are in no answer"
            yield "lost", f"{what}: restore it from a backup, and start again"
        if self._tailer.pinned_too_much:
            yield (
                "pinned",
                f"deleted files hold {self._tailer.pinned_bytes} bytes of their disk until they are read",
            )
        if self._tailer.binder.books.descriptors.starved:
            yield (
                "descriptors",
                "this process has no more file descriptors: raise `ulimit -n` or LimitNOFILE=",
            )
        if self._selflog.trouble:
            yield "own-events", f"the last event of the daemon's own was not written: {self._selflog.trouble}"
        if self.own_log is not None and self.own_log.missing:
            yield (
                "own-log",
                f"{self.own_log.missing} lines of the daemon's log may be missing: it cannot be written",
            )
        yield from self._atlas.complaints()
        yield from self.keeper.complaints()
        if self.teller is not None:
            yield from self.teller.complaints()

    def status(self) -> Mapping[str, Any]:
        """Return what only the running daemon knows, for `/status`."""
        state = self._archive.state
        ready, reason = self.ready()
        return {
            "version": self._version,
            "node": self._archive.options.node,
            "url": self.url,
            "started": _rfc3339(self._started_us),
            "last_commit": _rfc3339(state.last_commit_us),
            "directories": self._directories,
            "ready": ready,
            "reason": reason or None,
            "gaps": state.gaps,
            "gap_bytes": state.gap_bytes,
            "gaps_by_reason": {
                code: {"count": tally.count, "bytes": tally.bytes, "last": _rfc3339(tally.when_us)}
                for code, tally in state.gap_book.by_code.items()
            },
            "last_gap": _gap(state.gap_book.last),
            "degraded": self.degraded(),
            "queue_bytes": self._pipeline.queue.bytes,
            "hot_bytes": self._archive.hot_bytes(),
            "ledger_head": state.head,
            "ledger_record": state.n,
            "disk_free_bytes": self._upkeep.disk_free_bytes,
            "watcher": self._watcher.trouble or "ok",
            "polled": self._watcher.polled,
            "pinned_bytes": self._tailer.pinned_bytes,
            "problems": list(self._tailer.binder.problems),
            "lost": [
                {"file": file.path, "events": file.rows if file.kind == "events" else 0, "reason": why}
                for file, why in self._archive.lost
            ],
            "places": self._atlas.status(),
            "retention": self.keeper.status(),
            "alerting": self.teller.status() if self.teller is not None else None,
        }

    def metrics(self) -> bytes:
        """Return the Prometheus text exposition."""
        return self._metrics.exposition()

    def _measure(self) -> None:
        sources = self.sources()
        by_state: dict[str, int] = {}
        for source in sources:
            by_state[source.state] = by_state.get(source.state, 0) + 1
        for name in ("sources", "source_size_bytes", "source_lag_bytes"):
            self._metrics.clear(name)
        for state, amount in by_state.items():
            self._metrics.gauge("sources", amount, state=state)
        self._metrics.clear("degraded")
        for code, amount in Counter(complaint["code"] for complaint in self.degraded()).items():
            self._metrics.gauge("degraded", amount, code=code)
        if self.teller is not None:
            self.teller.measure()
        self._metrics.gauge("pinned_bytes", self._tailer.pinned_bytes)
        self._metrics.gauge("lag_bytes", sum(source.lag_bytes for source in sources))
        self._metrics.gauge("sources_omitted", max(0, len(sources) - SHOWN_SOURCES))
        for source in sorted(sources, key=lambda s: -s.lag_bytes)[:SHOWN_SOURCES]:
            self._metrics.gauge("source_size_bytes", source.size, source=source.file)
            self._metrics.gauge("source_lag_bytes", source.lag_bytes, source=source.file)

    async def audit(self, event: Mapping[str, Any], *, durable: bool = False) -> None:
        """Append one event to the daemon's own log."""
        await self._selflog.append(event, durable=durable)

    async def cleanup(self, before_day: str | None, *, dry_run: bool) -> DropReport:
        """Drop (or list) sealed files: all of days before ``before_day``, or those older than their class may be."""
        return await self.keeper.cleanup(before_day, dry_run=dry_run)

    async def verified(self, outcome: Mapping[str, Any]) -> None:
        """Make the outcome of a verification an event."""
        await self.audit(verified_event(outcome), durable=True)

    async def storage(self, days: int) -> Mapping[str, Any]:
        """Return what lies where, the newest ``days`` in full."""
        snapshot, options = self._archive.snapshot, self._archive.options
        pruned = self._pruning.recent
        found = await asyncio.to_thread(
            occupancy, snapshot, days=days, seal_bytes=options.seal_bytes, pruned=pruned
        )
        return found.to_json()

    async def seal(self) -> int:
        """Make everything the files hold now visible, committed and sealed; returns how many files were made."""
        await self._pipeline.caught_up()
        await self._pipeline.commit()
        return await self._upkeep.seal()

    async def flush(self) -> int:
        """Make everything the files hold now visible and committed; returns the seq up to which that holds."""
        await self._pipeline.caught_up()
        await self._pipeline.commit()
        await asyncio.shield(self._upkeep.publish())
        return self._archive.snapshot.seq


def _packed(pack: Pack) -> SourceStatus:
    """Return a compressed file that may not be read, or not yet."""
    waiting = "is being written" if pack.waits else "is being checked to its end"
    return _unread(pack.found, "failed" if pack.trouble else "checking", pack.trouble or waiting)


def _unread(found: Found, state: str, note: str) -> SourceStatus:
    """Return a file of which nothing was read, and that therefore is no source."""
    return SourceStatus(
        sid="",
        path=files.spelled(found.path),
        file=found.file,
        size=found.size,
        read=0,
        committed=0,
        lines=0,
        events=0,
        rejects=0,
        last_event_us=None,
        state=state,
        profile=found.root.profile,
        note=note,
    )


def _note(followed: Followed) -> str:
    if followed.climb is not None:
        return "does not hold all that was read from it; it is compared with the archive"
    return "" if followed.fate is Fate.PRESENT else str(followed.fate)


def _state(followed: Followed, lag: int, now: float) -> str:
    if followed.trouble:
        return "failed"
    if followed.climb is not None:
        return "copy" if followed.climb.copy else "comparing"
    if followed.fate in {Fate.UNLINKED, Fate.MOVED}:
        return "gone"
    if lag > 0 and followed.reader.position < followed.size and now - followed.changed_at > 1.0:
        return "catching-up"
    return "live" if now - followed.changed_at < HOT_SECONDS else "idle"


def _gap(gap: Gap | None) -> dict[str, Any] | None:
    if gap is None:
        return None
    return {"path": gap.path, "bytes": gap.bytes, "reason": gap.code, "when": _rfc3339(gap.when_us)}


def _rfc3339(us: int) -> str | None:
    if not us:
        return None
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _day(us: int | None) -> str | None:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d") if us is not None else None
