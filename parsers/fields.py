"""What can be asked about: every field with its names and kind, and every operator with the kinds that take it.

One table. SQL (`storage.filters`, `storage.comparing`), the parameters of the API, the search grammar
(`parsers.grammar`), messages, completion and documentation all follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from parsers.columns import COLUMNS


@dataclass(frozen=True, slots=True)
class Operator:
    """One way to compare: its name in JSON, how a search writes it, its label in a form, and what it means."""

    name: str
    sign: str
    label: str
    meaning: str


EQUALS = "equals"
CONTAINS = "contains"
MATCHES = "matches"
REGEX = "regex"
EXISTS = "exists"
BETWEEN = "between"
ABOVE = "above"
BELOW = "below"

OPERATORS: dict[str, Operator] = {
    operator.name: operator
    for operator in (
        Operator(EQUALS, "field:value", "is", "it is equal, case matters; `field:(a OR b)` is any of them; `:=` says it of prose and JSON too"),
        Operator(CONTAINS, "field:*text*", "contains", "the text occurs somewhere in it, in any case"),
        Operator(MATCHES, "field:start*end", "matches", "it is like the pattern, in which `*` is any text, in any case"),
        Operator(REGEX, 'field:~"regex"', "matches the expression", "the RE2 regular expression matches somewhere in it; case matters unless it begins with `(?i)`"),
        Operator(EXISTS, "field:*", "has a value", "there is a value"),
        Operator(BETWEEN, "field:1..5, field:>=1, field:<=5", "is between", "it is not less than the first and not more than the second; one of them may be absent"),
        Operator(ABOVE, "field:>1", "is more than", "it is more than the number"),
        Operator(BELOW, "field:<1", "is less than", "it is less than the number"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a field has: the operators it takes, what its values are, and an example of one."""

    name: str
    operators: tuple[str, ...]
    meaning: str
    example: str
    contains: bool = False  # a plain `field:value` looks inside, because nobody writes such a text in full


_TEXTUAL = (EQUALS, CONTAINS, MATCHES, REGEX, EXISTS)

TEXT = Kind("text", _TEXTUAL, "equal as text, case matters", "alice")
PROSE = Kind(
    "prose", _TEXTUAL, "a long text; a plain value is looked for inside it", '"disk full"', contains=True
)
LEVEL = Kind(
    "level",
    (EQUALS, BETWEEN, ABOVE, BELOW, EXISTS),
    "one of the five levels, in any case and in their order",
    ">=warning",
)
WHOLE = Kind("number", (EQUALS, BETWEEN, ABOVE, BELOW, EXISTS), "a whole number", "404")
REAL = Kind("decimal", (EQUALS, BETWEEN, ABOVE, BELOW, EXISTS), "a number", ">1.5")
RISK = Kind(
    "band", (EQUALS, BETWEEN, ABOVE, BELOW, EXISTS), "low (0-30), medium (31-70) or high (71-100)", ">70"
)
TIME = Kind(
    "time",
    (EQUALS, BETWEEN, ABOVE, BELOW, EXISTS),
    "a time, a date (its whole UTC day), or so long ago",
    ">-1h",
)
ADDRESS = Kind("address", (EQUALS, EXISTS), "an address or a network in CIDR form", "10.0.0.0/8")
LIST = Kind("list", _TEXTUAL, "one of the labels, equal as text", "vip")
SOURCE = Kind("source", (EQUALS,), "a source's id or file name", "app-2026-06-01.log")
JSON = Kind(
    "json",
    (*_TEXTUAL, BETWEEN, ABOVE, BELOW),
    "the application's own fields: `.` and a name go deeper; numbers compare as numbers, all else as text",
    "chrome",
    contains=True,
)  # fmt: skip
SEARCH = Kind("search", (CONTAINS, MATCHES), "text to find, in any case", '"exact phrase"', contains=True)
PERSON = Kind("person", (EQUALS,), "an id, a name or an address of one person", "ann")

