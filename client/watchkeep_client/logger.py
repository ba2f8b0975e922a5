"""The logger: builds an event of what the application says, what is bound and what the request shows, and writes it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from watchkeep_client.context import bound, user_object
from watchkeep_client.ids import new_id
from watchkeep_client.requests import RequestInfo, describe
from watchkeep_client.vocabulary import ActivityAction, ActivityLevel, EventCategory
from watchkeep_client.writer import MAX_RECORD_BYTES, Writer, WriterStats

# Risk points of the helpers when the application gives none.
FAILED_AUTHENTICATION_RISK = 10
SECURITY_EVENT_RISK = 50


@dataclass(frozen=True, slots=True)
class Options:
    """Where events go and what each says of its application. The environment gives the defaults."""

    directory: str | os.PathLike[str] = field(
        default_factory=lambda: os.environ.get("WATCHKEEP_LOG_DIR", "logs")
    )
    app: str = field(default_factory=lambda: os.environ.get("WATCHKEEP_APP", "events"))
    server: str = field(default_factory=socket.gethostname)
    environment: str = field(default_factory=lambda: os.environ.get("ENVIRONMENT", "development"))
    version: str = field(default_factory=lambda: os.environ.get("APP_VERSION", "1.0.0"))
    trusted_hops: int = 0  # proxies of ours in front of the application; see `requests.client_address`
    log_headers: bool = False  # the safe ones
    max_record_bytes: int = MAX_RECORD_BYTES


@dataclass(frozen=True, slots=True)
class ActivityLog:
    """What a call wrote: its ids, the event as an object, and whether it reached the file."""

    event_id: str
    correlation_id: str | None
    event: Mapping[str, Any]
    written: bool


class EnhancedLogger:
    """Writes events. Its calls never raise and never wait for anything but the file.

    ``options`` are read at the first event when none are given, so that importing this package does nothing.
    """

    def __init__(self, options: Options | None = None) -> None:
        self._options = options
        self._writer: Writer | None = None

    @property
    def writer(self) -> Writer:
        """The file behind this logger."""
        if self._writer is None:
            options = self.options
            self._writer = Writer(options.directory, options.app, max_record_bytes=options.max_record_bytes)
        return self._writer

    @property
    def options(self) -> Options:
        """What this logger was configured with."""
        if self._options is None:
            self._options = Options()
        return self._options

    @property
    def stats(self) -> WriterStats:
        """Records written and dropped by this process."""
        return self.writer.stats

    def configure(self, options: Options) -> None:
        """Use other options from the next event on."""
        if self._writer is not None:
            self._writer.close()
        self._options = options
        self._writer = None

    def log_event(
        self,
        db: object = None,
        category: EventCategory | str = EventCategory.SYSTEM_MANAGEMENT,
        action: ActivityAction | str = ActivityAction.SYSTEM_EVENT,
        entity_type: str | None = None,
        description: str = "",
        level: ActivityLevel | str = ActivityLevel.INFO,
        user_id: int | str | None = None,
        username: str | None = None,
        entity_id: str | int | None = None,
        entity_name: str | None = None,
        correlation_id: str | None = None,
        request: Any = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        risk_score: float | None = None,
        affected_users_count: int | None = None,
        response_time_ms: float | None = None,
        *,
        status_code: int | None = None,
        outcome: str | None = None,
        session_id: str | None = None,
        tenant: str | None = None,
        changes: Mapping[str, Any] | None = None,
        response: Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
    ) -> ActivityLog:
        """Log one event.

        ``db`` is accepted and ignored: there is no database in the application's way. ``request`` is a request of
        FastAPI, Starlette, aiohttp or Flask. ``response_time_ms`` is in milliseconds, ``risk_score`` 0 to 100,
        ``timestamp`` aware and now by default. What is bound (`bind`) fills what is not given.
        """
        del db
        event_id = new_id()
        event: dict[str, Any] = {}
        try:
            seen = None if request is None else describe(request, self.options.trusted_hops)
            given = {
                "eventId": event_id,
                "correlationId": correlation_id,
                "sessionId": session_id,
                "tenant": tenant,
                "timestamp": _moment(timestamp),
                "level": _word(level),
                "category": _word(category),
                "action": _word(action),
                "outcome": outcome,
                "user": user_object((user_id, username)),
                "entity": _without_none(type=entity_type, id=_as_text(entity_id), name=entity_name),
                "request": self._request(seen, status_code, response_time_ms),
                "response": response,
                "changes": changes,
                "description": description,
                "metadata": metadata,
                "tags": None if tags is None else list(tags),
                "riskScore": risk_score,
                "affectedUsersCount": affected_users_count,
            }
            event = {**bound(), **_without_none(**given), "system": self._system()}
            if seen is not None:
                # The request's own ids come last: what was said or bound is nearer to what was meant.
                event.setdefault("correlationId", seen.correlation_id)
                if seen.session_id is not None:
                    event.setdefault("sessionId", seen.session_id)
        except Exception as error:  # noqa: BLE001 - logging must not break the application
            self.writer.drop(f"cannot build the event: {error!r}")
            return ActivityLog(event_id, correlation_id, event, written=False)
        return ActivityLog(event_id, event.get("correlationId"), event, self.writer.append(event))

    def _request(
        self, seen: RequestInfo | None, status_code: int | None, response_time_ms: float | None
    ) -> Any:
        if seen is None:
            return _without_none(statusCode=status_code, responseTime=response_time_ms) or None
        return _without_none(
            method=seen.method,
            path=seen.path,
            ip=seen.ip,
            userAgent=seen.user_agent,
            statusCode=status_code,
            responseTime=response_time_ms,
            headers=(seen.headers or None) if self.options.log_headers else None,
        )

    def _system(self) -> dict[str, str]:
        options = self.options
        return {"server": options.server, "environment": options.environment, "version": options.version}


enhanced_logger = EnhancedLogger()


def configure(
    directory: str | os.PathLike[str],
    app: str = "events",
    *,
    server: str | None = None,
    environment: str | None = None,
    version: str | None = None,
    trusted_hops: int = 0,
    log_headers: bool = False,
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> None:
    """Say where the helpers and `enhanced_logger` write: ``<directory>/<app>-YYYY-MM-DD.jsonl``.

    Without it they use ``WATCHKEEP_LOG_DIR`` (``logs``), ``WATCHKEEP_APP`` (``events``), ``ENVIRONMENT`` and
    ``APP_VERSION``.
    """
    named = _without_none(server=server, environment=environment, version=version)
    enhanced_logger.configure(
        Options(
            directory=directory,
            app=app,
            trusted_hops=trusted_hops,
            log_headers=log_headers,
            max_record_bytes=max_record_bytes,
            **named,
        )
    )


def log_authentication_event(
    db: object = None,
    action: ActivityAction | str = ActivityAction.LOGIN,
    user_id: int | str | None = None,
    username: str | None = None,
    success: bool = True,
    request: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> ActivityLog:
    """Log a login, a logout or another proof of identity; ``success`` says whether it was accepted."""
    return enhanced_logger.log_event(
        db=db,
        category=EventCategory.AUTHENTICATION,
        action=action,
        entity_type="auth",
        entity_id=user_id,
        entity_name=username,
        description=f"User {username} {_word(action)} {'successful' if success else 'failed'}",
        level=ActivityLevel.INFO if success else ActivityLevel.WARNING,
        user_id=user_id,
        username=username,
        request=request,
        metadata=metadata,
        risk_score=0 if success else FAILED_AUTHENTICATION_RISK,
        outcome="success" if success else "failure",
    )


def log_security_event(
    db: object = None,
    description: str = "",
    level: ActivityLevel | str = ActivityLevel.WARNING,
    user_id: int | str | None = None,
    username: str | None = None,
    request: Any = None,
    metadata: Mapping[str, Any] | None = None,
    risk_score: float | None = None,
) -> ActivityLog:
    """Log something that may be an attack. Without ``risk_score`` it counts as medium."""
    return enhanced_logger.log_event(
        db=db,
        category=EventCategory.SECURITY,
        action=ActivityAction.SECURITY_EVENT,
        entity_type="security",
        description=description,
        level=level,
        user_id=user_id,
        username=username,
        request=request,
        metadata=metadata,
        risk_score=SECURITY_EVENT_RISK if risk_score is None else risk_score,
    )


def log_data_operation(
    db: object = None,
    action: ActivityAction | str = ActivityAction.READ,
    entity_type: str | None = None,
    entity_id: str | int | None = None,
    entity_name: str | None = None,
    user_id: int | str | None = None,
    username: str | None = None,
    description: str = "",
    request: Any = None,
    metadata: Mapping[str, Any] | None = None,
) -> ActivityLog:
    """Log that something was created, read, changed or deleted."""
    return enhanced_logger.log_event(
        db=db,
        category=EventCategory.DATA_MANAGEMENT,
        action=action,
        entity_type=entity_type,
        entity_id=entity_id,
        entity_name=entity_name,
        description=description,
        user_id=user_id,
        username=username,
        request=request,
        metadata=metadata,
    )


def log_api_call(
    db: object = None,
    request: Any = None,
    response_time_ms: float | None = None,
    status_code: int = 200,
    user_id: int | str | None = None,
    username: str | None = None,
) -> ActivityLog:
    """Log one HTTP request and how it was answered."""
    seen = describe(request, enhanced_logger.options.trusted_hops) if request is not None else None
    return enhanced_logger.log_event(
        db=db,
        category=EventCategory.API,
        action=ActivityAction.API_CALL,
        entity_type="api",
        description=f"API call: {seen.method} {seen.path}" if seen else "API call",
        level=level_of_status(status_code),
        user_id=user_id,
        username=username,
        request=request,
        response_time_ms=response_time_ms,
        status_code=status_code,
        outcome=outcome_of_status(status_code),
    )


def level_of_status(status_code: int) -> ActivityLevel:
    """Return how serious an HTTP status is: the server's fault, the client's fault, or fine."""
    if status_code >= 500:
        return ActivityLevel.ERROR
    return ActivityLevel.WARNING if status_code >= 400 else ActivityLevel.INFO


def outcome_of_status(status_code: int) -> str:
    """Return success, denied (401, 403) or failure."""
    if status_code < 400:
        return "success"
    return "denied" if status_code in {401, 403} else "failure"


def _moment(timestamp: datetime | None) -> str:
    moment = datetime.now(UTC) if timestamp is None else timestamp.astimezone(UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _word(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def _without_none(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value != {}}
