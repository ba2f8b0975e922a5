"""What the endpoints that answer with events, and with figures of them, may be asked."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from parsers.searchlimits import MAX_CHARS as MAX_SEARCH_CHARS
from storage.buckets import MAX_BUCKETS
from storage.context import GROUPS
from storage.facets import MAX_FIELDS, MAX_TOP
from storage.query import STATISTICS_PARTS
from web.params import (
    DEFAULT_LIMIT,
    MAX_AROUND,
    MAX_DAYS,
    MAX_FOLLOW_SECONDS,
    MAX_HOURS,
    MAX_REPLAY,
    MAX_SEQ,
    MAX_VALUE_CHARS,
    MAX_VALUES,
    SEARCH_MEANING,
    Filters,
    Flag,
    Level,
    Params,
    Parts,
    Search,
    Some,
    Text,
    Zone,
)


class ListParams(Filters):
    """`GET /events`: the newest first, by page or by cursor."""

    page: Annotated[int, Field(ge=1)] = Field(
        1, description="Page, from 1; of the newest unless `snapshot` is given"
    )
    limit: Annotated[int, Field(ge=1)] = Field(DEFAULT_LIMIT, description="Rows a page")
    cursor: Text | None = Field(None, description="`next` of the answer before; goes on exactly behind it")
    snapshot: Annotated[int, Field(ge=0, le=MAX_SEQ)] | None = Field(
        None, description="`snapshot` of an earlier answer: pages then never shift"
    )


class LiveParams(Filters):
    """`GET /events/live`: what comes, with exactly the list's filters."""

    last_event_id: Annotated[str, Field(pattern=r"^[0-9]{1,15}\.[0-9]{1,15}$")] | None = Field(
        None,
        description="Go on behind this `id:`, as the header Last-Event-ID does, which wins",
    )
    replay: Annotated[int, Field(ge=0, le=MAX_REPLAY)] = Field(
        0, description="Begin with so many of the newest events; not where it goes on behind an id"
    )
    limit: Annotated[int, Field(ge=1, le=MAX_SEQ)] | None = Field(
        None, description="End after so many events"
    )
    timeout: Annotated[float, Field(gt=0, le=MAX_FOLLOW_SECONDS, allow_inf_nan=False)] | None = Field(
        None, description="End after so many seconds"
    )


class MineParams(ListParams):
    """`GET /events/me`: the caller's own events; without keys `user_id` says whose."""

    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] | None = Field(
        None, description="Only the last so many days"
    )


class OneParams(Params):
    """`GET /events/{event_id}`: the daemon's own events are found by id as well."""


class ContextParams(Params):
    """`GET /events/{event_id}/context`: what lies around an event."""

    before: Annotated[int, Field(ge=0, le=MAX_AROUND)] = Field(10, description="Older events of each group")
    after: Annotated[int, Field(ge=0, le=MAX_AROUND)] = Field(10, description="Newer events of each group")
    by: Annotated[list[Literal["time", "correlation", "session", "user"]], Field(max_length=len(GROUPS))] = (
        Field(
            [],
            description="Groups: neighbours in time, the same correlation id, session or user; without it all",
        )
    )


class RangeParams(Filters):
    """Figures of the last hours, or of an own range."""

    hours: Annotated[int, Field(ge=1, le=MAX_HOURS)] = Field(
        24, description="The last so many hours; ignored when start_date is given"
    )


class ProfileParams(RangeParams):
    """`GET /users/{user_id}` and `/entities/{entity_type}/{entity_id}`: what is known of one user or thing."""

    hours: Annotated[int, Field(ge=1, le=MAX_HOURS)] = Field(
        720, description="The last so many hours; ignored when start_date is given"
    )
    tz: Zone = Field("UTC", description="Time zone of the series and of the hours of the week")
    top: Annotated[int, Field(ge=1, le=MAX_TOP)] = Field(10, description="At most so many of each ranking")
    limit: Annotated[int, Field(ge=1)] = Field(DEFAULT_LIMIT, description="Events of the timeline")


class TrendsParams(RangeParams):
    """`GET /events/trends`: events, or distinct users, over time."""

    interval: Literal["auto", "1m", "5m", "15m", "1h", "3h", "6h", "12h", "1d", "7d", "1M"] = Field(
        "auto", description=f"Width of a bucket (1M: a month); at most {MAX_BUCKETS} of them"
    )
    by: Literal["level", "category", "action", "outcome", "risk", "none"] | None = Field(
        None, description="Split events by this: by level unless it says none. Users are not split"
    )
    of: Literal["events", "users"] = Field("events", description="What is counted: events, or distinct users")
    tz: Zone = Field("UTC", description="Time zone that buckets are aligned in, daylight saving included")
    previous: Flag = Field("false", description="true: also the period of the same length before")
    heatmap: Literal["weekday_hour"] | None = Field(
        None, description="Also the events of each hour of the week, as clocks in `tz` show it"
    )


