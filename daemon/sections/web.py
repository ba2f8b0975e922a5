"""The section `[web]`: the HTTP side and the dashboard; `daemon.reach` has those of its keys that say who may ask."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from daemon.marks import MEBIBYTE, Names, Original
from daemon.reach import Host, Reach

REFRESH_CHOICES = (0, 5, 10, 30, 60)  # seconds; what the dashboard's menu offers


def _refresh_choice(value: int) -> int:
    if value not in REFRESH_CHOICES:
        raise ValueError(f"should be one of {', '.join(map(str, REFRESH_CHOICES))}")
    return value


class Web(Reach):
    """The HTTP side and the dashboard."""

    host: Host = Field(
        default="127.0.0.1",
        description="Address to listen on. On another than loopback the daemon starts only when there is a key (`watchkeep keys create`) or a trusted proxy that names users.",
    )
    port: int = Field(default=8710, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    allowed_hosts: Names = Field(
        default=(),
        description="Names, besides the loopback ones and `host`, under which this server or a proxy in front is reached.",
    )
    refresh_seconds: Annotated[int, AfterValidator(_refresh_choice)] = Field(
        default=30, description="How often the dashboard asks again at first: 0 (off), 5, 10, 30 or 60."
    )
    page_limit: Annotated[int, Original("EVENT_PAGINATION_LIMIT")] = Field(
        default=500, ge=1, le=10_000, description="Greatest `limit` of a list."
    )
    statistics_cache_seconds: Annotated[float, Original("STATISTICS_CACHE_SECONDS")] = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Longest reuse of a statistics answer while the archive has not changed. New events are never hidden by it.",
    )
    export_stall_seconds: float = Field(
        default=60.0,
        ge=1,
        le=86_400,
        description="How long the reader of an export may take nothing before it is cut off, visibly: it holds one of two places.",
    )
    live_clients: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description="How many may follow new events (`/events/live`) at a time; the next one is told to come back.",
    )
    live_queue_events: int = Field(
        default=2000,
        ge=1,
        le=1_000_000,
        description="Events that wait for one slow follower; what comes when so many wait is dropped for it, counted and said.",
    )
    live_queue_bytes: int = Field(
        default=MEBIBYTE,
        ge=1024,
        le=256 * MEBIBYTE,
        description="The same in bytes. Followers of the same question share what waits.",
    )
    live_heartbeat_seconds: float = Field(
        default=15.0, ge=1, le=300, description="Silence after which a follower gets a sign of life."
    )
    live_stuck_seconds: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="A follower that takes nothing for so long is cut off; it can go on where it was.",
    )
