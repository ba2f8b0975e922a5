"""What a check of `daemon.doctor` is given, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from daemon.settings import Settings

State = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: about what, how it is, and what to do."""

    check: str
    state: State
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined: the settings, and what the running daemon says (None: none runs)."""

    settings: Settings
    status: dict[str, Any] | None


Check = Callable[[Patient], Iterator[Finding]]
