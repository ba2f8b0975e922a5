"""Watchkeep's client: an application's events as JSON lines, one file a day, one write a record, no dependency.

``configure("/var/log/shop", "shop")`` once, then the helpers anywhere; ``watchkeep_client.aiohttp`` has a middleware,
`EventHandler` takes what the application already logs.
"""

from watchkeep_client.context import Binding, bind, bound
from watchkeep_client.handler import EventHandler
from watchkeep_client.logger import (
    ActivityLog,
    EnhancedLogger,
    Options,
    configure,
    enhanced_logger,
    log_api_call,
    log_authentication_event,
    log_data_operation,
    log_security_event,
)
from watchkeep_client.vocabulary import ActivityAction, ActivityLevel, EventCategory
from watchkeep_client.writer import Writer, WriterStats

__all__ = [
    "ActivityAction",
    "ActivityLevel",
    "ActivityLog",
    "Binding",
    "EnhancedLogger",
    "EventCategory",
    "EventHandler",
    "Options",
    "Writer",
    "WriterStats",
    "bind",
    "bound",
    "configure",
    "enhanced_logger",
    "log_api_call",
    "log_authentication_event",
    "log_data_operation",
    "log_security_event",
]
__version__ = "0.1.0"
