"""The shapes of success answers, for OpenAPI: what a client may rely on. Handlers build plain dicts; tests compare.

The Event's schema comes from the column table; the envelopes are the original's, with our fields added.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from parsers.columns import COLUMNS, Column
from parsers.vocabulary import LEVELS
from web.alertshapes import DETECTION_MODELS
from web.eventshapes import (
    ActivityPage,
    ContextAnswer,
    Event,
    EventsPage,
    Explanation,
    MinePage,
    OneEvent,
    ProfileAnswer,
    RiskAnswer,
    SqlAnswer,
    Suggestions,
)
from web.figureshapes import Facets, Statistics, Stats, Trends, Words
from web.serviceshapes import (
    CleanupAnswer,
    Health,
    LogFiles,
    LogLines,
    ProblemBody,
    RejectsPage,
    Session,
    Status,
)
from web.shape import Shape

EVENT_ARRAY = "EventArray"
PROBLEM = "Problem"
REFERENCE = "#/components/schemas/{model}"

MODELS: tuple[type[Shape], ...] = (
    *DETECTION_MODELS,
    EventsPage,
    MinePage,
    ActivityPage,
    OneEvent,
    ContextAnswer,
    ProfileAnswer,
    RiskAnswer,
    Words,
    Statistics,
    Trends,
    Facets,
    Stats,
    Explanation,
    Suggestions,
    CleanupAnswer,
    LogLines,
    LogFiles,
    RejectsPage,
    SqlAnswer,
    Status,
    Health,
    Session,
    ProblemBody,
)

_JSON_TYPES: dict[str, dict[str, Any]] = {
    "VARCHAR": {"type": "string"},
    "BIGINT": {"type": "integer"},
    "INTEGER": {"type": "integer"},
    "DOUBLE": {"type": "number"},
    "BOOLEAN": {"type": "boolean"},
    "TIMESTAMPTZ": {"type": "string", "format": "date-time"},
    "VARCHAR[]": {"type": "array", "items": {"type": "string"}},
    "STRUCT(reason VARCHAR, points DOUBLE, detail VARCHAR)[]": {"type": "array", "items": {"type": "object"}},
}


def components() -> dict[str, Any]:
    """Return every schema of OpenAPI's components, by name."""
    _, found = models_json_schema([(model, "serialization") for model in MODELS], ref_template=REFERENCE)
    schemas: dict[str, Any] = dict(found["$defs"])
    schemas[PROBLEM] = schemas.pop(ProblemBody.__name__)
    schemas[Event.__name__] = event_schema()
    schemas[EVENT_ARRAY] = {"type": "array", "items": {"$ref": REFERENCE.format(model=Event.__name__)}}
    return dict(sorted(schemas.items()))


def event_schema() -> dict[str, Any]:
    """Return the Event as the API shows it, from the column table."""
    properties: dict[str, Any] = {}
    for column in COLUMNS:
        if not column.api:
            continue
        *parents, leaf = column.api.split(".")
        level = properties
        for parent in parents:
            group = level.setdefault(parent, {"type": ["object", "null"], "properties": {}})
            level = group["properties"]
        level[leaf] = _column_schema(column)
    return {
        "type": "object",
        "description": "One event. A later release may add fields.",
        "properties": properties,
        "required": [
            column.api for column in COLUMNS if column.required and column.api and "." not in column.api
        ],
    }


def _column_schema(column: Column) -> dict[str, Any]:
    if column.json:
        return {"description": column.meaning}
    schema = dict(_JSON_TYPES[column.sql])
    if column.name == "level":
        schema["enum"] = list(LEVELS)
    types = [schema["type"]]
    if column.name == "user_id":
        types.append("integer")  # where the line had a number
    if not column.required:
        types.append("null")
    schema["type"] = types if len(types) > 1 else types[0]
    return {**schema, "description": column.meaning}
