"""The shapes of success answers, for OpenAPI: what a client may rely on. Handlers build plain dicts; tests compare.

The Event's schema comes from the column table; the envelopes are the original's, with our fields added.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from pydantic.json_schema import models_json_schema

from parsers.columns import COLUMNS, Column
from parsers.vocabulary import LEVELS
from web.alertshapes import DETECTION_MODELS
from web.shape import Shape

EVENT_ARRAY = "EventArray"
PROBLEM = "Problem"
REFERENCE = "#/components/schemas/{model}"


class Event(Shape):
    """Stands for the Event, whose schema comes from the column table (`event_schema`)."""


class EventsPage(Shape):
    """A page of events. `total` is exact unless `total_is_estimate`; then `pages` is null."""

    success: bool
    data: list[Event]
    total: int
    total_is_estimate: bool = False
    page: int | None
    pages: int | None
    message: str
    next: str | None = Field(description="`cursor` of the next page; null on the last")
    snapshot: int = Field(description="Give it back as `snapshot` for pages that never shift")


class MinePage(Shape):
    """A page of one user's events, in the original's second shape."""

    items: list[Event]
    total: int
    page: int
    per_page: int
    pages: int | None
    next: str | None
    snapshot: int


class ActivityPage(Shape):
    """A page of events in the later original's shape."""

    total: int
    items: list[Event]
    page: int
    page_size: int


class OneEvent(Shape):
    """One event; `duplicates` says how many more lines carry the same id."""

    success: bool
    message: str
    data: Event
    duplicates: int
    timestamp: str


class ContextGroup(Shape):
    """Events around one, newest first. `data[at]` is the event itself; without `value` it has no such group."""

    by: str = Field(description="time, correlation, session or user")
    field: str | None = Field(
        description="The filter that gives all of the group; null for neighbours in time"
    )
    value: str | int | None
    data: list[Event]
    at: int | None
    older: bool = Field(description="Whether there are older ones than these")
    newer: bool


class ContextData(Shape):
    """An event and what lies around it."""

    event: Event
    groups: list[ContextGroup]


class ContextAnswer(Shape):
    """What lies around an event."""

    success: bool
    message: str
    data: ContextData
    timestamp: str


class Contribution(Shape):
    """What makes an entity risky: an alert, an event, or several events of equal points. `adds` is its part of the score."""

    kind: Literal["alert", "event", "events"]
    points: int
    count: int
    adds: float
    id: str | None = Field(None, description="Of the alert or the event")
    at: str | None = None
    title: str | None = Field(None, description="Of an alert's rule")
    level: str | None = Field(None, description="Of an alert")
    reasons: list[str] | None = Field(None, description="Names of an event's reasons")


class EntityRisk(Shape):
    """How risky a user, an address or a thing is by all that was found about it (docs/risk.md)."""

    riskScore: float = Field(ge=0, le=100)  # noqa: N815
    riskBand: Literal["low", "medium", "high"]  # noqa: N815
    contributing: int = Field(description="How many alerts and events there are")
    contributions: list[Contribution] = Field(description="The ten that weigh most")


class OneRisk(EntityRisk):
    """The risk of the one who was asked for."""

    timeRange: dict[str, Any]  # noqa: N815


class RiskyUser(EntityRisk):
    """A user by the risk."""

    username: str | None
    userId: str | None  # noqa: N815


class RiskyAddress(EntityRisk):
    """An address by its risk."""

    ip: str


class RiskAnswer(Shape):
    """The riskiest users and addresses of a range."""

    success: bool
    timeRange: dict[str, Any]  # noqa: N815
    riskyUsers: list[RiskyUser]  # noqa: N815
    riskyAddresses: list[RiskyAddress]  # noqa: N815
    plan: Any = Field(description="Whether roll-ups or a scan answered")


