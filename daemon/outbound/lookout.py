"""Looks for what no rule finds, around the pure `daemon.outbound.watching`: asks the daemon, takes changes, keeps what it learned."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from daemon.outbound import audit
from daemon.outbound.around import Around
from daemon.outbound.outbox import Outbox
from daemon.outbound.ownalerts import Own
from daemon.outbound.rhythm import Rhythm
from daemon.outbound.watching import Quiet, Watch
from parsers.sigma.alert import AlertChange
from storage.fs import Fs, replacing

OWN_CODES = frozenset({"alert-delivery"})  # who cannot tell cannot tell that either; the dashboard shows it
QUIET_FILE = "quiet.json"  # in the outbox's folder: how long files are usually silent
KEEP_US = 600_000_000  # between two writes of it: a crash costs ten minutes of learning

_log = logging.getLogger(__name__)


class Lookout:
    """Watches the daemon and its sources. Belongs to the event loop; ``in_thread`` runs what touches the outbox's files."""

    def __init__(
        self,
        quiet: Sequence[Quiet],
        node: str,
        outbox: Outbox,
        around: Around,
        *,
        own_alerts: bool,
        fs: Fs,
        folder: str,
        accept: Callable[[Sequence[AlertChange]], Awaitable[None]],
        in_thread: Callable[[Callable[[], Any]], Awaitable[Any]],
        now_us: Callable[[], int],
    ) -> None:
        """Read what was learned. Blocks."""
        self._outbox = outbox
        self._around = around
        self._own_alerts = own_alerts
        self._accept = accept
        self._in_thread = in_thread
        self._now_us = now_us
        self._fs, self._file = fs, os.path.join(folder, QUIET_FILE)
        self._watch = Watch(quiet, node, now_us(), self._rhythms(quiet))
        self._kept = (0, now_us())  # what was learned when it was written, and when that was
        self._looked = False  # for events that a crash kept from being made

    async def look(self) -> None:
        """Look once: for alerts that were not heard of (a crash came between), for silence and for trouble."""
        if not self._looked:
            await self._audit_again()
            self._looked = True
        missed = await asyncio.to_thread(self._around.alerts)
        if missed:
            await self._accept(missed)
        trouble: dict[str, str] = {}
        if self._own_alerts:
            for complaint in self._around.degraded():
                if complaint["code"] not in OWN_CODES:
                    trouble.setdefault(complaint["code"], complaint["detail"])
            ready, reason = self._around.ready()
            if not ready:
                trouble["not-ready"] = reason
        sources = await asyncio.to_thread(self._around.sources) if self._watch.quiet else ()
        now_us = self._now_us()
        known: dict[str, Own] = await self._in_thread(lambda: self._outbox.own.standing(now_us))
        changes = self._watch.observe(now_us, sources, trouble, known)
        if changes:
            await self._accept(changes)
            for change in changes:
                await self._around.audit(audit.changed(change))
        await self._in_thread(lambda: self._keep_rhythms(now_us))

    async def _audit_again(self) -> None:
        """Make the events of our own alerts that a crash kept from being made: people were to be told of these already."""
        own: list[Own] = await self._in_thread(lambda: list(self._outbox.own))
        made = [audit.changed(AlertChange(each.alert, each.kind, each.number)) for each in own]
        events = {str(event["eventId"]): event for event in made}
        known = await asyncio.to_thread(self._around.logged, set(events)) if events else set()
        for name, event in events.items():
            if name not in known:
                await self._around.audit(event)

    def _rhythms(self, quiet: Sequence[Quiet]) -> dict[str, Rhythm]:
        """Read how long files are usually silent. What cannot be read is learned again."""
        try:
            if self._fs.size(self._file) is None:
                return {}
            given = orjson.loads(self._fs.read(self._file))
            wanted = {rule.files for rule in quiet if rule.within_us is None}
            return {files: Rhythm.from_json(kept) for files, kept in given.items() if files in wanted}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("how long files are usually silent is learned again: %s", error)
            return {}

    def _keep_rhythms(self, now_us: int) -> None:
        """Write down what was learned, now and then. Blocks. Raises OSError."""
        learned, at_us = self._kept
        if self._watch.learned == learned or 0 <= now_us - at_us < KEEP_US:
            return
        kept = {files: rhythm.to_json() for files, rhythm in self._watch.rhythms.items()}
        with replacing(self._fs, self._file, f"{self._file}.part") as handle:
            handle.write(orjson.dumps(kept))
        self._kept = (self._watch.learned, now_us)
