"""What requests carry in their bodies: one pydantic model each, from which the checks and OpenAPI both come."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from web.answers import JSON
from web.errors import INVALID, MEDIA_TYPE, Fault, Problem

MAX_PARAMETERS = 100  # of one statement
MAX_RULE_CHARS = 100_000  # of rules in one request; the whole pack has as many
MAX_COMMENT_CHARS = 2000

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
    """`POST /rules/test`: rules to try."""

    rule: Annotated[str, Field(min_length=1, max_length=MAX_RULE_CHARS)] = Field(
        description="One or more rules in Sigma's YAML, separated by `---`; they may correlate rules that are in force"
    )


class AlertBody(Body):
    """`POST /alerts/{alert_id}/acknowledge` and `/resolve`; it may be left out."""

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
            Fault(("body", *item["loc"]), str(item["msg"]).removeprefix("Value error, "))
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        said = "; ".join(f"{'.'.join(map(str, fault.loc))}: {fault.msg}" for fault in faults)
        raise Problem(INVALID, said, faults) from None
