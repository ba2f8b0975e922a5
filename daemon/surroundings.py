"""What the keeper needs of the rest of the running daemon: implements `daemon.kept.Surroundings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.announcer import Announcer
from daemon.oldlogs import OldFile
from daemon.pipeline import Pipeline
from daemon.tailer import Tailer
from daemon.upkeep import Upkeep


class LiveSurroundings:
    """Hands each wish to the part that can grant it. Belongs to the event loop."""

    def __init__(self, announcer: Announcer, upkeep: Upkeep, pipeline: Pipeline, tailer: Tailer) -> None:
        self._announcer = announcer
        self._upkeep = upkeep
        self._pipeline = pipeline
        self._tailer = tailer

    async def say(self, description: str, level: str, metadata: Mapping[str, Any], **fields: Any) -> None:
        """Append an event of the daemon's own."""
        await self._announcer.say(description, level, metadata, **fields)

    async def seal(self) -> int:
        """Seal what is committed. It does not wait for the reader: what the keeper does must go on when that is stuck."""
        return await self._upkeep.seal()

    async def publish(self) -> None:
        """Write the view files."""
        await self._upkeep.publish()

    async def old_log_files(self, before_us: int) -> list[OldFile]:
        """Return the log files that were last written before a time and are wholly committed."""
        return await self._pipeline.in_reader(lambda: self._tailer.older(before_us))

    async def remove_log_file(self, old: OldFile) -> bool:
        """Remove one of them, if it is still as it was."""
        return await self._pipeline.in_reader(lambda: self._tailer.remove(old))
