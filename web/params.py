"""What each endpoint may be asked: one pydantic model a query string, from which the checks and OpenAPI both come.

An unknown parameter, a value that cannot be used, or a single-valued parameter given twice is a 422 that names it.
"""

from __future__ import annotations

import difflib
import ipaddress
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import available_timezones

from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from parsers.grammar import MAX_CHARS as MAX_SEARCH_CHARS
from parsers.sigma.rule import Level as SigmaLevel
from parsers.vocabulary import LEVELS
from storage.buckets import MAX_BUCKETS
from storage.context import GROUPS
from storage.facets import MAX_FIELDS, MAX_TOP
from storage.query import STATISTICS_PARTS
from web.errors import INVALID, Fault, Problem
from web.times import HINT as TIME_HINT
from web.times import day_of, parse_time

DEFAULT_LIMIT = 50  # rows; the original's
DEFAULT_LINES = 500  # lines of /logs; the original's
MAX_LINES = 5000
MAX_FILES = 500  # rows of a page of sources, as of other lists: about 200 kB
MAX_HOURS = 8760  # a year
MAX_DAYS = 365
MIN_CLEANUP_DAYS = 7  # so that nobody removes this week by a slip of the finger
MAX_VALUE_CHARS = 1024
MAX_VALUES = 100  # of one repeatable parameter
MAX_SEQ = 2**53 - 1
MAX_AROUND = 100  # events on each side of one, in each group
MAX_REPLAY = 500  # events that a live stream begins with; a list has more
MAX_FOLLOW_SECONDS = 86_400.0
ZONES = frozenset(available_timezones())  # listed once: it reads a folder

_ZONES = frozenset(available_timezones())  # once, at import: it walks the file system
_ANY_MOMENT_US = 0  # a form check does not depend on the present moment


def _check_time(text: str) -> str:
    parse_time(text, now_us=_ANY_MOMENT_US)
    return text.strip()


def _check_date(text: str) -> str:
    return day_of(parse_time(text, now_us=_ANY_MOMENT_US))


def _check_address(text: str) -> str:
    ipaddress.ip_network(text.removeprefix("!"), strict=False)
    return text


def _check_zone(text: str) -> str:
    if text not in _ZONES:
        raise ValueError(f"{text!r} is not a time zone")
    return text


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a list that is separated by commas, each once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _check_parts(text: str) -> str:
    unknown = [word for word in words_of(text) if word not in STATISTICS_PARTS]
    if unknown or not words_of(text):
        raise ValueError(f"{', '.join(unknown) or 'nothing'} is no part of the statistics")
    return text


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


_LEVELS = "|".join(LEVELS)

# The plain constraint stands first: only then does it reach the JSON Schema.
Text = Annotated[str, Field(min_length=1, max_length=MAX_VALUE_CHARS)]
Excludable = Annotated[str, Field(min_length=1, max_length=MAX_VALUE_CHARS, pattern=r"^(![\s\S]|[^!])")]
Level = Annotated[str, Field(pattern=f"^!?({_LEVELS})$"), BeforeValidator(_lower)]
Risk = Annotated[str, Field(pattern=r"^(low|medium|high)$"), BeforeValidator(_lower)]
Address = Annotated[str, Field(min_length=2, max_length=64), AfterValidator(_check_address)]
Status = Annotated[str, Field(pattern=r"^!?[1-9][0-9]{2}$")]
Time = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_time)]
Date = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_check_date)]
Zone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_check_zone)]
Search = Annotated[str, Field(min_length=1, max_length=MAX_SEARCH_CHARS)]
Parts = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_check_parts)] | None
Some = Annotated[list[Excludable], Field(max_length=MAX_VALUES)]

SEARCH_MEANING = (
    "A search, which must hold as well: `level:error -path:/health* status:>=500` (docs/search.md)"
)

HINTS: dict[str, str] = {
    "level": f"one of {', '.join(LEVELS)}; a leading ! excludes",
    "risk": "low, medium or high",
    "ip": "an address or a network such as 10.0.0.0/8",
    "status_code": "a number such as 404; a leading ! excludes",
    "start_date": TIME_HINT,
    "end_date": TIME_HINT,
    "q": "see docs/search.md",
    "date": "write 2024-05-31",
    "interval": "auto, or a longer one",
    "fields": "for example level,category,username,metadata.browser",
    "parts": f"any of {', '.join(STATISTICS_PARTS)}",
    "tz": "an IANA name such as Europe/Berlin",
    "last_event_id": "take it from `id:` of an event, unchanged",
    "internal": "true (with the daemon's own events), only (nothing else) or false",
}


