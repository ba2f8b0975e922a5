"""What a verification found: classes of findings, and the report that holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

# Class → what it means. The report and `docs/guarantees.md` use these words.
CLASSES: dict[str, str] = {
    "MODIFIED": "a file is not what was written: its bytes have another SHA-256, or another number of rows",
    "MISSING": "the ledger names a file that is not there",
    "UNKNOWN": "a file lies where readers find it, and no ledger names it",
    "CHAIN": "a ledger record is damaged, missing, out of place, or not what the records before it lead to",
    "TRUNCATED": "the ledger ends before records that put files in their places",
    "SOURCE_GAP": "the byte ranges of a source do not continue one another",
    "COUNTS": "rows and lines do not add up",
    "DUPLICATE": "a position of a source has more than one row",
    "EARLY": "a file was dropped although its class's minimum age forbade it",
    "SOURCE": "a log file that still exists no longer holds the bytes that were archived",
    "ROLLUP": "a roll-up is not the sum of its events",
}

Progress = Callable[[str, int, int], None]  # what is checked, done, total


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as the ledger says. ``kind`` is one of CLASSES."""

    kind: str
    where: str
    what: str


@dataclass(slots=True)
class Report:
    """What was checked and what was found; ``ok`` when nothing was. ``notes`` are worth knowing and no fault."""

    records: int = 0
    files: int = 0
    bytes: int = 0
    events: int = 0
    rejects: int = 0
    sources: int = 0
    sources_checked: int = 0
    source_bytes: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as the ledger says."""
        return not self.findings

    def found(self, kind: str, where: str, what: str) -> None:
        """Add a finding."""
        assert kind in CLASSES, kind
        self.findings.append(Finding(kind, where, what))

    def classes(self) -> dict[str, int]:
        """Return how many findings there are of each class that occurs."""
        counted: dict[str, int] = {}
        for finding in self.findings:
            counted[finding.kind] = counted.get(finding.kind, 0) + 1
        return counted

    def to_json(self) -> dict[str, Any]:
        """Return the report for ``--json``."""
        return {"ok": self.ok, "classes": self.classes(), **asdict(self)}


def silent(_what: str, _done: int, _total: int) -> None:
    """Report no progress."""
