"""An event as JSON text: always valid JSON, always valid UTF-8, never longer than the cap."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime
from enum import Enum
from typing import Any

# Deep enough for any real payload; a structure that contains itself ends here instead of never.
MAX_DEPTH = 16
# A record longer than the cap is shortened in steps: strings and lists to these sizes, harder each time.
SHORTENINGS = ((4096, 100), (1024, 20), (256, 5))  # (characters in a string, items in a list or object)
# What remains when even the hardest shortening is too long: enough to know what happened, when, and by whom.
CORE_KEYS = ("eventId", "correlationId", "timestamp", "level", "category", "action", "outcome", "user")
CUT_MARK = "…"

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encode(event: Mapping[str, Any], limit: int) -> bytes:
    """Return ``event`` as one JSON object of at most ``limit`` bytes.

    What is too long is shortened and says so: ``truncated`` is true and ``truncatedFrom`` holds the whole size in
    bytes. Values JSON does not have (dates, sets, NaN, objects) become text.
    """
    line = _bytes(_text(event))
    if len(line) <= limit:
        return line
    size = len(line)
    for characters, items in SHORTENINGS:
        shorter = _marked(_shorten(plain(event), characters, items), size)
        line = _bytes(_ENCODER.encode(shorter))
        if len(line) <= limit:
            return line
    characters, items = SHORTENINGS[-1]
    core = {key: event[key] for key in CORE_KEYS if key in event}
    return _bytes(_ENCODER.encode(_marked(_shorten(plain(core), characters, items), size)))


def plain(value: Any, depth: int = 0) -> Any:
    """Return ``value`` made of what JSON has: objects with text keys, lists, text, finite numbers, booleans, null."""
    if isinstance(value, Enum):
        return plain(value.value, depth)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode("utf-8", "replace")
    if depth >= MAX_DEPTH:
        return CUT_MARK
    if isinstance(value, Mapping):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence | AbstractSet):
        return [plain(item, depth + 1) for item in value]
    return _described(value)


def _text(event: Mapping[str, Any]) -> str:
    try:
        return _ENCODER.encode(event)
    except (TypeError, ValueError, RecursionError):
        # The slow way only for records that hold something JSON does not have.
        return _ENCODER.encode(plain(event))


def _bytes(text: str) -> bytes:
    # A lone surrogate has no UTF-8 form; one "?" is better than a line that nobody can decode.
    return text.encode("utf-8", "replace")


def _key(key: object) -> str:
    return key.value if isinstance(key, Enum) and isinstance(key.value, str) else str(key)


def _described(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a broken __str__ in the application must not break its logging
        return f"<{type(value).__name__}>"


def _shorten(value: Any, characters: int, items: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= characters else value[:characters] + CUT_MARK
    if isinstance(value, dict):
        kept = (
            list(value.items())[: max(items, len(CORE_KEYS) + 12)]
            if "eventId" in value
            else list(value.items())[:items]
        )
        return {key[:characters]: _shorten(item, characters, items) for key, item in kept}
    if isinstance(value, list):
        return [_shorten(item, characters, items) for item in value[:items]]
    return value


def _marked(event: dict[str, Any], size: int) -> dict[str, Any]:
    return {**event, "truncated": True, "truncatedFrom": size}
