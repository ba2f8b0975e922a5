"""Events from the standard library's logging: every record of the application becomes one."""

from __future__ import annotations

import logging
import traceback
from datetime import UTC, datetime
from typing import Any

from watchkeep_client.logger import EnhancedLogger, enhanced_logger
from watchkeep_client.vocabulary import ActivityAction, ActivityLevel, EventCategory

# What `extra=` may hold to fill a field of the event; any other key of it goes to the metadata.
EVENT_ARGUMENTS = (
    "category",
    "action",
    "entity_type",
    "entity_id",
    "entity_name",
    "user_id",
    "username",
    "correlation_id",
    "session_id",
    "tenant",
    "request",
    "tags",
    "risk_score",
    "affected_users_count",
    "response_time_ms",
    "status_code",
    "outcome",
    "changes",
)
_OWN_LOGGER = "watchkeep_client"
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {
    "message",
    "asctime",
    "taskName",
}


class EventHandler(logging.Handler):
    """Writes log records as events, through ``logger`` (by default the one `configure` set up)."""

    def __init__(
        self, level: int | str = logging.NOTSET, *, logger: EnhancedLogger = enhanced_logger
    ) -> None:
        super().__init__(level)
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. Never raises, whatever `logging.raiseExceptions` says."""
        if record.name == _OWN_LOGGER:
            return  # our own complaint that a record cannot be written: writing it would ask for the next one
        try:
            self._logger.log_event(**self._arguments(record))
        except Exception as error:  # noqa: BLE001 - a format string that does not fit its arguments, for one
            self._logger.writer.drop(f"cannot format a log record of {record.name}: {error!r}")

    @staticmethod
    def _arguments(record: logging.LogRecord) -> dict[str, Any]:
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        given = {key: extra.pop(key) for key in EVENT_ARGUMENTS if key in extra}
        metadata: dict[str, Any] = {
            "logger": record.name,
            "module": record.module,
            "line": record.lineno,
            **extra,
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, error, trace = record.exc_info
            text = "".join(traceback.format_exception(kind, error, trace))
            metadata["exception"] = {"type": kind.__qualname__, "message": str(error), "traceback": text}
        return {
            "category": EventCategory.SYSTEM_MANAGEMENT,
            "action": ActivityAction.SYSTEM_EVENT,
            "level": _level(record.levelno),
            "description": record.getMessage(),
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "metadata": metadata,
            **given,
        }


def _level(number: int) -> ActivityLevel:
    """Return the level a logging number stands for: each of ours begins where logging's begins."""
    for floor, level in (
        (logging.CRITICAL, ActivityLevel.CRITICAL),
        (logging.ERROR, ActivityLevel.ERROR),
        (logging.WARNING, ActivityLevel.WARNING),
        (logging.INFO, ActivityLevel.INFO),
    ):
        if number >= floor:
            return level
    return ActivityLevel.DEBUG
