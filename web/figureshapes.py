"""The shapes of answers made of figures: statistics, trends, facets."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from web.eventshapes import Event, RiskyAddress, RiskyUser
from web.shape import Shape


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
