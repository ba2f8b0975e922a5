"""What an archive is told: where it lies, and when it commits, folds, seals and drops."""

from __future__ import annotations

from dataclasses import dataclass, field

from storage.late import LateRules
from storage.retention import Policy

MEBIBYTE = 1 << 20
LATE_SHARE = 4  # late rows of one day that fill a quarter of a sealed file need not wait


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """Where and how to archive. Sizes in bytes, times in seconds."""

    path: str
    node: str = "main"
    commit_bytes: int = 32 * MEBIBYTE  # of hot rows in memory
    commit_seconds: float = 5.0
    seal_bytes: int = 64_000_000  # of live Parquet
    seal_seconds: float = 3600.0
    fold_files: int = 32  # live files above which some are folded
    late_seconds: float = (
        3600.0  # how long the first late rows of a day wait, then twice as long, then four times
    )
    late_files: int = 16  # most late files a day gains for having waited
    grace_seconds: float = 900.0  # superseded files stay longer than any query runs
    policy: Policy = field(default_factory=Policy)  # what retention may drop

    @property
    def late_rules(self) -> LateRules:
        """When late rows are sealed."""
        return LateRules(
            slack_us=int(self.seal_seconds * 1e6),
            wait_us=int(self.late_seconds * 1e6),
            files=self.late_files,
            bytes=self.seal_bytes // LATE_SHARE,
            total_bytes=self.seal_bytes,
        )
