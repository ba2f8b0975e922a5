"""Every error a client can get, as one table, and the one shape they all have: RFC 9457 problem details.

A problem says what, where (``errors[].loc``) and what to do next (``errors[].hint``). It never shows SQL, a path of
this machine or a stack: those go to the daemon's own log under the same ``request_id``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
from aiohttp import web

from storage.cursors import CursorError
from storage.errors import ArchiveError, BusyError, DeadlineError, MaskedError, QueryError
from storage.filters import FilterError

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:watchkeep:problem:"  # stable: clients compare it; docs/api.md has one line for each

RETRY_SECONDS = 1  # after an answer that a moment's patience can change


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: the end of its ``type`` URI, its status and its title."""

    code: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The problem's ``type``."""
        return TYPE_PREFIX + self.code


INVALID = Kind("invalid-parameter", 422, "A parameter is unknown or has a value that cannot be used")
NOT_FOUND = Kind("not-found", 404, "There is no such thing")
METHOD = Kind("method-not-allowed", 405, "This cannot be done here")
HOST = Kind("host-refused", 421, "This server does not answer for that host name")
CROSS_SITE = Kind("cross-site-refused", 403, "Another site may not change anything here")
UNAUTHORIZED = Kind("unauthorized", 401, "This needs a valid key")
FORBIDDEN = Kind("forbidden", 403, "This caller may not do that")
TOO_LARGE = Kind("body-too-large", 413, "The request's body is too large")
TOO_LONG = Kind("query-too-long", 414, "The request's query string is too long")
TOO_MANY = Kind("too-many-requests", 429, "This caller asks too often")
BUSY = Kind("busy", 429, "All places for this kind of query are taken")
DEADLINE = Kind("deadline", 503, "The query took longer than its deadline and was cancelled")
NOT_READY = Kind("not-ready", 503, "The daemon is not ready")
UNAVAILABLE = Kind("unavailable", 503, "The archive cannot do that now")
RANGE = Kind("range-not-satisfiable", 416, "The file has no such part")
MALFORMED = Kind("malformed-request", 400, "This is not a request that can be read")
MEDIA_TYPE = Kind("media-type", 415, "The request's body is of another media type")
SQL_SYNTAX = Kind("sql-syntax", 422, "The statement is no SQL that DuckDB can parse")
SQL_FAILED = Kind("sql-failed", 422, "The statement cannot be answered as it is written")
SQL_REFUSED = Kind("sql-refused", 403, "The statement would do more than read the archive")
SQL_MEMORY = Kind("sql-memory", 503, "The statement needed more memory than it may use")
SQL_OFF = Kind("sql-off", 501, "Statements in SQL are not enabled")
SQL_UNCONFINED = Kind("sql-unconfined", 501, "This system offers nothing to confine a statement with")
DETECTION_OFF = Kind("detection-off", 501, "Rules do not look at events here")
TELLING_OFF = Kind("telling-off", 501, "Nobody is told of alerts here")
INTERNAL = Kind("internal", 500, "Something is wrong with this server")

KINDS: tuple[Kind, ...] = (
    INVALID,
    NOT_FOUND,
    METHOD,
    HOST,
    CROSS_SITE,
    UNAUTHORIZED,
    FORBIDDEN,
    TOO_LARGE,
    TOO_LONG,
    TOO_MANY,
    BUSY,
    DEADLINE,
    NOT_READY,
    UNAVAILABLE,
    RANGE,
    MALFORMED,
    MEDIA_TYPE,
    SQL_SYNTAX,
    SQL_FAILED,
    SQL_REFUSED,
    SQL_MEMORY,
    SQL_OFF,
    SQL_UNCONFINED,
    DETECTION_OFF,
    TELLING_OFF,
    INTERNAL,
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: where (``("query", "limit")``), what, and what to write instead."""

    loc: tuple[str | int, ...]
    msg: str
    hint: str = ""
    position: int | None = None  # of the character in a search, counted from 0
    suggestions: tuple[str, ...] = ()  # whole searches that can be read

    def to_json(self) -> dict[str, object]:
        """Return the member of ``errors``; ``position`` and ``suggestions`` are only there when they say something."""
        found: dict[str, object] = {"loc": list(self.loc), "msg": self.msg, "hint": self.hint}
        if self.suggestions:
            found["suggestions"] = list(self.suggestions)
        return found if self.position is None else {**found, "position": self.position}


@dataclass(slots=True, eq=False)
class Problem(Exception):  # noqa: N818 - it is named after what the client gets
    """Raised anywhere below a handler; the outermost middleware turns it into the answer."""

    kind: Kind
    detail: str
    errors: Sequence[Fault] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind.code}: {self.detail}"


def invalid(name: str, msg: str, hint: str = "") -> Problem:
    """Return the 422 about one query parameter."""
    return Problem(INVALID, f"{name}: {msg}", (Fault(("query", name), msg, hint),))


def render(problem: Problem, *, request_id: str, instance: str) -> bytes:
    """Return the body: RFC 9457's members, then ``errors`` and ``request_id``."""
    kind = problem.kind
    return orjson.dumps(
        {
            "type": kind.uri,
            "title": kind.title,
            "status": kind.status,
            "detail": problem.detail,
            "instance": instance,
            "errors": [fault.to_json() for fault in problem.errors],
            "request_id": request_id,
        }
    )


def from_archive(error: ArchiveError) -> Problem:
    """Return the problem for an error of the archive; its ``where`` may hold a path, so it stays in the log."""
    hint = error.hint
    if isinstance(error, BusyError):
        retry = max(RETRY_SECONDS, round(error.retry_after))
        return Problem(BUSY, "too many such queries run at this moment", headers={"Retry-After": str(retry)})
    if isinstance(error, DeadlineError):
        narrow = hint or "narrow start_date and end_date, or add a filter"
        return Problem(DEADLINE, error.what, (Fault(("query",), error.what, narrow),))
    if isinstance(error, MaskedError):
        faults = [
            Fault(("query", name), "its values are masked", hint) for name in error.where.split(", ") if name
        ]
        return Problem(FORBIDDEN, error.what, faults)
    if isinstance(error, FilterError | CursorError):
        fault = Fault(("query", "cursor"), error.what, hint)
        if isinstance(error, FilterError):
            fault = Fault(("query", error.field), error.what, hint, error.position, error.suggestions)
        return Problem(INVALID, f"{fault.loc[-1]}: {error.what}", (fault,))
    if isinstance(error, QueryError):
        return Problem(UNAVAILABLE, error.what, (Fault(("query",), error.what, hint),))
    headers = {"Retry-After": str(RETRY_SECONDS)} if error.retry else {}
    return Problem(UNAVAILABLE, "the archive could not do that; the daemon's log says why", headers=headers)


def from_http(error: web.HTTPException) -> Problem:
    """Return the problem for one of aiohttp's own; ``Allow`` and other headers that mean something are kept."""
    kept = {
        name: value
        for name, value in error.headers.items()
        if name.lower() not in {"content-type", "content-length"}
    }
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return Problem(METHOD, f"{error.method} is not possible here; possible: {allowed}", headers=kept)
    if isinstance(error, web.HTTPNotFound):
        return Problem(NOT_FOUND, "no such address; GET /api/v1/openapi.json lists them", headers=kept)
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Problem(TOO_LARGE, "no request here needs a body that large", headers=kept)
    phrase = HTTPStatus(error.status).phrase
    kind = Kind(phrase.lower().replace(" ", "-"), error.status, phrase)
    return Problem(kind, phrase, headers=kept)
