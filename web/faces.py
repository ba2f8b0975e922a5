"""`/events/explain`: one filter in its four forms (form, query string, search, SQL), and what it would cost to ask.

Each form says exactly the same: reading one back gives an equal filter (tests hold that).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import orjson
from aiohttp import web
from pydantic import ValidationError

from parsers.expression import Comparison, Expression, Not, both, text_of
from parsers.fields import BETWEEN, EQUALS, RISK_SCORE, SUBJECT, TEXT_SEARCH, TIMESTAMP
from parsers.forms import FormError, form_of, from_form
from parsers.moments import rfc3339
from storage.lifting import Plain, lower
from storage.printing import statement
from storage.query import Filter
from web.answers import json_answer
from web.asking import filter_of, scope_of
from web.errors import INVALID, Fault, Problem, invalid
from web.eventparams import ExplainParams
from web.keys import CLOCK, QUERIES
from web.params import Filters

_SINGLE = {TEXT_SEARCH: "search_query", SUBJECT: "subject"}
_INTERNAL = {"include": "true", "only": "only"}


async def explain(request: web.Request, params: ExplainParams) -> web.StreamResponse:
    """Answer with the four forms of a filter and what it would read."""
    now_us = request.app[CLOCK]()
    wanted = filter_of(params, now_us)
    if params.form is not None:
        wanted = wanted.narrowed(_expression(params.form, now_us))
    scope = scope_of(request, params.internal)
    # Pseudonyms stay what they are in every form; only the count of files needs what they stand for.
    queries = request.app[QUERIES]
    cost = await queries.cost(*queries.mask.resolved(wanted, scope))
    pairs = [*query_of(wanted), *([("internal", params.internal)] if params.internal != "false" else [])]
    answer: dict[str, Any] = {
        "success": True,
        "form": form_of(wanted.parts),
        "url": urlencode(pairs),
        "q": wanted.q,
        "sql": statement(wanted, scope),
        **cost,
    }
    return json_answer(answer)


def _expression(form: str, now_us: int) -> Expression | None:
    """Return what a form given as JSON means; raises the 422 that says where in it something is wrong."""
    try:
        rows = orjson.loads(form)
    except orjson.JSONDecodeError:
        raise invalid("form", "it is no JSON", 'write [{"field": …, "operator": …, "values": […]}]') from None
    try:
        return from_form(rows, now_us=now_us)
    except FormError as error:
        fault = Fault(("query", "form", *error.where), error.what, error.hint)
        raise Problem(INVALID, f"form: {error.what}", (fault,)) from None


def query_of(wanted: Filter) -> list[tuple[str, str]]:
    """Return a filter as names and values of a query string: plain parameters where they can say it, else ``q``."""
    pairs: list[tuple[str, str]] = []
    rest: list[Expression] = []
    plain = lower(
        Plain(
            wanted.terms,
            wanted.min_risk,
            wanted.max_risk,
            wanted.start_us,
            wanted.end_us,
            wanted.search,
            wanted.subject,
        )
    )
    for part in plain:
        found = _parameters(part)
        if found and _taken(found):
            pairs += found
        else:
            rest.append(part)
    whole = both((*rest, *([wanted.expression] if wanted.expression is not None else [])))
    return [*pairs, *([("q", text_of(whole))] if whole is not None else [])]


def _parameters(part: Expression) -> list[tuple[str, str]]:
    """Return the parameters for one plain part of a filter."""
    item = part.part if isinstance(part, Not) else part
    assert isinstance(item, Comparison)  # what `lower` makes of plain parts
    if item.operator == BETWEEN:
        low, high = item.values
        if item.field == TIMESTAMP:
            ends = ("start_date", low and rfc3339(int(low))), ("end_date", high and rfc3339(int(high)))
        else:
            assert item.field == RISK_SCORE
            ends = ("min_risk", low), ("max_risk", high)
        return [(name, text) for name, text in ends if text]
    if item.field in _SINGLE:
        return [(_SINGLE[item.field], item.values[0])]
    assert item.operator == EQUALS
    assert item.known.parameter is not None
    sign = "!" if isinstance(part, Not) else ""
    return [(item.known.parameter, f"{sign}{value}") for value in item.values]


def _taken(pairs: list[tuple[str, str]]) -> bool:
    """Say whether the API's own check of parameters lets these pass, unchanged."""
    name = pairs[0][0]
    if name not in Filters.model_fields:
        return False
    listed = Filters.model_fields[name].default == []
    given: dict[str, Any] = {name: [text for _, text in pairs]} if listed else dict(pairs)
    try:
        read = Filters.model_validate(given)
    except ValidationError:
        return False
    return not listed or getattr(read, name) == given[name]
