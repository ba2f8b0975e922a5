"""The section `[risk]`: how risky events are, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from daemon.marks import Section, as_tuple
from parsers.points import BEHAVIOUR, LEVELS, MODEL


def _known_reasons(value: dict[str, float]) -> dict[str, float]:
    return _known_names(value, BEHAVIOUR, "reason")


def _known_levels(value: dict[str, float]) -> dict[str, float]:
    return _known_names(value, LEVELS, "level")


def _known_names(value: dict[str, float], known: Iterable[str], what: str) -> dict[str, float]:
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ValueError(f"no {what} is called {unknown[0]!r}: there are {', '.join(known)}")
    return value


class BaseRow(Section):
    """Points for events of one kind."""

    points: float = Field(ge=0, le=100, description="Chance in percent that something is wrong.")
    category: str | None = Field(default=None, description="Category of the event; not set: any.")
    action: str | None = Field(default=None, description="Action of the event; not set: any.")
    outcome: str | None = Field(default=None, description="Outcome of the event; not set: any.")
    level: str | None = Field(default=None, description="Level of the event; not set: any.")


Points = Annotated[float, Field(ge=0, le=100)]
BaseRows = Annotated[tuple[BaseRow, ...], BeforeValidator(as_tuple)]


class Risk(Section):
    """How risky events are, and why."""

    enabled: bool = Field(
        default=True,
        description="Whether events are scored. Off, only scores that applications give are kept.",
    )
    version: str = Field(
        default=MODEL,
        pattern=r"^[A-Za-z0-9._-]{1,32}$",
        description="Name of your table of points, which every event carries. Change it whenever you change the points.",
    )
    points: Annotated[dict[str, Points], AfterValidator(_known_reasons)] = Field(
        default={},
        examples=[{"new_country": 30.0, "off_hours": 0.0}],
        description="Other points for single reasons of behaviour; 0 turns one off. `docs/risk.md` lists them.",
    )
    levels: Annotated[dict[str, Points], AfterValidator(_known_levels)] = Field(
        default={}, examples=[{"warning": 10.0}], description="Other points for levels."
    )
    base: BaseRows = Field(
        default=(),
        examples=[{"category": "data_management", "action": "export", "points": 40.0}],
        description="Rows of the base table that come before the built-in ones. The row that names most of an event counts.",
    )
    memory_mb: int = Field(
        default=128,
        ge=16,
        le=65_536,
        description="Memory for users' habits, MiB: about 400 bytes a user. Above it those not seen for the longest time are forgotten.",
    )
    rebuild_events: int = Field(
        default=1_000_000,
        ge=0,
        description="Newest events from which habits are learned again at a start that finds no checkpoint: about 5 s a million, before anything is read.",
    )
