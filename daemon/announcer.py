"""Makes known what happens to the daemon and to the files that it follows.

An event of the daemon's own for what people must see, a measurement for what is counted, a line in the own log for
operators, and the ledger for bytes that are lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from daemon.gaps import GapTeller
from daemon.notes import Note
from daemon.selflog import SelfLog
from storage.archive import Archive
from storage.observer import Observer

_log = logging.getLogger(__name__)


class Announcer:
    """Belongs to the event loop."""

    def __init__(self, archive: Archive, selflog: SelfLog, gaps: GapTeller, observer: Observer) -> None:
        self._archive = archive
        self._selflog = selflog
        self._gaps = gaps
        self._observer = observer

    async def say(self, description: str, level: str, metadata: Mapping[str, Any], **fields: Any) -> None:
        """Append an event of the daemon's own; if even that fails, say so in the own log."""
        event = {"level": level, "description": description, "metadata": metadata, **fields}
        try:
            await self._selflog.append(event, durable=level != "info")
        except OSError as error:
            _log.error("an event of the daemon could not be written: %s", description, exc_info=error)

    async def paused(self, reason: str) -> None:
        """Say that reading pauses; the event itself is read when it goes on."""
        await self.say(f"The disk is nearly full: {reason}", "critical", {}, outcome="failure")

    async def note(self, notes: list[Note]) -> None:
        """Make known what happened to files."""
        for note in notes:
            _log.info(
                "a file was %s", note.kind, extra={"path": note.path, "sid": note.sid, "detail": note.detail}
            )
            match note.kind:
                case "gap":
                    await self._gap(note)
                case "copy":
                    self._observer.count("copies")
                    text = f"{note.path} {note.detail}"
                    await self.say(text, "warning", {"path": note.path, "bytes": note.end})
                case "rewritten":
                    self._observer.count("rewrites")
                case "shortened":
                    self._observer.count("forks")
                case "damaged" | "too large":
                    self._observer.count("unreadable_files", reason=note.kind)
                    text = f"{note.path} cannot be unpacked: it {note.detail}"
                    await self.say(text, "warning", {"path": note.path, "bytes": note.end})
                case "renamed" | "unlinked":
                    self._observer.count("rotations")

    async def _gap(self, note: Note) -> None:
        """Record what is lost; the teller makes an event of it."""
        record = partial(
            self._archive.losses.gap, note.sid, note.start, note.end, note.code, note.path, file=note.file
        )
        await asyncio.to_thread(record)
        await self._gaps.tell()
