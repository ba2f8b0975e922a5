"""What requests carry in their bodies: one pydantic model each, from which the checks and OpenAPI both come."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from web.answers import JSON
from web.errors import INVALID, MEDIA_TYPE, Fault, Problem
from web.wording import said, to_write

MAX_PARAMETERS = 100  # of one statement
MAX_RULE_CHARS = 100_000  # of rules in one request; the whole pack has as many
MAX_COMMENT_CHARS = 2000
MAX_ID_CHARS = 200  # of a rule
MAX_MATCHERS, MAX_MATCHER_CHARS = 50, 1000  # of one silence
YEAR_SECONDS = 366 * 86_400  # the longest silence; what is to be silent for ever is a rule that is not wanted

Value = str | int | float | bool | None


class Body(BaseModel):
    """Base of every body: an unknown member is an error, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SqlBody(Body):
    """`POST /sql`: one statement and the values it uses."""

    sql: Annotated[str, Field(min_length=1)] = Field(
        description="One statement of DuckDB's SQL over the views `events`, `rejects` and `rollups`"
    )
    params: dict[str, Value | list[Value]] = Field(
        default={}, max_length=MAX_PARAMETERS, description="Values for `$name` in the statement"
    )
    format: Literal["json", "ndjson", "csv", "arrow", "parquet"] | None = Field(
        default=None, description="As the parameter `format`, which counts before it"
    )


class RuleBody(Body):
    """`POST /rules/test`: rules to try, or the id of one in force: one of the two."""

    rule: Annotated[str, Field(min_length=1, max_length=MAX_RULE_CHARS)] | None = Field(
        default=None,
        description="One or more rules in Sigma's YAML, separated by `---`; they may correlate rules that are in force",
    )
    id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)] | None = Field(
        default=None, description="Id of a rule in force, in place of a text"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> RuleBody:
        if (self.rule is None) == (self.id is None):
            raise ValueError("send either `rule` or `id`")
        return self


class SilenceBody(Body):
    """`POST /silences`: whom not to tell of what, for how long, and why. The author is who asks."""

    matchers: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_MATCHER_CHARS)]],
        Field(min_length=1, max_length=MAX_MATCHERS),
    ] = Field(
        description='What all alerts meant have: `level="low"`, `user.id=~"svc-.*"`, with =, !=, =~ or !~'
    )
    comment: Annotated[str, Field(min_length=1, max_length=MAX_COMMENT_CHARS)] = Field(
        description="Why nobody is to be told"
    )
    seconds: Annotated[float, Field(gt=0, le=YEAR_SECONDS, allow_inf_nan=False)] = Field(
        description="How long it is in force; at most a year"
    )
    starts: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="When it begins: ISO 8601; without it now"
    )


class AlertBody(Body):
    """`POST /alerts/{alert_id}/acknowledge`, `/resolve` and `/reopen`; it may be left out."""

    comment: Annotated[str, Field(max_length=MAX_COMMENT_CHARS)] = Field(
        default="", description="Why; kept in the event of the change"
    )


B = TypeVar("B", bound=Body)


async def read_body(model: type[B], request: web.Request) -> B:
    """Return the body as a value of ``model``; raises the 415 or 422 that says what is wrong with it."""
    if request.content_type != JSON:
        # A form of another site cannot send this type without asking first.
        fault = Fault(("header", "Content-Type"), request.content_type, f"send {JSON}")
        raise Problem(MEDIA_TYPE, f"the body must be {JSON}", (fault,))
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        faults = [
            Fault(("body", *item["loc"]), said(item), to_write(item))
            for item in error.errors(include_url=False)
        ]
        detail = "; ".join(f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in faults)
        raise Problem(INVALID, detail, faults) from None
