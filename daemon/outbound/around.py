"""What those who tell of alerts see of the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsers.sigma.alert import AlertChange
from web.status import SourceStatus

Audit = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Around:
    """The daemon, as far as it matters here. ``sources`` takes a while with many files: it is called in a thread."""

    sources: Callable[[], Sequence[SourceStatus]]
    degraded: Callable[[], Sequence[Mapping[str, str]]]
    ready: Callable[[], tuple[bool, str]]
    audit: Audit
    dashboard: Callable[[], str]
    alerts: Callable[[], Sequence[AlertChange]] = tuple  # the newest change of every alert; asked in a thread
    logged: Callable[[set[str]], set[str]] = set  # which events of these ids were audited; asked in a thread
