"""What each endpoint may be asked: one pydantic model a query string, from which the checks and OpenAPI both come.

An unknown parameter, a value that cannot be used, or a single-valued parameter given twice is a 422 that names it.
"""

from __future__ import annotations

import difflib
import ipaddress
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import unquote_to_bytes
from zoneinfo import available_timezones

from aiohttp import web
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from parsers.searchlimits import MAX_CHARS as MAX_SEARCH_CHARS
from parsers.vocabulary import LEVELS
from storage.query import STATISTICS_PARTS
from web.errors import INVALID, Fault, Problem
from web.times import HINT as TIME_HINT
from web.times import day_of, parse_time
from web.wording import said, to_write

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
    if text not in ZONES:
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
# In any case, because programs that had the original's booleans send `False`.
Flag = Annotated[Literal["true", "false"], BeforeValidator(_lower)]
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
    "parts": f"any of {', '.join(STATISTICS_PARTS)}",
    "tz": "an IANA name such as Europe/Berlin",
    "last_event_id": "take it from `id:` of an event, unchanged",
    "internal": "true (with the daemon's own events), only (nothing else) or false",
}


class Params(BaseModel):
    """Base of every query model: an unknown name is an error, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hints: ClassVar[dict[str, str]] = {}  # where a name means something else than in `HINTS`


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
    internal: Annotated[Literal["true", "only", "false"], BeforeValidator(_lower)] = Field(
        "false", description="The daemon's own events: left out, true = with them, only = nothing else"
    )


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
    faults = _undecodable(request.rel_url.raw_query_string)
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
        faults.extend(_fault(model, item) for item in error.errors(include_url=False))
    if faults or value is None:
        raise Problem(INVALID, "; ".join(f"{fault.loc[1]}: {fault.msg}" for fault in faults), faults)
    return value


def hint_of(model: type[Params], name: str) -> str:
    """Return what a parameter of an endpoint takes; empty where its type says all."""
    return model.hints.get(name, HINTS.get(name, ""))


def _fault(model: type[Params], item: Any) -> Fault:
    return Fault(("query", *item["loc"]), said(item), hint_of(model, str(item["loc"][0])) or to_write(item))


def _undecodable(query: str) -> list[Fault]:
    """Return a fault for each parameter whose bytes are no text: read as best one can, they would ask for another."""
    faults = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        try:
            unquote_to_bytes(part).decode("utf-8")
        except UnicodeDecodeError:
            loc = ("query", unquote_to_bytes(name).decode("utf-8", "replace"))
            faults.append(Fault(loc, f"{value or name} is not UTF-8", "percent-encode its bytes in UTF-8"))
    return faults


def _suggest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(names)}" if names else "there are no parameters here"
