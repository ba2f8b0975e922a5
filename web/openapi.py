"""The OpenAPI document, made of the routes table, the query models and the shapes. Nothing in it is written twice."""

from __future__ import annotations

import re
from typing import Any

from storage.roles import NONE
from web.access import KEY_HEADER
from web.answers import JSON
from web.errors import (
    BUSY,
    CONTENT_TYPE,
    CROSS_SITE,
    DEADLINE,
    FORBIDDEN,
    HOST,
    INTERNAL,
    INVALID,
    MALFORMED,
    TOO_LARGE,
    TOO_LONG,
    TOO_MANY,
    UNAUTHORIZED,
    UNAVAILABLE,
    Kind,
)
from web.guard import SAFE_METHODS
from web.keys import DEFAULT_PAGE_LIMIT, PREFIX
from web.params import Params
from web.route import Route
from web.routes import ROUTES
from web.sessions import COOKIE, SECURE_COOKIE
from web.shapes import PROBLEM, REFERENCE, components

VERSION = "3.1.0"
ANY_ROUTE: tuple[Kind, ...] = (
    MALFORMED,
    TOO_LARGE,
    TOO_LONG,
    HOST,
    INVALID,
    UNAUTHORIZED,
    TOO_MANY,
    BUSY,
    INTERNAL,
    DEADLINE,
    UNAVAILABLE,
)

SECURITY_SCHEMES: dict[str, Any] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "wk_<id>_<secret>",
        "description": "An API key: `watchkeep keys create`",
    },
    "header": {"type": "apiKey", "in": "header", "name": KEY_HEADER, "description": "The same key"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"The dashboard's session; over https the cookie is called `{SECURE_COOKIE}`",
    },
}
# The empty one: an installation without keys asks for none from its own machine.
SECURITY: list[dict[str, list[str]]] = [{"key": []}, {"header": []}, {"session": []}, {}]

_HEADER_MEANINGS = {
    "Link": 'The next page, `rel="next"`',
    "ETag": "Send it back as If-None-Match; 304 means that nothing is new",
    "Content-Disposition": "The file's name",
    "X-Total-Count": "How many events the export holds",
    "X-Request-Id": "The same id as in the daemon's log",
    "Retry-After": "Seconds",
    "WWW-Authenticate": "How to send a key",
    "X-Row-Count": "How many rows the answer has",
    "X-Truncated": "Whether the statement has more rows than that",
}
_VARIABLE = re.compile(r"\{(\w+)\}")


def document(*, page_limit: int = DEFAULT_PAGE_LIMIT, version: str) -> dict[str, Any]:
    """Return the document. ``page_limit`` is the greatest `limit` this installation allows."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = _operation(route, page_limit)
    return {
        "openapi": VERSION,
        "info": {
            "title": "Watchkeep",
            "version": version,
            "description": "An event log that a small team can trust. The same routes answer without the prefix.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(route.tag for route in ROUTES)],
        "paths": paths,
        "components": {"schemas": components(), "securitySchemes": SECURITY_SCHEMES},
    }


def _operation(route: Route, page_limit: int) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": needed(route),
        "tags": [route.tag],
        "security": [] if route.role == NONE else SECURITY,
        "parameters": [*_path_parameters(route.path), *_query_parameters(route.params, page_limit)],
        "responses": _responses(route),
    }
    if route.body is not None:
        schema = route.body.model_json_schema(ref_template=REFERENCE)
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return operation


def needed(route: Route) -> str:
    """Return in words who may ask."""
    if route.role == NONE:
        return "Everybody may ask."
    scope = f" and the scope `{route.scope}`" if route.scope else ""
    one = "" if route.tenants else " Not for a key of one tenant."
    return f"Needs the role `{route.role}`{scope}.{one}"


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _VARIABLE.findall(path)
    ]


def _query_parameters(model: type[Params], page_limit: int) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    found = []
    for name, given in schema.get("properties", {}).items():
        shape = _plain(given)
        if name == "limit" and "maximum" not in shape:
            shape["maximum"] = page_limit
        parameter = {
            "name": name,
            "in": "query",
            "description": given.get("description", ""),
            "schema": shape,
        }
        if shape.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        found.append(parameter)
    return found


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a property's schema as a query string can hold it: null is leaving the parameter out."""
    kept = {key: value for key, value in schema.items() if key not in {"title", "description", "anyOf"}}
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            kept |= option
    if kept.get("default", "") is None or kept.get("default") == []:
        del kept["default"]
    return kept


def _responses(route: Route) -> dict[str, Any]:
    headers = ["X-Request-Id", *route.headers, *(["ETag"] if route.polled else [])]
    success = {
        "description": "Success",
        "headers": {name: _header(name) for name in headers},
        "content": {media: {"schema": _schema(name)} for media, name in route.answers},
    }
    responses: dict[str, Any] = {"200": success}
    if route.polled:
        responses["304"] = {"description": "Nothing is new", "headers": {"ETag": _header("ETag")}}
    kinds = [*ANY_ROUTE, *([] if route.role == NONE else [FORBIDDEN]), *route.errors]
    if route.method not in SAFE_METHODS:
        kinds.append(CROSS_SITE)
    for kind in kinds:
        entry = responses.setdefault(str(kind.status), _problem(kind))
        if f"`{kind.code}`" not in entry["description"]:
            entry["description"] += f"; {_described(kind)}"
    return dict(sorted(responses.items()))


def _problem(kind: Kind) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": _described(kind),
        "content": {CONTENT_TYPE: {"schema": _schema(PROBLEM)}},
    }
    if kind.status in {429, 503}:
        answer["headers"] = {"Retry-After": _header("Retry-After")}
    if kind is UNAUTHORIZED:
        answer["headers"] = {"WWW-Authenticate": _header("WWW-Authenticate")}
    return answer


def _described(kind: Kind) -> str:
    return f"`{kind.code}`: {kind.title}"


def _schema(name: str | None) -> dict[str, Any]:
    return {"type": "string"} if name is None else {"$ref": REFERENCE.format(model=name)}


def _header(name: str) -> dict[str, Any]:
    kind = "integer" if name in {"X-Total-Count", "X-Row-Count", "Retry-After"} else "string"
    return {"description": _HEADER_MEANINGS[name], "schema": {"type": kind}}
