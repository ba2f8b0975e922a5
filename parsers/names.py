"""The names a field of a line may have: ours first, then those of other writers. One table; docs/lines.md prints it.

A name is a dotted path. `log.level` stands for the nested objects as well as for a key that contains the dot, and
for any mixture. When several names of one column occur in a line the first of the table wins, and the others stay
in `extra` under their own names.
"""

from __future__ import annotations

from typing import Final

from parsers.columns import COLUMNS

NATIVE: Final[dict[str, str]] = {
    column.api: column.name for column in COLUMNS if column.from_line and column.api
}

FLAT: Final[dict[str, str]] = {
    **{column.name: column.name for column in COLUMNS if column.from_line},
    "ip_address": "ip",
    "client_ip": "ip",
    "remote_addr": "ip",
    "user_name": "username",
    "request_method": "method",
    "http_method": "method",
    "request_path": "path",
    "endpoint": "path",
    "response_time": "response_time_ms",
    "duration_ms": "response_time_ms",
    "country": "country_code",
    "event_metadata": "metadata",
    "request_id": "correlation_id",
    "tenant_id": "tenant",
    "organization_id": "tenant",
    "company_id": "tenant",
    "server_name": "server",
    "hostname": "server",
    "app_version": "version",
    "env": "environment",
}

ECS: Final[dict[str, str]] = {
    "@timestamp": "timestamp",
    "log.level": "level",
    "message": "description",
    "trace.id": "trace_id",
    "span.id": "span_id",
    "event.id": "event_id",
    "event.action": "action",
    "event.category": "category",
    "event.outcome": "outcome",
    "event.risk_score": "risk_score",
    "user.name": "username",
    "client.ip": "ip",
    "source.ip": "ip",
    "client.geo.country_iso_code": "country_code",
    "source.geo.country_iso_code": "country_code",
    "client.geo.city_name": "city",
    "source.geo.city_name": "city",
    "http.request.method": "method",
    "http.request.id": "correlation_id",
    "http.response.status_code": "status_code",
    "url.path": "path",
    "user_agent.original": "user_agent",
    "host.name": "server",
    "host.hostname": "server",
    "service.version": "version",
    "service.environment": "environment",
    "organization.id": "tenant",
    "session.id": "session_id",
}

OTEL: Final[dict[str, str]] = {
    "Timestamp": "timestamp",
    "timeUnixNano": "timestamp",
    "observedTimeUnixNano": "timestamp",
    "SeverityText": "level",
    "severity_text": "level",
    "severityText": "level",
    "SeverityNumber": "level",
    "severity_number": "level",
    "severityNumber": "level",
    "Body": "description",
    "body": "description",
    "TraceId": "trace_id",
    "SpanId": "span_id",
    "spanId": "span_id",
    "Attributes": "metadata",
    "attributes": "metadata",
}

WRITERS: Final[dict[str, str]] = {  # pino, structlog, logback, slog, python-json-logger, syslog, journald
    "time": "timestamp",
    "ts": "timestamp",
    "datetime": "timestamp",
    "asctime": "timestamp",
    "created_at": "timestamp",
    "msg": "description",
    "event": "description",
    "levelname": "level",
    "log_level": "level",
    "severity": "level",
    "PRIORITY": "level",
    "req.method": "method",
    "req.url": "path",
    "req.remoteAddress": "ip",
    "res.statusCode": "status_code",
    "responseTime": "response_time_ms",
    "userId": "user_id",
    "userAgent": "user_agent",
    "requestId": "correlation_id",
    "statusCode": "status_code",
}

FAMILIES: Final[dict[str, dict[str, str]]] = {
    "native": NATIVE,
    "flat": FLAT,
    "ecs": ECS,
    "otel": OTEL,
    "writers": WRITERS,
}

# Path → (column, rank): a lower rank wins. The first family that has a name decides.
NAMES: Final[dict[str, tuple[str, int]]] = {}
for _family in FAMILIES.values():
    for _name, _column in _family.items():
        NAMES.setdefault(_name, (_column, len(NAMES)))

# Objects whose insides may hold named fields: `log` because of `log.level`, `http`, `http.request` …
PARENTS: Final[frozenset[str]] = frozenset(
    name[:at] for name in NAMES for at in range(len(name)) if name[at] == "."
)

NATIVE_PARENTS: Final[frozenset[str]] = frozenset(name.split(".")[0] for name in NATIVE if "." in name)

# Names whose numbers are OpenTelemetry's severities, not pino's or syslog's.
OTEL_NUMBERS: Final[frozenset[str]] = frozenset({"SeverityNumber", "severity_number", "severityNumber"})
