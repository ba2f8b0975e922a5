"""The JSON Schema of a line: the API's object as a writer should spell it, generated from the event model."""

from __future__ import annotations

from typing import Any, Final

from parsers.columns import COLUMNS, Column
from parsers.vocabulary import ACTIONS, CATEGORIES, LEVELS, OUTCOMES

_TEXT: Final = {"type": "string"}
_TYPES: Final[dict[str, dict[str, Any]]] = {
    "VARCHAR": _TEXT,
    "INTEGER": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "BIGINT": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "DOUBLE": {"type": "number"},
    "VARCHAR[]": {"type": "array", "items": _TEXT},
    "TIMESTAMPTZ": {"type": "string", "format": "date-time"},
    "STRUCT(reason VARCHAR, points DOUBLE, detail VARCHAR)[]": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["reason", "points"],
            "additionalProperties": False,
            "properties": {
                "reason": _TEXT,
                "points": {"type": "number"},
                "detail": {"type": ["string", "null"]},
            },
        },
    },
}
_SPECIAL: Final[dict[str, dict[str, Any]]] = {
    "user_id": {"type": ["string", "integer"]},
    "entity_id": {"type": ["string", "integer"]},
    "level": {"type": "string", "enum": list(LEVELS)},
    "category": {"type": "string", "examples": list(CATEGORIES)},
    "action": {"type": "string", "examples": list(ACTIONS)},
    "outcome": {"type": "string", "examples": list(OUTCOMES)},
    "risk_score": {"type": "number", "minimum": 0, "maximum": 100},
    "metadata": {"type": "object"},
    "changes": {"type": ["object", "array"]},
    "request_headers": {"type": "object"},
    "response": {"type": "object"},
}


def line_schema() -> dict[str, Any]:
    """Return the schema of one line, every field optional and null the same as absent."""
    root: dict[str, Any] = {}
    for column in COLUMNS:
        if column.from_line and column.api:
            *parents, name = column.api.split(".")
            at = root
            for parent in parents:
                at = at.setdefault(parent, {"type": ["object", "null"], "properties": {}})["properties"]
            at[name] = _nullable(_SPECIAL.get(column.name) or _TYPES[column.sql], column)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of an event log",
        "description": "What Watchkeep reads best. Fields that are not here are kept in `extra`; other spellings of "
        "these are understood too (docs/lines.md).",
        "type": "object",
        "properties": root,
        "additionalProperties": True,
    }


def _nullable(kind: dict[str, Any], column: Column) -> dict[str, Any]:
    types = kind["type"] if isinstance(kind["type"], list) else [kind["type"]]
    found = {**kind, "type": [*types, "null"], "description": column.meaning}
    if "enum" in kind:
        found["enum"] = [*kind["enum"], None]
    return found
