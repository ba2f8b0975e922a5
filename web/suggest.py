"""`/events/suggest`: how a search that is being written can go on at the cursor."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from parsers.completing import Place, Suggestion, keys, place, suggestions, values
from storage.errors import BusyError, DeadlineError, MaskedError
from web.answers import json_answer
from web.asking import scope_of
from web.eventparams import SuggestParams
from web.keys import QUERIES


async def suggest(request: web.Request, params: SuggestParams) -> web.StreamResponse:
    """Answer with fields, operators and values that may stand at the cursor; without values when those take too long."""
    here = place(params.q, len(params.q) if params.at is None else params.at)
    found = suggestions(here)
    timed_out = False
    if here.field is not None:
        try:
            found = [*await _seen(request, here), *found]
        except MaskedError:
            pass  # what this caller does not see is not offered
        except (DeadlineError, BusyError):
            timed_out = True
    kept = {(item.kind, item.insert): item for item in reversed(found)}
    data = [asdict(kept[key]) for key in dict.fromkeys((item.kind, item.insert) for item in found)]
    return json_answer({"success": True, "data": data, "timed_out": timed_out})


async def _seen(request: web.Request, here: Place) -> list[Suggestion]:
    assert here.field is not None
    queries, scope = request.app[QUERIES], scope_of(request)
    if here.naming:
        return keys(here, await queries.seen_keys(here.field, here.path, here.prefix, scope))
    return values(here, [*await queries.seen_values(here.field, here.path, here.prefix, scope)])
