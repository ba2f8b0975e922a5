"""What the endpoints of the daemon itself may be asked: cleanup, its log, its sources, its rejects."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from web.params import (
    DEFAULT_LIMIT,
    DEFAULT_LINES,
    MAX_DAYS,
    MAX_FILES,
    MAX_LINES,
    MAX_VALUES,
    MIN_CLEANUP_DAYS,
    Date,
    Flag,
    Params,
    Text,
)


class CleanupParams(Params):
    """`DELETE /events/cleanup`."""

    days: Annotated[int, Field(ge=MIN_CLEANUP_DAYS, le=MAX_DAYS)] = Field(
        90, description="Keep so many whole days before today"
    )
    dry_run: Flag = Field("true", description="true only lists what would go")


class LogsParams(Params):
    """`GET /logs`: raw lines of the daily files."""

    date: Date | None = Field(None, description="Day of the files, UTC; today without it")
    lines: Annotated[int, Field(ge=1, le=MAX_LINES)] = Field(
        DEFAULT_LINES, description="How many lines, counted from the newest"
    )
    source: Text | None = Field(None, description="Only this source: its id or file")
    cursor: Text | None = Field(None, description="`next` of the answer before: the lines before those")


class LogFilesParams(Params):
    """`GET /logs/files`: sources, by cursor."""

    state: Annotated[list[Text], Field(max_length=MAX_VALUES)] = Field(
        [], description="State of a source, as its row says it: live, idle, catching-up, failed …"
    )
    directory: Text | None = Field(
        None, description="A folder below its log directory, with all that is in it"
    )
    name: Text | None = Field(None, description="A text, in any case, in its path below the log directory")
    gaps: Flag | None = Field(None, description="true: only sources that lost bytes")
    lagging: Flag | None = Field(None, description="true: only sources of which not everything is read")
    sort: Literal["lag", "path"] = Field(
        "lag",
        description="lag: what lags most first; a source that moves between two pages may be missed. path: none is",
    )
    limit: Annotated[int, Field(ge=1, le=MAX_FILES)] = Field(DEFAULT_LIMIT, description="Rows a page")
    cursor: Text | None = Field(None, description="`next` of the answer before, with the same `sort`")


class RejectsParams(Params):
    """`GET /rejects`: lines that could not be parsed, newest first."""

    limit: Annotated[int, Field(ge=1)] = Field(DEFAULT_LIMIT, description="Rows a page")
    cursor: Text | None = Field(None, description="`next` of the answer before")
    source: Text | None = Field(None, description="Only this source: its id or file")
