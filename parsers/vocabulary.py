"""The words of an event: levels, categories, actions and outcomes, and the other names writers use for them."""

from __future__ import annotations

LEVELS = ("debug", "info", "warning", "error", "critical")
CATEGORIES = (
    "authentication",
    "authorization",
    "user_management",
    "data_management",
    "system_management",
    "security",
    "workflow",
    "api",
    "file_management",
    "configuration",
)
ACTIONS = (
    "create",
    "read",
    "update",
    "delete",
    "login",
    "logout",
    "export",
    "import",
    "share",
    "permission_change",
    "system_event",
    "security_event",
    "api_call",
    "file_upload",
    "file_download",
    "workflow_execute",
    "validation_failed",
)
OUTCOMES = ("success", "failure", "denied", "unknown")

DEFAULT_LEVEL = "info"  # of a line that names none, or one nobody knows

# Other words for a level, folded to lower case.
LEVEL_WORDS: dict[str, str] = {
    **{level: level for level in LEVELS},
    "trace": "debug",
    "trace2": "debug",
    "trace3": "debug",
    "trace4": "debug",
    "verbose": "debug",
    "silly": "debug",
    "fine": "debug",
    "finer": "debug",
    "finest": "debug",
    "debug2": "debug",
    "debug3": "debug",
    "debug4": "debug",
    "information": "info",
    "informational": "info",
    "info2": "info",
    "info3": "info",
    "info4": "info",
    "notice": "info",
    "log": "info",
    "success": "info",
    "http": "info",
    "warn": "warning",
    "warn2": "warning",
    "warn3": "warning",
    "warn4": "warning",
    "err": "error",
    "error2": "error",
    "error3": "error",
    "error4": "error",
    "severe": "error",
    "exception": "error",
    "fatal": "critical",
    "fatal2": "critical",
    "fatal3": "critical",
    "fatal4": "critical",
    "crit": "critical",
    "emerg": "critical",
    "emergency": "critical",
    "alert": "critical",
    "panic": "critical",
    "dpanic": "critical",
}

# Numbers under a key such as `level`: pino and bunyan count 10 to 60 (Python's 10 to 50 agree but for 50),
# syslog 0 to 7 downwards. They do not overlap.
_SYSLOG = ("critical", "critical", "critical", "error", "warning", "info", "info", "debug")
_PINO = ((20, "debug"), (30, "info"), (40, "warning"), (50, "error"))
# Numbers under `severity_number`: OpenTelemetry counts 1 to 24 in steps of four (trace, debug, info, warn, error, fatal).
_OTEL = ("debug", "debug", "info", "warning", "error", "critical")

OTEL_PREFIX = "otel:"  # put before a number that came from a severity_number

# Other words for an outcome, folded to lower case.
OUTCOME_WORDS: dict[str, str] = {
    **{outcome: outcome for outcome in OUTCOMES},
    "ok": "success",
    "succeeded": "success",
    "successful": "success",
    "allowed": "success",
    "true": "success",
    "fail": "failure",
    "failed": "failure",
    "error": "failure",
    "refused": "denied",
    "forbidden": "denied",
    "blocked": "denied",
    "false": "failure",
}


def level_of(text: str) -> str | None:
    """Return one of LEVELS for a level as a writer spells it (word or number), None when nobody knows it."""
    word = text.strip().lower()
    if word in LEVEL_WORDS:
        return LEVEL_WORDS[word]
    otel = word.startswith(OTEL_PREFIX)
    digits = word.removeprefix(OTEL_PREFIX).removesuffix(".0")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 3:
        return None
    number = int(digits)
    if otel:
        return _OTEL[(number - 1) // 4] if 1 <= number <= 24 else None
    if number < len(_SYSLOG):
        return _SYSLOG[number]
    if number < 10:
        return None
    return next((level for limit, level in _PINO if number <= limit), "critical")


def outcome_of(text: str) -> str:
    """Return one of OUTCOMES for a known word; an unknown word is kept as it is."""
    return OUTCOME_WORDS.get(text.strip().lower(), text)
