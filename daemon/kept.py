"""What `daemon.keeping` is told, and what it needs of the rest of the daemon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from daemon.oldlogs import Compression, OldFile
from storage.retention import Policy


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """What is kept and for how long (days; None: never), the hour of the day (UTC), and the budget in bytes."""

    policy: Policy = field(default_factory=Policy)
    cleanup_hour: int = 3
    log_file_days: int | None = None
    log_files: Literal["delete", "compress"] = "delete"
    compression: Compression = "gz"
    max_bytes: int | None = None
    min_free_bytes: int | None = None


class Surroundings(Protocol):
    """What the keeper needs of the rest of the daemon."""

    async def say(self, description: str, level: str, metadata: Mapping[str, Any], **fields: Any) -> None:
        """Append an event of the daemon's own."""
        ...

    async def seal(self) -> int:
        """Seal what is committed."""
        ...

    async def publish(self) -> None:
        """Show outside readers the files that there are now."""
        ...

    async def old_log_files(self, before_us: int) -> list[OldFile]:
        """Return the log files that were last written before a time and are wholly committed."""
        ...

    async def remove_log_file(self, old: OldFile) -> bool:
        """Remove one of them, if it is still as it was."""
        ...