class Params(BaseModel):
    """Base of every query model: an unknown name is an error, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParams(Params):
    """An endpoint without parameters."""


class Filters(Params):
    """The filters that lists, statistics and exports share. Repeatable ones take a leading ``!`` to exclude."""

    level: Annotated[list[Level], Field(max_length=MAX_VALUES)] = Field(
        [], description="One of the five levels"
    )
    category: Some = Field([], description="Category, known or the application's own")
    action: Some = Field([], description="Action, known or the application's own")
    outcome: Some = Field([], description="success, failure, denied or unknown")
    user_id: Some = Field([], description="Acting user's id; ids compare as text")
    username: Some = Field([], description="Acting user's name")
    ip: Annotated[list[Address], Field(max_length=MAX_VALUES)] = Field(
        [], description="Client address, or a network in CIDR form"
    )
    country: Some = Field([], description="ISO 3166 country")
    city: Some = Field([], description="City")
    entity_type: Some = Field([], description="Kind of the thing acted on")
    entity_id: Some = Field([], description="Id of the thing acted on")
    entity_name: Some = Field([], description="Name of the thing acted on")
    correlation_id: Some = Field([], description="Ties the events of one request or job together")
    session_id: Some = Field([], description="The user's session")
    method: Some = Field([], description="HTTP method")
    path: Some = Field([], description="HTTP path")
    status_code: Annotated[list[Status], Field(max_length=MAX_VALUES)] = Field([], description="HTTP status")
    user_agent: Some = Field([], description="Client's user agent")
    server: Some = Field([], description="Host that wrote the line")
    environment: Some = Field([], description="production, staging …")
    source: Some = Field([], description="Id or file of the source")
    tag: Some = Field([], description="A tag of the event")
    risk: Annotated[list[Risk], Field(max_length=MAX_VALUES)] = Field(
        [], description="low (0-30), medium (31-70) or high (71-100)"
    )
    min_risk: Annotated[int, Field(ge=0, le=100)] | None = Field(None, description="Lowest risk score")
    max_risk: Annotated[int, Field(ge=0, le=100)] | None = Field(None, description="Highest risk score")
    start_date: Time | None = Field(
        None,
        description="From here on, inclusive: ISO 8601, a date (its first moment), -15m, -24h, -7d or now",
    )
    end_date: Time | None = Field(None, description="Up to here, inclusive; a date is its last moment")
    search_query: Text | None = Field(
        None, description="Words to find in description, entity name or username"
    )
    subject: Text | None = Field(
        None,
        description="One person (an id, a name, an address): events by them, for them, or about them",
    )
    q: Search | None = Field(None, description=SEARCH_MEANING)
    internal: Literal["true", "only", "false"] = Field(
        "false", description="The daemon's own events: left out, true = with them, only = nothing else"
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


class DetectionsParams(ListParams):
    """`GET /detections`: the events that tell where rules fired, by page or by cursor."""


class AlertsParams(Params):
    """`GET /alerts`: the newest first, by cursor."""

    state: Annotated[list[Literal["open", "acknowledged", "resolved"]], Field(max_length=MAX_VALUES)] = Field(
        [], description="State of an alert: open, acknowledged or resolved"
    )
    level: Annotated[list[SigmaLevel], Field(max_length=MAX_VALUES)] = Field(
        [], description="Level of its rule: informational, low, medium, high or critical"
    )
    rule: Annotated[list[Text], Field(max_length=MAX_VALUES)] = Field([], description="Id of its rule")
    search_query: Text | None = Field(
        None, description="A text, in any case, in its title, a value of its group, a technique or its id"
    )
    limit: Annotated[int, Field(ge=1)] = Field(DEFAULT_LIMIT, description="Rows a page")
    cursor: Text | None = Field(None, description="`next` of the answer before; goes on exactly behind it")


class RuleTestParams(Params):
    """`POST /rules/test`: over which time."""

    start_date: Time = Field(
        "-24h",
        description="From here on, inclusive: ISO 8601, a date (its first moment), -15m, -24h, -7d or now",
    )
    end_date: Time | None = Field(None, description="Up to here, inclusive; a date is its last moment")


class SilenceParams(Params):
    """`POST /silences`."""

    dry_run: Literal["true", "false"] = Field(
        "false", description="true: nothing is changed, the answer says which alerts it would mute now"
    )


class OutboxParams(Params):
    """`GET /outbox`."""

    limit: Annotated[int, Field(ge=1)] = Field(DEFAULT_LIMIT, description="Rows of each list")


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
    previous: Literal["true", "false"] = Field(
        "false", description="true: also the period of the same length before"
    )
    heatmap: Literal["weekday_hour"] | None = Field(
        None, description="Also the events of each hour of the week, as clocks in `tz` show it"
    )


class FacetsParams(RangeParams):
    """`GET /events/facets`: the values of fields and how often each occurs."""

    fields: Annotated[str, Field(min_length=1, max_length=MAX_VALUE_CHARS)] = Field(
        "level,category,action,outcome,risk,username,ip,country",
        description=f"Filters, columns or metadata.<path>, separated by commas; at most {MAX_FIELDS}",
    )
    top: Annotated[int, Field(ge=1, le=MAX_TOP)] = Field(10, description="At most so many values a field")
    exclude_own: Literal["true", "false"] = Field(
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


class CleanupParams(Params):
    """`DELETE /events/cleanup`."""

    days: Annotated[int, Field(ge=MIN_CLEANUP_DAYS, le=MAX_DAYS)] = Field(
        90, description="Keep so many whole days before today"
    )
    dry_run: Literal["true", "false"] = Field("true", description="true only lists what would go")


class LogsParams(Params):
    """`GET /logs`: raw lines of the daily files."""

    date: Date | None = Field(None, description="Day of the files, UTC; today without it")
    lines: Annotated[int, Field(ge=1, le=MAX_LINES)] = Field(
        DEFAULT_LINES, description="How many lines, counted from the newest"
    )
    source: Text | None = Field(None, description="Only this source: its id or file")
    cursor: Text | None = Field(None, description="`next` of the answer before: the lines before those")


class LogFilesParams(Params):
    """`GET /logs/files`: sources, by cursor."""

    state: Annotated[list[Text], Field(max_length=MAX_VALUES)] = Field(
        [], description="State of a source, as its row says it: live, idle, catching-up, failed …"
    )
    directory: Text | None = Field(
        None, description="A folder below its log directory, with all that is in it"
    )
    name: Text | None = Field(None, description="A text, in any case, in its path below the log directory")
    gaps: Literal["true", "false"] | None = Field(None, description="true: only sources that lost bytes")
    lagging: Literal["true", "false"] | None = Field(
        None, description="true: only sources of which not everything is read"
    )
    sort: Literal["lag", "path"] = Field(
        "lag",
        description="lag: what lags most first; a source that moves between two pages may be missed. path: none is",
    )
    limit: Annotated[int, Field(ge=1, le=MAX_FILES)] = Field(DEFAULT_LIMIT, description="Rows a page")
    cursor: Text | None = Field(None, description="`next` of the answer before, with the same `sort`")


class RejectsParams(Params):
    """`GET /rejects`: lines that could not be parsed, newest first."""

    limit: Annotated[int, Field(ge=1)] = Field(DEFAULT_LIMIT, description="Rows a page")
    cursor: Text | None = Field(None, description="`next` of the answer before")
    source: Text | None = Field(None, description="Only this source: its id or file")


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


P = TypeVar("P", bound=Params)


def repeatable(model: type[Params], name: str) -> bool:
    """Return whether a parameter may be given several times."""
    return typing.get_origin(_bare(model.model_fields[name].annotation)) is list


def _bare(annotation: Any) -> Any:
    """Return an annotation without Optional and Annotated."""
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def read(model: type[P], request: web.Request) -> P:
    """Return the query string as a value of ``model``; raises the 422 that lists everything wrong with it."""
    given: dict[str, Any] = {}
    faults: list[Fault] = []
    for name in dict.fromkeys(request.query):
        values = request.query.getall(name)
        if name not in model.model_fields:
            faults.append(Fault(("query", name), "unknown parameter", _suggest(name, model.model_fields)))
        elif repeatable(model, name):
            given[name] = values
        elif len(values) > 1:
            faults.append(Fault(("query", name), "given more than once", "give it once"))
        else:
            given[name] = values[0]
    value: P | None = None
    try:
        value = model.model_validate(given)
    except ValidationError as error:
        faults.extend(_fault(item) for item in error.errors(include_url=False, include_context=False))
    if faults or value is None:
        raise Problem(INVALID, "; ".join(f"{fault.loc[1]}: {fault.msg}" for fault in faults), faults)
    return value


def _fault(item: Any) -> Fault:
    name = str(item["loc"][0])
    message = str(item["msg"]).removeprefix("Value error, ")
    return Fault(("query", *item["loc"]), message, HINTS.get(name, ""))


def _suggest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(names)}" if names else "there are no parameters here"
