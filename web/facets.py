"""The values of fields, for narrowing a list further."""

from __future__ import annotations

from aiohttp import web

from storage.facets import FacetQuery, check
from web.answers import body_of
from web.eventparams import FacetsParams
from web.keys import QUERIES
from web.params import words_of
from web.statistics import ranged, reused


async def facets(request: web.Request, params: FacetsParams) -> web.StreamResponse:
    """Answer with the facets of the last hours, or of the range given."""
    wanted, scope = ranged(request, params)
    query = FacetQuery(
        fields=check(words_of(params.fields)),
        filter=wanted,
        scope=scope,
        top=params.top,
        exclude_own=params.exclude_own == "true",
    )

    async def make() -> bytes:
        found = await request.app[QUERIES].facets(query)
        return body_of({"success": True, "facets": {name: facet.to_json() for name, facet in found.items()}})

    return await reused(request, params, query.scope, make)
