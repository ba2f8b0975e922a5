"""What can go wrong in the archive. Each error says what, where, what to do next and whether a retry can help.

ArchiveError
├── LedgerError        a record is damaged, or written by a newer release
├── LockedError        another process writes this node's archive
├── FencedError        another process has taken this node's archive over: this one must end
├── CommitError        a commit did not become durable; nothing was lost, the lines are still in their files
├── ChildError         a process that runs SQL did not start, or ended without an answer
├── QueryError         a query cannot be answered as asked
│   ├── DeadlineError  it took longer than its deadline
│   │   └── MemoryCapError    or needed more memory than it may use
│   ├── StatementError        a person's SQL is wrong, or does more than read
│   ├── UnconfinedError       the system offers nothing that a statement could be confined with
│   ├── UnreadableError       a file of the archive is damaged
│   └── MaskedError    it asks for what its scope may only see masked
├── KeyringError       the file of API keys is damaged, or a key cannot be made as asked
└── BusyError          all places for this class of query are taken
"""

from __future__ import annotations


class ArchiveError(Exception):
    """Base of all errors of the archive.

    ``what`` happened, ``where`` (a file name or a record), ``hint`` (what to do next), ``retry`` (whether the same
    call may succeed later without anybody doing anything).
    """

    def __init__(self, what: str, *, where: str = "", hint: str = "", retry: bool = False) -> None:
        super().__init__(what, where, hint)
        self.what = what
        self.where = where
        self.hint = hint
        self.retry = retry

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        hint = f": {self.hint}" if self.hint else ""
        return f"{self.what}{place}{hint}"


class LedgerError(ArchiveError):
    """A ledger record is damaged, or its format is newer than this release."""


class LockedError(ArchiveError):
    """Another process writes this node's archive."""


class FencedError(ArchiveError):
    """Another process has taken this node's archive over although we had the lock. Nothing more may be written."""


class CommitError(ArchiveError):
    """A commit did not become durable. Nothing is lost: the lines are still in their files."""


class QueryError(ArchiveError):
    """A query cannot be answered as asked."""


class DeadlineError(QueryError):
    """A query took longer than its deadline and was cancelled."""


class MemoryCapError(DeadlineError):
    """A statement needed more memory than it may use, and was stopped."""


class StatementError(QueryError):
    """What DuckDB says of a person's SQL. ``kind``: ``syntax``, ``query``, ``refused`` (it does more than read) or ``long``."""

    def __init__(self, what: str, *, kind: str, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.kind = kind


class UnconfinedError(QueryError):
    """This system offers nothing that a statement could be confined with."""


class UnreadableError(QueryError):
    """A file of the archive is damaged; ``where`` is its path."""

    def __init__(self, where: str) -> None:
        what, hint = "a file of the archive could not be read", "run 'watchkeep verify'"
        super().__init__(what, where=where, hint=hint, retry=True)


class ChildError(ArchiveError):
    """A process that runs SQL did not start, or ended without an answer."""


class MaskedError(QueryError):
    """A query asks about values that its scope may only see masked; ``where`` names the filters."""


class KeyringError(ArchiveError):
    """The file of API keys cannot be used, or a key cannot be made or found as asked."""


class BusyError(ArchiveError):
    """All places for this class of query are taken; ``retry_after`` says when to come back, in seconds."""

    def __init__(self, what: str, *, retry_after: float) -> None:
        super().__init__(what, hint=f"try again in {retry_after:.0f} s", retry=True)
        self.retry_after = retry_after
