"""How lines are written: one row per profile, told apart by a sample, or named in the configuration.

All JSON lines are read with the one table of names (`parsers.names`), whatever the profile: a file that mixes writers
loses nothing. A profile says what stands before the JSON object of a line, or how a line without JSON is taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from parsers.flags import BIT
from parsers.jsontext import MAX_DEPTH
from parsers.names import ECS, FLAT, NATIVE, OTEL, WRITERS
from parsers.slow import LineError, draft_of, read_object

AUTO: Final = "auto"
SAMPLE_LINES = 200  # enough to tell profiles apart, cheap enough for every new source

# `2025-10-17 09:30:00,123 | INFO | {json}`: what the original's file handler wrote.
_FASTNEXT = re.compile(
    rb"\s*(?P<time>[^|{]{8,40}?)\s*\|\s*(?P<level>[A-Za-z]{3,12})\s*\|\s*(?P<json>\{.*)", re.DOTALL
)
_FASTNEXT_PREFIX = r"[^|{]{8,40} \| [A-Za-z]{3,12} \| "  # as it is nearly always spelled
# `2025-10-17T09:30:00.123Z [info]: 7, 2025-10-17T09:30:00.123Z, successful, created x, createX, x.ctrl.ts`
_VERIFYWISE = re.compile(rb"(?P<time>\d{4}-\d\d-\d\d[T ]\S+)\s+\[(?P<level>\w+)\]:\s?(?P<rest>.*)", re.DOTALL)
_VERIFYWISE_STATES = {"processing": "unknown", "successful": "success", "error": "failure"}
_VERIFYWISE_ACTIONS = {
    "create": "create",
    "read": "read",
    "get": "read",
    "update": "update",
    "delete": "delete",
}


# The draft of a line, and the JSON object in it for those who learn from it (None where there was none).
Reading = tuple[dict[str, Any], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Profile:
    """A way of writing lines: its name, what it looks like, and how one line becomes a draft (raises LineError)."""

    name: str
    meaning: str
    example: str
    names: Mapping[str, str]  # the names that are typical of it, for detection
    read: Callable[[bytes, int], Reading]
    vectorised: bool = False  # whole batches of JSON objects go the fast path
    prefix: str | None = (
        None  # what stands before the object in such lines, and says nothing that the object lacks
    )


def _json(line: bytes, max_depth: int) -> Reading:
    value = read_object(line, max_depth)
    return draft_of(value), value


def _fastnext(line: bytes, max_depth: int) -> Reading:
    match = _FASTNEXT.fullmatch(line.rstrip())
    if match is None:
        if line.lstrip().startswith(b"{"):
            return _json(line, max_depth)
        raise LineError("is neither JSON nor 'time | LEVEL | {json}'")
    draft, value = _json(match["json"], max_depth)
    if draft.get("timestamp") is None:
        draft["timestamp"] = match["time"].decode()
    if draft.get("level") is None:
        draft["level"] = match["level"].decode()
    return draft, value


def _verifywise(line: bytes, max_depth: int) -> Reading:
    if line.lstrip().startswith(b"{"):
        return _json(line, max_depth)
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise LineError(f"is not UTF-8 at byte {error.start}") from None
    if b"\x00" in line:
        raise LineError("holds NUL bytes")
    match = _VERIFYWISE.fullmatch(line.strip())
    if match is None:
        raise LineError(
            "is neither JSON nor 'time [level]: number, time, state, description, function, file'"
        )
    time, level, rest = (match[name].decode() for name in ("time", "level", "rest"))
    # Only the description may hold commas: three fields stand before it and two after it.
    head = rest.split(", ", 3)
    tail = head[3].rsplit(", ", 2) if len(head) == 4 else []
    if len(tail) != 3 or head[2] not in _VERIFYWISE_STATES:
        draft = draft_of({"timestamp": time, "level": level, "description": rest})
        draft["bits"] |= BIT["message_only"]
        return draft, None
    number, inner, state = head[:3]
    description, function, file = tail
    verb = re.match(r"[a-z]*", function)
    action = _VERIFYWISE_ACTIONS.get(verb[0] if verb else "")
    draft = draft_of(
        {
            "timestamp": inner if inner[:1].isdigit() else time,
            "level": "error" if state == "error" else level,
            "outcome": _VERIFYWISE_STATES[state],
            "description": description,
            **({"action": action} if action else {}),
            "state": state,
            "function": function,
            "file": file,
            "number": number,
            **({"log_level": level} if state == "error" else {}),
            **({"log_time": time} if time != inner else {}),
        }
    )
    return draft, None


_JSON: Final = (
    (
        "native",
        "the API's camelCase object",
        '{"eventId":"…","timestamp":"…","user":{"id":1,"username":"…"}}',
        NATIVE,
    ),
    ("flat", "snake_case keys", '{"event_id":"…","user_id":1,"ip_address":"…","entity_type":"…"}', FLAT),
    (
        "ecs",
        "Elastic Common Schema",
        '{"@timestamp":"…","log.level":"info","message":"…","trace.id":"…"}',
        ECS,
    ),
    (
        "otel",
        "OpenTelemetry's log record",
        '{"Timestamp":"…","SeverityNumber":9,"Body":"…","TraceId":"…"}',
        OTEL,
    ),
    (
        "json",
        "pino, structlog, slog, logback and others",
        '{"time":1795428000123,"level":30,"msg":"…"}',
        WRITERS,
    ),
)
PROFILES: Final[dict[str, Profile]] = {
    **{
        name: Profile(name, meaning, example, known, _json, vectorised=True)
        for name, meaning, example, known in _JSON
    },
    "fastnext": Profile(
        "fastnext",
        "time and level, then flat JSON",
        "2025-10-17 09:30:00,123 | INFO | {…}",
        {},
        _fastnext,
        vectorised=True,
        prefix=_FASTNEXT_PREFIX,
    ),
    "verifywise": Profile(
        "verifywise",
        "fields between commas",
        "2025-10-17T09:30:00Z [info]: 7, 2025-10-17T09:30:00Z, successful, created a use case, createUseCase, useCase.ctrl.ts",
        {},
        _verifywise,
    ),
}
DEFAULT: Final = "native"


def detect(sample: bytes) -> str:
    """Return the name of the profile that fits most lines of a sample; the default when nothing speaks for any."""
    scores = dict.fromkeys(PROFILES, 0.0)
    for line in sample.splitlines()[:SAMPLE_LINES]:
        body = line.strip(b"\xef\xbb\xbf \t\r")
        if not body:
            continue
        if body.startswith(b"{"):
            for name, score in _name_scores(body).items():
                scores[name] += score
        elif _FASTNEXT.fullmatch(body):
            scores["fastnext"] += 1
        elif _VERIFYWISE.fullmatch(body):
            scores["verifywise"] += 1
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > 0 else DEFAULT


def _name_scores(body: bytes) -> dict[str, float]:
    """Which share of a line's names each profile knows that the earlier profiles do not, native names first."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(value, dict) or not value:
        return {}
    found = set(value) | {
        f"{key}.{inner}" for key, item in value.items() if isinstance(item, dict) for inner in item
    }
    known = {name: len(found & set(profile.names)) for name, profile in PROFILES.items() if profile.names}
    most = max(known.values())
    # On a tie the earlier profile wins: names such as `level` belong to several.
    winner = next(name for name, count in known.items() if count == most)
    return {winner: 1.0} if most else {DEFAULT: 0.5}


def read_with(profile: str, line: bytes, max_depth: int = MAX_DEPTH) -> Reading:
    """Return the draft of one line under a profile, and its JSON object if any; raises LineError with a reason."""
    return PROFILES[profile].read(line, max_depth)
