"""The words events use: five levels, ten categories, seventeen actions. Other words are accepted and kept."""

from __future__ import annotations

from enum import StrEnum


class ActivityLevel(StrEnum):
    """How serious an event is."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class EventCategory(StrEnum):
    """What part of the system an event belongs to."""

    AUTHENTICATION = "authentication"
    AUTHORIZATION = "authorization"
    USER_MANAGEMENT = "user_management"
    DATA_MANAGEMENT = "data_management"
    SYSTEM_MANAGEMENT = "system_management"
    SECURITY = "security"
    WORKFLOW = "workflow"
    API = "api"
    FILE_MANAGEMENT = "file_management"
    CONFIGURATION = "configuration"


class ActivityAction(StrEnum):
    """What was done."""

    CREATE = "create"
    READ = "read"
    UPDATE = "update"
    DELETE = "delete"
    LOGIN = "login"
    LOGOUT = "logout"
    EXPORT = "export"
    IMPORT = "import"
    SHARE = "share"
    PERMISSION_CHANGE = "permission_change"
    SYSTEM_EVENT = "system_event"
    SECURITY_EVENT = "security_event"
    API_CALL = "api_call"
    FILE_UPLOAD = "file_upload"
    FILE_DOWNLOAD = "file_download"
    WORKFLOW_EXECUTE = "workflow_execute"
    VALIDATION_FAILED = "validation_failed"
