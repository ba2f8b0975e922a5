"""The section `[daemon]`: the process itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from daemon.marks import FilePath, Live, Original, Section


def _level_name(value: Any) -> Any:
    """Accept `INFO` and `WARN` as people write them."""
    lowered = value.lower() if isinstance(value, str) else value
    return (
        {"warn": "warning", "fatal": "critical"}.get(lowered, lowered) if isinstance(lowered, str) else value
    )


LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_level_name)]


class Daemon(Section):
    """The process itself."""

    log_level: Annotated[LogLevel, Live(), Original("LOG_LEVEL")] = Field(
        default="info", description="What the daemon says about itself, at least. It never filters events."
    )
    log_file: Annotated[str | None, FilePath()] = Field(
        default=None,
        examples=["watchkeep.log"],
        description="File of its own log, JSON lines, outside `directories`. Not set: standard error.",
    )
