"""The event: one pydantic model is the contract that the columns, the API, the docs and the client follow.

Each field says what it means, where it stands in the API's camelCase object (``at``) and how it is stored
(``sql``, a DuckDB type). `parsers.columns` derives the column table from it; nothing else lists columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

# Text kept as JSON: the value as the line had it, never re-interpreted.
JSON_TEXT = "JSON text"


@dataclass(frozen=True, slots=True)
class At:
    """Where a field stands in the API's object, and the DuckDB type of its column.

    ``path`` is dotted (``user.id``); an empty path means the field is not part of the API's object.
    ``json`` marks columns that hold JSON text (objects or arrays kept as written).
    ``line`` is False for columns that only the daemon fills: a line's field of that name goes to ``extra``.
    """

    path: str
    sql: str = "VARCHAR"
    json: bool = False
    line: bool = True


class RiskReason(BaseModel):
    """Why an event got points: a named reason, its points (0-100) and what was observed."""

    model_config = ConfigDict(frozen=True)

    reason: str
    points: float
    detail: str | None = None


class Event(BaseModel):
    """One line's meaning, flat. Times are UTC; ids are text; JSON columns hold the text of a JSON value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_id: Annotated[str, At("eventId")] = Field(description="Given by the application, or derived from source and offset; may repeat")
    correlation_id: Annotated[str | None, At("correlationId")] = Field(None, description="Ties the events of one request or job together")
    session_id: Annotated[str | None, At("sessionId")] = Field(None, description="The user's session")
    trace_id: Annotated[str | None, At("traceId")] = Field(None, description="W3C or OpenTelemetry trace id")
    span_id: Annotated[str | None, At("spanId")] = Field(None, description="W3C or OpenTelemetry span id")
    tenant: Annotated[str | None, At("tenant")] = Field(None, description="Customer or organisation the event belongs to")
    timestamp: Annotated[datetime, At("timestamp", "TIMESTAMPTZ")] = Field(description="When it happened, UTC, microseconds")
    ingested_at: Annotated[datetime, At("ingestedAt", "TIMESTAMPTZ", line=False)] = Field(description="When the daemon read the line, UTC")
    seq: Annotated[int, At("seq", "BIGINT", line=False)] = Field(description="The archive's order: rises, never reused, below 2^53")
    level: Annotated[str, At("level")] = Field(description="debug, info, warning, error or critical")
    category: Annotated[str | None, At("category")] = Field(None, description="One of the ten known categories, or the line's own")
    action: Annotated[str | None, At("action")] = Field(None, description="One of the seventeen known actions, or the line's own")
    outcome: Annotated[str | None, At("outcome")] = Field(None, description="success, failure, denied or unknown; derived when absent")
    user_id: Annotated[str | None, At("user.id")] = Field(None, description="Acting user's id as text")
    username: Annotated[str | None, At("user.username")] = Field(None, description="Acting user's name")
    actor_type: Annotated[str | None, At("actorType")] = Field(None, description="user, service, system …")
    on_behalf_of: Annotated[str | None, At("onBehalfOf")] = Field(None, description="The user impersonated, if any")
    entity_type: Annotated[str | None, At("entity.type")] = Field(None, description="Kind of the thing acted on")
    entity_id: Annotated[str | None, At("entity.id")] = Field(None, description="Id of the thing acted on, as text")
    entity_name: Annotated[str | None, At("entity.name")] = Field(None, description="Name of the thing acted on")
    changes: Annotated[str | None, At("changes", json=True)] = Field(None, description="Old and new values; JSON text")
    method: Annotated[str | None, At("request.method")] = Field(None, description="HTTP method")
    path: Annotated[str | None, At("request.path")] = Field(None, description="HTTP path")
    ip: Annotated[str | None, At("request.ip")] = Field(None, description="Client address as text")
    ip_bytes: Annotated[bytes | None, At("", "BLOB", line=False)] = Field(None, description="Client address as 16 bytes that sort (IPv4 mapped to IPv6)")
    user_agent: Annotated[str | None, At("request.userAgent")] = Field(None, description="Client's user agent")
    status_code: Annotated[int | None, At("request.statusCode", "INTEGER")] = Field(None, description="HTTP status")
    response_time_ms: Annotated[float | None, At("request.responseTime", "DOUBLE")] = Field(None, description="Milliseconds the answer took")
    request_headers: Annotated[str | None, At("request.headers", json=True)] = Field(None, description="Request headers; JSON text")
    response: Annotated[str | None, At("response", json=True)] = Field(None, description="Response headers and bytes; JSON text")
    country_code: Annotated[str | None, At("location.country")] = Field(None, description="ISO 3166 country")
    city: Annotated[str | None, At("location.city")] = Field(None, description="City")
    latitude: Annotated[float | None, At("location.latitude", "DOUBLE")] = Field(None, description="Degrees north")
    longitude: Annotated[float | None, At("location.longitude", "DOUBLE")] = Field(None, description="Degrees east")
    asn: Annotated[int | None, At("location.asn", "BIGINT")] = Field(None, description="Autonomous system number of the address")
    device: Annotated[str | None, At("device")] = Field(None, description="Device or browser family")
    travel_kmh: Annotated[float | None, At("travelKmh", "DOUBLE")] = Field(None, description="Speed implied by the user's last place, km/h")
    description: Annotated[str | None, At("description")] = Field(None, description="What happened, for people")
    metadata: Annotated[str | None, At("metadata", json=True)] = Field(None, description="The application's own fields; JSON text")
    tags: Annotated[list[str] | None, At("tags", "VARCHAR[]")] = Field(None, description="Short labels")
    affected_users_count: Annotated[int | None, At("affectedUsersCount", "BIGINT")] = Field(None, description="Users touched by it")
    risk_score: Annotated[int | None, At("riskScore", "INTEGER")] = Field(None, description="0-100: low to 30, medium to 70, high above")
    risk_score_reported: Annotated[float | None, At("riskScoreReported", "DOUBLE")] = Field(None, description="The score as the application gave it")
    risk_model: Annotated[str | None, At("riskModel")] = Field(None, description="Version of the table of points")
    risk_reasons: Annotated[list[RiskReason] | None, At("riskReasons", "STRUCT(reason VARCHAR, points DOUBLE, detail VARCHAR)[]")] = Field(None, description="Why the score is what it is")
    rule_id: Annotated[str | None, At("ruleId")] = Field(None, description="The rule that made this finding")
    server: Annotated[str | None, At("system.server")] = Field(None, description="Host that wrote the line")
    environment: Annotated[str | None, At("system.environment")] = Field(None, description="production, staging …")
    version: Annotated[str | None, At("system.version")] = Field(None, description="Version of the application")
    writer_boot: Annotated[str | None, At("writerBoot")] = Field(None, description="The writing process's start, for completeness checks")
    writer_seq: Annotated[int | None, At("writerSeq", "BIGINT")] = Field(None, description="The writing process's own count")
    flags: Annotated[list[str] | None, At("flags", "VARCHAR[]", line=False)] = Field(None, description="What the parser had to decide for this line")
    internal: Annotated[bool, At("internal", "BOOLEAN", line=False)] = Field(description="Written by the daemon itself; a property of the source")
    retention_class: Annotated[str, At("", line=False)] = Field(description="Which retention rule holds")
    node: Annotated[str, At("", line=False)] = Field(description="Which daemon archived it")
    parser: Annotated[str, At("", line=False)] = Field(description="Profile that read the line")
    source: Annotated[str, At("source.id", line=False)] = Field(description="Id of the file by content, 32 hex digits")
    source_file: Annotated[str, At("source.file", line=False)] = Field(description="Path below its log directory when read")
    source_offset: Annotated[int, At("source.offset", "BIGINT", line=False)] = Field(description="Byte where the line begins; (source, source_offset) is the key")
    extra: Annotated[str | None, At("extra", json=True, line=False)] = Field(None, description="Every field of the line that has no column; JSON text")


def placement(field: str) -> At:
    """Return where and how a field of `Event` is stored; raises KeyError for an unknown field."""
    for mark in Event.model_fields[field].metadata:
        if isinstance(mark, At):
            return mark
    raise KeyError(field)


def describe() -> list[dict[str, Any]]:
    """Return one row per column for documentation: name, api path, type, whether required, meaning."""
    return [
        {
            "name": name,
            "api": placement(name).path,
            "type": JSON_TEXT if placement(name).json else placement(name).sql,
            "required": info.is_required(),
            "meaning": info.description or "",
        }
        for name, info in Event.model_fields.items()
    ]
