"""The shapes of answers made of events: lists, one event, its context, profiles, risk, SQL."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from web.shape import Shape


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