KINDS: tuple[Kind, ...] = (
    TEXT, PROSE, LEVEL, WHOLE, REAL, RISK, TIME, ADDRESS, LIST, SOURCE, JSON, SEARCH, PERSON,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in a search, the column, how it compares, and its other names.

    ``parameter`` is the name of the API's parameter for it; ``rare``: few events share a value (ids).
    """

    name: str
    column: str
    kind: Kind
    meaning: str
    aliases: tuple[str, ...] = ()
    parameter: str | None = None
    rare: bool = False

    @property
    def label(self) -> str:
        """What a form calls it."""
        column = self.column.removesuffix("_bytes") or self.name
        return _LABELS.get(self.name) or column.replace("_", " ").capitalize()

    @property
    def key(self) -> str:
        """The name by which parameters, roll-ups and plans know it."""
        return self.parameter or self.column or self.name


# Labels that the column's name does not give.
_LABELS = {
    "user.name": "User",
    "user.id": "User ID",
    "eventId": "Event ID",
    "entity.id": "Entity ID",
    "entity.name": "Entity",
    "request.ip": "IP address",
    "request.statusCode": "Status",
    "location.country": "Country",
    "location.asn": "AS number",
    "correlationId": "Correlation",
    "sessionId": "Session",
    "traceId": "Trace",
    "spanId": "Span",
    "ruleId": "Rule",
    "riskScore": "Risk",
    "riskReasons.reason": "Reason for risk",
    "tags": "Tag",
    "source.id": "Source ID",
    "subject": "Person",
}

# Columns that are not searched as they are.
_WITHOUT = frozenset({"ip_bytes", "internal"})
_KIND_OF_SQL = {
    "VARCHAR": TEXT,
    "BIGINT": WHOLE,
    "INTEGER": WHOLE,
    "DOUBLE": REAL,
    "TIMESTAMPTZ": TIME,
    "VARCHAR[]": LIST,
    "STRUCT(reason VARCHAR, points DOUBLE, detail VARCHAR)[]": LIST,
}
_KINDS_OF_COLUMN = {"level": LEVEL, "risk_score": RISK, "description": PROSE, "ip": ADDRESS}
_RARE = frozenset({"event_id", "correlation_id", "session_id", "trace_id"})

# By column: the name that searches are printed with (where it is not the JSON name), shorter names, the parameter,
# and what the API's documentation says of it (where the column's own meaning says too much).
_SPELLED: dict[str, tuple[str, tuple[str, ...], str | None, str]] = {
    "event_id": ("", ("id",), "event_id", "The event's id"),
    "level": ("", ("severity",), "level", "Severity"),
    "category": ("", (), "category", "Category"),
    "action": ("", (), "action", "Action"),
    "outcome": ("", (), "outcome", "success, failure, denied or unknown"),
    "user_id": ("", ("uid",), "user_id", "Acting user's id"),
    "username": ("user.name", ("user", "user.username", "actor"), "username", "Acting user's name"),
    "ip": ("", ("client.ip", "address"), "ip", "Client address"),
    "country_code": ("", ("country",), "country", "Country code"),
    "city": ("", (), "city", "City"),
    "entity_type": ("", (), "entity_type", "Kind of the thing acted on"),
    "entity_id": ("", (), "entity_id", "Id of the thing acted on"),
    "entity_name": ("", ("entity",), "entity_name", "Name of the thing acted on"),
    "correlation_id": ("", (), "correlation_id", "Ties the events of one request together"),
    "session_id": ("", ("session",), "session_id", "The user's session"),
    "method": ("", (), "method", "HTTP method"),
    "path": ("", ("url",), "path", "HTTP path"),
    "user_agent": ("", ("agent",), "user_agent", "Client's user agent"),
    "status_code": ("", ("status",), "status_code", "HTTP status"),
    "server": ("", ("host",), "server", "Host that wrote the line"),
    "environment": ("", ("env",), "environment", "production, staging …"),
    "tags": ("", ("tag",), "tag", "Label"),
    "risk_score": ("", ("risk",), "risk", "Band of the risk score"),
    "timestamp": ("", ("time", "when"), None, ""),
    "response_time_ms": ("", ("duration", "latency", "request.response_time"), None, ""),
    "request_headers": ("", ("headers",), None, ""),
    "metadata": ("", ("meta",), None, ""),
    "trace_id": ("", ("trace",), None, ""),
    "span_id": ("", ("span",), None, ""),
    "risk_reasons": ("riskReasons.reason", ("risk.reason", "reason", "riskReasons"), None, "A reason the score was raised for"),
    "version": ("", ("release",), None, ""),
    "affected_users_count": ("", ("affected",), None, ""),
    "rule_id": ("", ("rule",), None, ""),
    "retention_class": ("", ("class",), None, ""),
    "asn": ("", ("as",), None, ""),
}  # fmt: skip


def _fields() -> Iterable[Field]:
    for column in COLUMNS:
        if column.name in _WITHOUT:
            continue
        name, aliases, parameter, meaning = _SPELLED.get(column.name, ("", (), None, ""))
        kind = JSON if column.json else _KINDS_OF_COLUMN.get(column.name) or _KIND_OF_SQL[column.sql]
        own = name or column.api or column.name
        last = own.rpartition(".")[2] if not column.api.startswith(("user.", "entity.", "source.")) else ""
        known = dict.fromkeys((column.name, column.api, *aliases, last, parameter or ""))
        yield Field(
            own,
            "ip_bytes" if column.name == "ip" else column.name,
            kind,
            meaning or column.meaning,
            tuple(alias for alias in known if alias and alias != own),
            parameter,
            column.name in _RARE,
        )


TEXT_SEARCH = "text"
ANYWHERE = "anywhere"
SUBJECT = "subject"
TIMESTAMP = "timestamp"
RISK_SCORE = "riskScore"

FIELDS: tuple[Field, ...] = (
    *_fields(),
    Field("source", "source", SOURCE, "File the line came from", (), "source"),
    Field(TEXT_SEARCH, "", SEARCH, "Description, entity name and username: what a bare word looks in", ("search", "search_query")),
    Field(ANYWHERE, "", SEARCH, "Every text of an event, the application's own fields too; slower", ("any",)),
    Field(SUBJECT, "", PERSON, "One person: events by them, for them, or about them", ("person",)),
)  # fmt: skip
BY_NAME: dict[str, Field] = {field.name: field for field in FIELDS}
# By parameter, in the order of documentation.
PARAMETERS: dict[str, Field] = {
    spelled[2]: next(field for field in FIELDS if field.parameter == spelled[2])
    for spelled in (*_SPELLED.values(), ("", (), "source", ""))
    if spelled[2] is not None
}


def folded(name: str) -> str:
    """Return a name as names are compared: in any case, `statusCode` the same as `status_code`."""
    return name.lower().replace("_", "")


def _names() -> dict[str, Field]:
    found: dict[str, Field] = {}
    for field in FIELDS:  # a field's own name wins over everybody's aliases
        found[folded(field.name)] = field
    for field in FIELDS:
        for alias in field.aliases:
            found.setdefault(folded(alias), field)
    return found


NAMES: dict[str, Field] = _names()


def resolve(segments: Sequence[str], plain: int) -> tuple[Field, tuple[str, ...]] | None:
    """Return the field that dotted names begin with, and the keys that lead deeper; None for an unknown one.

    Only the first ``plain`` names were written without quotes: a quoted one is always a key of the application's.
    """
    for length in range(min(len(segments), plain), 0, -1):
        field = NAMES.get(folded(".".join(segments[:length])))
        if field is not None:
            rest = tuple(segments[length:])
            return (field, rest) if not rest or field.kind is JSON else None
    return None