class Risk(Shape):
    """How risky the events of a range were."""

    mean: float | None
    max: float | None
    byBand: dict[str, int]  # noqa: N815
    high: list[Event] = Field(description="The newest of the band high, at most ten")
    entity: OneRisk = Field(description="Of the subject itself, over the thirty days before the range's end")


class Timeline(Shape):
    """The newest events of the range. `link` is the address of the next page, `next` its cursor."""

    data: list[Event]
    next: str | None
    link: str | None


class ProfileData(Shape):
    """One user or thing: since when it is known, and the figures of the range."""

    firstSeen: str = Field(description="Of everything in the archive, whatever the range")  # noqa: N815
    lastSeen: str  # noqa: N815
    timeRange: dict[str, Any]  # noqa: N815
    totals: dict[str, int]
    byLevel: dict[str, int]  # noqa: N815
    byCategory: dict[str, int]  # noqa: N815
    byAction: dict[str, int]  # noqa: N815
    byOutcome: dict[str, int]  # noqa: N815
    byCountry: dict[str, int]  # noqa: N815
    topIps: list[dict[str, Any]]  # noqa: N815
    topEntities: list[dict[str, Any]]  # noqa: N815
    topUsers: list[dict[str, Any]]  # noqa: N815
    devices: list[dict[str, Any]] | None = Field(description="User agents; null for who sees them masked")
    risk: Risk
    series: list[dict[str, Any]]
    heatmap: dict[str, Any] = Field(description="Events by weekday and hour, as clocks in `tz` show them")
    timeline: Timeline


class ProfileAnswer(Shape):
    """What is known of one user or thing."""

    success: bool
    message: str
    data: ProfileData
    timestamp: str


class Words(Shape):
    """A list of words: the known ones in their order, then those observed."""

    success: bool
    message: str
    data: list[str]
    timestamp: str


class TimeRange(Shape):
    """The range that figures are of."""

    start: str
    end: str
    hours: float


class Totals(Shape):
    """Events, and distinct users among them."""

    events: int | None = None
    users: int | None = None


class TopUser(Shape):
    """A user by how many events are theirs."""

    username: str | None
    eventCount: int  # noqa: N815 - the original's name


class TopAddress(Shape):
    """An address and how many events it has."""

    ip: str
    eventCount: int  # noqa: N815


class TopEntity(Shape):
    """A thing and how many events are about it."""

    type: str | None
    id: str
    eventCount: int  # noqa: N815


class Earlier(Shape):
    """The same totals of the period before."""

    timeRange: TimeRange  # noqa: N815
    totals: Totals
    errorRate: float  # noqa: N815
    byLevel: dict[str, int]  # noqa: N815


class Point(Shape):
    """A bar of the chart."""

    start: str
    total: int
    byLevel: dict[str, int]  # noqa: N815


class Statistics(Shape):
    """Figures of a time range. With `parts`, only those asked for."""

    success: bool
    timeRange: TimeRange  # noqa: N815 - the original's name
    totals: Totals | None = None
    byLevel: dict[str, int] | None = None  # noqa: N815
    byCategory: dict[str, int] | None = None  # noqa: N815
    byAction: dict[str, int] | None = None  # noqa: N815
    byOutcome: dict[str, int] | None = None  # noqa: N815
    byRiskBand: dict[str, int] | None = None  # noqa: N815
    byCountry: dict[str, int] | None = None  # noqa: N815
    errorRate: float | None = Field(  # noqa: N815
        None, ge=0, le=100, description="100·(error+critical)/events; 0 when empty"
    )
    criticalEvents: list[Event] | None = Field(None, description="At most ten")  # noqa: N815
    topUsers: list[TopUser] | None = None  # noqa: N815
    topIps: list[TopAddress] | None = None  # noqa: N815
    topEntities: list[TopEntity] | None = None  # noqa: N815
    riskyUsers: list[RiskyUser] | None = None  # noqa: N815
    riskyAddresses: list[RiskyAddress] | None = None  # noqa: N815
    previous: Earlier | None = None
    series: list[Point] | None = None
    seriesSeconds: int | None = None  # noqa: N815
    plan: Any = Field(description="Whether roll-ups or a scan answered")