class FacetsParams(RangeParams):
    """`GET /events/facets`: the values of fields and how often each occurs."""

    hints: ClassVar[dict[str, str]] = {"fields": "for example level,category,username,metadata.browser"}

    fields: Annotated[str, Field(min_length=1, max_length=MAX_VALUE_CHARS)] = Field(
        "level,category,action,outcome,risk,username,ip,country",
        description=f"Filters, columns or metadata.<path>, separated by commas; at most {MAX_FIELDS}",
    )
    top: Annotated[int, Field(ge=1, le=MAX_TOP)] = Field(10, description="At most so many values a field")
    exclude_own: Flag = Field(
        "false",
        description="true: a filter on a field does not count for that field, so that its other values are seen",
    )


class StatisticsParams(RangeParams):
    """`GET /events/statistics`: the last hours, or an own range."""

    tz: Zone = Field("UTC", description="Time zone whose days are the grid of `series`")
    parts: Parts = Field(
        None,
        description=f"Only these figures, separated by commas: {', '.join(STATISTICS_PARTS)}. Without it all but the last.",
    )


class RiskParams(RangeParams):
    """`GET /risk`: the riskiest users and addresses of the last hours, or of an own range."""

    hours: Annotated[int, Field(ge=1, le=MAX_HOURS)] = Field(
        720, description="The last so many hours; ignored when start_date is given"
    )
    top: Annotated[int, Field(ge=1, le=MAX_TOP)] = Field(10, description="At most so many of each")


class StatsParams(Params):
    """`GET /events/stats`: one user's events in the last days."""

    days: Annotated[int, Field(ge=1, le=MAX_DAYS)] = Field(30, description="The last so many days")
    user_id: Text | None = Field(None, description="Whose events; without keys and without this: everybody's")
    q: Search | None = Field(None, description=SEARCH_MEANING)


class ExportParams(Filters):
    """`GET /events/export`: exactly the list's filters, and no cap unless `limit` is given."""

    hints: ClassVar[dict[str, str]] = {"fields": "for example timestamp,level,user.username,metadata"}

    format: Literal["json", "ndjson", "csv", "parquet", "arrow"] = Field(
        "json",
        description="A bare array, one object a line, a table, or the archive's columns as Parquet or Arrow stream",
    )
    limit: Annotated[int, Field(ge=1, le=MAX_SEQ)] | None = Field(
        None, description="At most so many, newest first"
    )
    fields: Annotated[list[Text], Field(max_length=MAX_VALUES)] = Field(
        [],
        description="Only these, in this order: names of the Event (level, user, user.id), with commas between",
    )
    compress: Literal["gzip", "zstd"] | None = Field(
        None, description="Compress the file itself: its name then ends in .gz or .zst. Not for parquet"
    )
    snapshot: Annotated[int, Field(ge=0, le=MAX_SEQ)] | None = Field(
        None,
        description="`snapshot` of an earlier answer: nothing newer is exported, so that the file stays the same",
    )


class ExplainParams(Filters):
    """`GET /events/explain`: any filter, also as the rows of a form."""

    form: Search | None = Field(
        None,
        description='Rows of a form as JSON: `[{"field": "level", "operator": "equals", "values": ["error"]}]`',
    )


class SuggestParams(Params):
    """`GET /events/suggest`: a search as far as it is written, and where the cursor is."""

    q: Annotated[str, Field(max_length=MAX_SEARCH_CHARS)] = Field(
        "", description="The search so far; it may be unfinished"
    )
    at: Annotated[int, Field(ge=0, le=MAX_SEARCH_CHARS)] | None = Field(
        None, description="Where the cursor is, in characters from 0; without it at the end"
    )


class SqlParams(Params):
    """`POST /sql`."""

    format: Literal["json", "ndjson", "csv", "arrow", "parquet"] | None = Field(
        None, description="Form of the answer; without it `Accept` counts, then JSON"
    )


class ActivityParams(Params):
    """`GET /activity-logs`: the later original's names for a list."""

    page: Annotated[int, Field(ge=1)] = Field(1, description="Page, from 1")
    page_size: Annotated[int, Field(ge=1, le=100)] = Field(DEFAULT_LIMIT, description="Rows a page")
    entity_type: Some = Field([], description="Kind of the thing acted on")
    entity_id: Some = Field([], description="Id of the thing acted on")
    user_id: Some = Field([], description="Acting user's id")
    action: Some = Field([], description="Action")
    category: Some = Field([], description="Category")
    level: Annotated[list[Level], Field(max_length=MAX_VALUES)] = Field(
        [], description="One of the five levels"
    )
    q: Search | None = Field(None, description=SEARCH_MEANING)
