"""Raw lines of a file as the API's objects, for showing a log as it lies on disk. Nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from parsers.batch import Source
from parsers.columns import BY_NAME
from parsers.draft import DRAFT_SCHEMA
from parsers.finish import Origin, Terms, finish
from parsers.profiles import AUTO, detect, read_with
from parsers.slow import LineError

# Columns that only the archive gives, or that say what the caller knows.
_HIDDEN = frozenset(
    {"ip_bytes", "internal", "retention_class", "node", "parser", "source", "source_file", "source_offset"}
)


def parse_lines(lines: Sequence[bytes], source: Source, terms: Terms) -> list[dict[str, Any] | None]:
    """Return the API's object for each line, None for a line that is no event. Values are not redacted."""
    profile = detect(b"\n".join(lines)) if source.profile == AUTO else source.profile
    drafts: list[dict[str, Any]] = []
    for at, line in enumerate(lines):
        try:
            draft, _ = read_with(profile, line)
        except LineError:
            continue
        drafts.append({**draft, "offset": at, "chunk": 0})
    found: list[dict[str, Any] | None] = [None] * len(lines)
    table = pa.Table.from_pylist(drafts, DRAFT_SCHEMA)
    for draft, row in zip(drafts, finish(table, [Origin(source, profile)], terms).to_pylist(), strict=True):
        found[draft["offset"]] = as_api(row)
    return found


def as_api(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of columns as the API's nested object; fields that are null are left out."""
    event: dict[str, Any] = {}
    flags = row.get("flags") or []
    for name, value in row.items():
        column = BY_NAME[name]
        if value is None or name in _HIDDEN or not column.api:
            continue
        *parents, key = column.api.split(".")
        at = event
        for parent in parents:
            at = at.setdefault(parent, {})
        at[key] = _shown(name, value, flags)
    return event


def _shown(name: str, value: Any, flags: Sequence[str]) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if BY_NAME[name].json:
        return json.loads(value)
    if name == "user_id" and "user_id_text" not in flags and value.lstrip("-").isdecimal():
        return int(value)
    return value