class Bucket(Shape):
    """A stretch of time. ``partial``: the range does not hold all of it."""

    start: str
    end: str
    partial: bool
    events: int | None = None
    users: int | None = Field(None, description="Distinct users, for of=users")
    by: dict[str, int] | None = Field(None, description="Events by word, zero-filled")
    other: int | None = Field(None, description="Events of words without a line of their own")
    missing: int | None = Field(None, description="Events without the word")


class Period(Shape):
    """A range, how much is in it, and its buckets."""

    timeRange: TimeRange  # noqa: N815 - as in the statistics
    events: int | None = None
    users: int | None = None
    buckets: list[Bucket]


class Heatmap(Shape):
    """Events by weekday (Monday first) and hour."""

    weekdays: list[str]
    events: list[list[int]] = Field(description="Seven rows of 24 hours")


class Trends(Period):
    """Figures over time."""

    success: bool
    interval: str
    intervalSeconds: int | None = Field(description="None for months")  # noqa: N815
    timezone: str
    of: str
    by: Any = Field(description="What events are split by; null if they are not")
    previous: Period | None = None
    heatmap: Heatmap | None = None
    plan: Any = Field(description="Whether roll-ups or a scan answered")


class FacetValue(Shape):
    """A value and how many events have it."""

    value: str
    count: int


class Facet(Shape):
    """The most frequent values of a field; ties in order of the value."""

    values: list[FacetValue]
    other: int = Field(description="Events with any other value (of labels: other pairs of event and label)")
    missing: int = Field(description="Events without a value")
    distinct: int | None = Field(description="How many values there are; null where that is not known")
    answeredBy: str = Field(description="roll-up, scan, or both")  # noqa: N815 - as in plans
    timed_out: bool = Field(description="true: counting took too long, and the field is left out")


class Facets(Shape):
    """Facets by field."""

    success: bool
    facets: dict[str, Facet]


class Stats(Shape):
    """Figures of one user, in the original's shape."""

    total_events: int
    events_by_category: dict[str, int]
    events_by_action: dict[str, int]
    events_by_day: dict[str, int]
    unique_sessions: int
    unique_devices: int
    most_active_hours: dict[str, int]
    recent_activity_count: int


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
        description="gap, watches, unreadable, pinned, descriptors, budget, export, clock or minimum"
    )
    detail: str


class Health(Shape):
    """One word, and for readiness what is wrong all the same."""

    status: str
    degraded: list[Complaint] = Field(default=[], description="Of readiness: for people and alerts")


class FormRow(Shape):
    """A row of a form (field, operator, values) or a group of rows (any or all); `exclude` turns it round."""

    field: str | None = None
    path: list[str] | None = Field(None, description="Keys below a field of JSON")
    operator: str | None = Field(
        None, description="equals, contains, matches, regex, exists, between, above, below"
    )
    values: list[str] | None = None
    any: list[FormRow] | None = None
    all: list[FormRow] | None = None
    exclude: bool


class Scan(Shape):
    """What may hold events of a filter, as far as can be told without asking. A page of the newest reads less."""

    files: int
    files_in_range: int = Field(description="Files of the time asked for; some are known to hold no match")
    rows: int
    bytes: int
    days: int = Field(description="Days of sealed files among them")
    hot_rows: int = Field(description="Rows that are not committed yet")
    oldest: str | None
    newest: str | None


class ArchiveSize(Shape):
    """All there is."""

    files: int
    rows: int
    bytes: int


class Explanation(Shape):
    """One filter in four forms that say the same, and what a count of it would take."""

    success: bool
    form: list[FormRow]
    url: str = Field(description="Query string of any endpoint that takes filters")
    q: str
    sql: str = Field(description="Runs as it stands in a DuckDB over the archive")
    scan: Scan
    archive: ArchiveSize
    plan: dict[str, Any] = Field(description="What would answer a count: roll-ups, rows, or both")


