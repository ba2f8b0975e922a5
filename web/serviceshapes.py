"""The shapes of what is answered about the daemon itself: cleanup, its log, sources, rejects, health, errors."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from web.shape import Shape


class DroppedDay(Shape):
    """What one UTC day loses."""

    day: str
    files: int
    rows: int
    bytes: int


class DroppedClass(Shape):
    """What a retention class loses."""

    files: int
    rows: int
    bytes: int


class KeptDay(Shape):
    """What stays of one day and class although its time has come, and why."""

    day: str
    retention_class: str
    files: int
    rows: int
    bytes: int
    reason: str


class CleanupFacts(Shape):
    """What retention removes, and what it keeps: whole UTC days before `cutoff_date`."""

    cutoff_date: str
    events_count: int
    deleted_count: int
    dry_run: bool
    days: list[DroppedDay]
    classes: dict[str, DroppedClass]
    kept: list[KeptDay]
    files: int
    rows: int
    bytes: int


class CleanupAnswer(Shape):
    """What was removed, or would be."""

    success: bool
    message: str
    data: CleanupFacts


class LogLine(Shape):
    """Where a line stands and what it says, redacted; `cut`: longer than is shown."""

    source: str
    file: str
    offset: int
    raw: str
    cut: bool
    timestamp: str | None
    level: str | None


class LogLines(Shape):
    """Lines of a day, newest last. `data[i]` is the JSON object of `lines[i]`, or `{"raw": …}`."""

    success: bool
    data: list[dict[str, Any]]
    lines: list[LogLine]
    file: str | None
    files: list[str]
    lines_count: int
    error: str | None
    next: str | None


class SourceRow(Shape):
    """One source: bytes and what became of its lines."""

    source: str
    path: str
    size: int
    base: int
    continues: str | None
    offset_read: int
    offset_committed: int
    lag_bytes: int
    lines: int
    events: int
    rejects: int
    last_event: str | None
    state: str
    note: str
    gaps: int = Field(description="Times that bytes of it were lost for the archive")
    gap_bytes: int
    gap_reason: str | None = Field(description="Code of the newest gap")
    profile: str
    internal: bool


class LogFiles(Shape):
    """A page of sources."""

    success: bool
    message: str
    data: list[SourceRow]
    timestamp: str
    total: int = Field(description="Sources that are asked for, on all pages")
    states: dict[str, int] = Field(description="How many there are in each state, whatever `state` asks for")
    lag_bytes: int = Field(description="Bytes in their files that no query can see yet")
    with_gaps: int = Field(description="How many of them lost bytes")
    gap_bytes: int
    next: str | None


class RejectRow(Shape):
    """A line that could not be parsed: where, why, and what of it was kept."""

    source: str
    file: str
    offset: int
    length: int
    sha256: str
    reason: str
    raw: str
    timestamp: str
    seq: int


class RejectsPage(Shape):
    """A page of rejects, newest first."""

    success: bool
    data: list[RejectRow]
    total: int
    next: str | None
    snapshot: int


class Status(Shape):
    """The daemon and its archive. Every row up to `seq` is in the API, to `view_seq` in the view, to `sealed_seq` in the glob."""

    success: bool
    version: str
    node: str
    seq: int
    view_seq: int
    sealed_seq: int
    events: int
    rows: int
    bytes: int
    oldest: str | None
    newest: str | None
    sources: list[SourceRow] = Field(
        description="At most 500: what needs attention first; `/logs/files` has all"
    )
    sources_total: int
    lag_bytes: int = Field(description="Bytes of all sources that no query can see yet")
    detection: DetectionStatus | None = Field(description="null where rules do not look at events")


class DetectionStatus(Shape):
    """How far rules have looked, and how many alerts there are."""

    seq: int = Field(description="Looked at up to here")
    lag_rows: int
    trouble: str | None
    open_alerts: int = Field(description="Alerts that are not resolved")
    new_alerts: int = Field(description="Those of them that nobody looks after")


class Complaint(Shape):
    """Something that is wrong although lines are archived and questions answered."""

    code: str = Field(
        description="gap, watches, unreadable, lost, pinned, descriptors, budget, export, clock or minimum"
    )
    detail: str


class Health(Shape):
    """One word, and for readiness what is wrong all the same."""

    status: str
    degraded: list[Complaint] = Field(default=[], description="Of readiness: for people and alerts")


class Caller(Shape):
    """Who asks."""

    name: str
    role: str = Field(description="viewer, auditor or admin")
    scopes: list[str]
    tenant: str | None = Field(description="The only tenant whose events it sees")
    user: str | None = Field(description="Whose events are its own")
    via: str = Field(
        description="key, session, header (a trusted proxy), proxy, or loopback (no key is needed)"
    )
    masked: list[str] = Field(description="Columns that it sees masked")


class Session(Shape):
    """Who asks, as the server sees it."""

    success: bool
    data: Caller


class ProblemFault(Shape):
    """One thing that is wrong: where, what, and what to write instead."""

    loc: list[str | int]
    msg: str
    hint: str
    position: int | None = Field(None, description="In a search: the character, counted from 0")
    suggestions: list[str] = Field([], description="In a search: what can be read in its place")


class ProblemBody(Shape):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[ProblemFault]
    request_id: str
