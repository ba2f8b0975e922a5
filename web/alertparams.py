"""What the endpoints of detections, alerts, rules and who is told may be asked."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from parsers.sigma.rule import Level as SigmaLevel
from web.eventparams import ListParams
from web.params import DEFAULT_LIMIT, MAX_VALUES, Flag, Params, Text, Time


class DetectionsParams(ListParams):
    """`GET /detections`: the events that tell where rules fired, by page or by cursor."""


class AlertsParams(Params):
    """`GET /alerts`: the newest first, by cursor."""

    hints: ClassVar[dict[str, str]] = {"level": "informational, low, medium, high or critical"}

    state: Annotated[list[Literal["open", "acknowledged", "resolved"]], Field(max_length=MAX_VALUES)] = Field(
        [], description="State of an alert: open, acknowledged or resolved"
    )
    level: Annotated[list[SigmaLevel], Field(max_length=MAX_VALUES)] = Field(
        [], description="Level of its rule: informational, low, medium, high or critical"
    )
    rule: Annotated[list[Text], Field(max_length=MAX_VALUES)] = Field([], description="Id of its rule")
    search_query: Text | None = Field(
        None, description="A text, in any case, in its title, a value of its group, a technique or its id"
    )
    limit: Annotated[int, Field(ge=1)] = Field(DEFAULT_LIMIT, description="Rows a page")
    cursor: Text | None = Field(None, description="`next` of the answer before; goes on exactly behind it")


class RuleTestParams(Params):
    """`POST /rules/test`: over which time."""

    start_date: Time = Field(
        "-24h",
        description="From here on, inclusive: ISO 8601, a date (its first moment), -15m, -24h, -7d or now",
    )
    end_date: Time | None = Field(None, description="Up to here, inclusive; a date is its last moment")


class SilenceParams(Params):
    """`POST /silences`."""

    dry_run: Flag = Field(
        "false", description="true: nothing is changed, the answer says which alerts it would mute now"
    )


class OutboxParams(Params):
    """`GET /outbox`."""

    limit: Annotated[int, Field(ge=1)] = Field(DEFAULT_LIMIT, description="Rows of each list")