class Suggestion(Shape):
    """A text to put in place of the characters from `start` to `end`."""

    kind: str = Field(description="field, key, operator or value")
    label: str
    insert: str
    start: int
    end: int
    detail: str
    events: int | None = Field(description="How many of the newest events have it, where that is known")


class Suggestions(Shape):
    """How a search can go on."""

    success: bool
    data: list[Suggestion]
    timed_out: bool = Field(description="Values seen are missing, because finding them took too long")


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


class SqlColumn(Shape):
    """One column of an answer to SQL; `type` is DuckDB's."""

    name: str
    type: str


class SqlAnswer(Shape):
    """The answer to one statement. `rows` are lists in the order of `columns`; docs/sql.md says how values look."""

    success: bool
    columns: list[SqlColumn]
    rows: list[list[Any]]
    row_count: int
    truncated: bool = Field(description="The statement has more rows than the caps let through")
    ms: float = Field(description="What running it took")
    seq: int = Field(description="The statement saw every row up to here")


class ProblemBody(Shape):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[ProblemFault]
    request_id: str


MODELS: tuple[type[Shape], ...] = (
    *DETECTION_MODELS,
    EventsPage,
    MinePage,
    ActivityPage,
    OneEvent,
    ContextAnswer,
    ProfileAnswer,
    RiskAnswer,
    Words,
    Statistics,
    Trends,
    Facets,
    Stats,
    Explanation,
    Suggestions,
    CleanupAnswer,
    LogLines,
    LogFiles,
    RejectsPage,
    SqlAnswer,
    Status,
    Health,
    Session,
    ProblemBody,
)

_JSON_TYPES: dict[str, dict[str, Any]] = {
    "VARCHAR": {"type": "string"},
    "BIGINT": {"type": "integer"},
    "INTEGER": {"type": "integer"},
    "DOUBLE": {"type": "number"},
    "BOOLEAN": {"type": "boolean"},
    "TIMESTAMPTZ": {"type": "string", "format": "date-time"},
    "VARCHAR[]": {"type": "array", "items": {"type": "string"}},
    "STRUCT(reason VARCHAR, points DOUBLE, detail VARCHAR)[]": {"type": "array", "items": {"type": "object"}},
}


def components() -> dict[str, Any]:
    """Return every schema of OpenAPI's components, by name."""
    _, found = models_json_schema([(model, "serialization") for model in MODELS], ref_template=REFERENCE)
    schemas: dict[str, Any] = dict(found["$defs"])
    schemas[PROBLEM] = schemas.pop(ProblemBody.__name__)
    schemas[Event.__name__] = event_schema()
    schemas[EVENT_ARRAY] = {"type": "array", "items": {"$ref": REFERENCE.format(model=Event.__name__)}}
    return dict(sorted(schemas.items()))


def event_schema() -> dict[str, Any]:
    """Return the Event as the API shows it, from the column table."""
    properties: dict[str, Any] = {}
    for column in COLUMNS:
        if not column.api:
            continue
        *parents, leaf = column.api.split(".")
        level = properties
        for parent in parents:
            group = level.setdefault(parent, {"type": ["object", "null"], "properties": {}})
            level = group["properties"]
        level[leaf] = _column_schema(column)
    return {
        "type": "object",
        "description": "One event. A later release may add fields.",
        "properties": properties,
        "required": [
            column.api for column in COLUMNS if column.required and column.api and "." not in column.api
        ],
    }


def _column_schema(column: Column) -> dict[str, Any]:
    if column.json:
        return {"description": column.meaning}
    schema = dict(_JSON_TYPES[column.sql])
    if column.name == "level":
        schema["enum"] = list(LEVELS)
    types = [schema["type"]]
    if column.name == "user_id":
        types.append("integer")  # where the line had a number
    if not column.required:
        types.append("null")
    schema["type"] = types if len(types) > 1 else types[0]
    return {**schema, "description": column.meaning}
