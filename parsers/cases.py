r"""What becomes of lines that are not as they should be. docs/lines.md prints this table; a test holds every row.

``columns`` is what the event holds then (JSON columns parsed, times as text); ``reason`` is what the reject says. Examples leave out
what a case does not need: the test adds an id, a time and a level where the line names none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from parsers.jsontext import MAX_DEPTH


@dataclass(frozen=True, slots=True)
class Case:
    """One way in which a line can be odd, an example, and its outcome."""

    what: str
    line: bytes
    outcome: str
    columns: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


_DAY = "2025-11-20T00:00:00+00:00"  # of the file in the test

EVENTS: Final = (
    Case("a key repeats", b'{"level":"info","level":"error"}', "the last value counts, the earlier ones are kept", {"level": "error", "flags": ["duplicate_key"], "extra": {"duplicate_keys": {"level": ["info"]}}}),
    Case("a key repeats in an object", b'{"user":{"id":1,"id":2}}', "the same", {"user_id": "2", "flags": ["duplicate_key"], "extra": {"duplicate_keys": {"user.id": [1]}}}),
    Case("a key repeats inside a JSON column", b'{"metadata":{"a":1,"a":2}}', "kept as written", {"metadata": '{"a":1,"a":2}', "flags": None}),
    Case("a null", b'{"username":null,"foo":null}', "the same as an absent key", {"username": None, "flags": None, "extra": None}),
    Case("a null and a value", b'{"action":null,"action":"read"}', "the value counts, nothing repeats", {"action": "read", "flags": None}),
    Case("NaN or Infinity", b'{"riskScore":NaN}', "kept as text in `extra`", {"risk_score": None, "flags": ["not_finite"], "extra": {"riskScore": "NaN"}}),
    Case("NaN or Infinity inside a JSON column", b'{"metadata":{"a":[-Infinity]}}', "kept as text", {"metadata": '{"a":["-Infinity"]}', "flags": ["not_finite"]}),
    Case("a text in place of an object", b'{"user":"bob"}', "kept in `extra`", {"user_id": None, "flags": ["wrong_type"], "extra": {"user": "bob"}}),
    Case("an object in place of a text", b'{"description":{"a":1}}', "kept in `extra`", {"description": None, "flags": ["wrong_type"], "extra": {"description": {"a": 1}}}),
    Case("a boolean in place of a text or number", b'{"user":{"username":true}}', "kept in `extra`", {"username": None, "flags": ["wrong_type"], "extra": {"user": {"username": True}}}),
    Case("a number in place of a text", b'{"description":12.50}', "becomes its shortest text", {"description": "12.5", "flags": None}),
    Case("a text in place of a number", b'{"request":{"statusCode":"404"}}', "becomes the number it spells", {"status_code": 404, "outcome": "failure", "flags": None}),
    Case("a fraction in place of a whole number", b'{"request":{"statusCode":404.5}}', "kept in `extra`; `404.0` is whole", {"status_code": None, "flags": ["wrong_type"], "extra": {"request": {"statusCode": 404.5}}}),
    Case("a whole number with a point", b'{"request":{"statusCode":404.0}}', "is whole", {"status_code": 404, "flags": None}),
    Case("a number beyond its column", b'{"request":{"statusCode":99999999999}}', "kept in `extra`", {"status_code": None, "flags": ["wrong_type"], "extra": {"request": {"statusCode": 99999999999}}}),
    Case("a risk score with a fraction", b'{"riskScore":70.5}', "rounded half up; as given in `riskScoreReported`", {"risk_score": 71, "risk_score_reported": 70.5}),
    Case("a risk score beyond 0 to 100", b'{"riskScore":-3}', "clipped; as given in `riskScoreReported`", {"risk_score": 0, "risk_score_reported": -3.0}),
    Case("numbers with more digits than a double has", b'{"metadata":{"n":123456789012345678901234567890.5,"m":1e999}}', "kept digit by digit", {"metadata": '{"n":123456789012345678901234567890.5,"m":1e999}', "flags": None}),
    Case("any other number in a JSON column", b'{"metadata":{"n":1.50,"m":1E5}}', "its value, spelled shortly", {"metadata": '{"n":1.5,"m":100000.0}', "flags": None}),
    Case("a user id as text that spells a number", b'{"user":{"id":"42"}}', "stays text in the API", {"user_id": "42", "flags": ["user_id_text"]}),
    Case("half of a surrogate pair", b'{"description":"a\\ud800b"}', "its escape is spelled out", {"description": "a\\ud800b", "flags": ["lone_surrogate"]}),
    Case("a NUL character as an escape", b'{"description":"a\\u0000b"}', "kept", {"description": "a\x00b", "flags": None}),
    Case("a comma before a closing bracket", b'{"description":"a",}', "forgiven", {"description": "a", "flags": None}),
    Case("white space around and inside", b'\t{ "description" :\t"a" } \r', "means nothing", {"description": "a", "flags": None}),
    Case("unknown keys", b'{"pid":7,"user":{"email":"a@b.c"}}', "kept in `extra` where they were", {"extra": {"pid": 7, "user": {"email": "a@b.c"}}, "flags": None}),
    Case("two names of one field", b'{"message":"m","description":"d"}', "the first in the table of names counts, the other stays in `extra`", {"description": "d", "extra": {"message": "m"}}),
    Case("a field that only the daemon fills", b'{"seq":5,"internal":true}', "kept in `extra`; nobody can forge one", {"internal": False, "extra": {"seq": 5, "internal": True}}),
    Case("an unknown level", b'{"level":"loud"}', "info; the original in `extra.level`", {"level": "info", "flags": ["level_unknown"], "extra": {"level": "loud"}}),
    Case("no level", b'{"level":null}', "info", {"level": "info", "flags": ["level_missing"]}),
    Case("no time", b'{"timestamp":null}', "the day in the file's name; without one, when the file was first seen", {"timestamp": _DAY, "flags": ["timestamp_missing"], "extra": None}),
    Case("a time that cannot be read", b'{"timestamp":"soon"}', "the same; the original in `extra.timestamp`", {"timestamp": _DAY, "flags": ["timestamp_unparsable"], "extra": {"timestamp": "soon"}}),
    Case("a time before 1990", b'{"timestamp":"1970-01-01T00:00:00Z"}', "the same", {"timestamp": _DAY, "flags": ["timestamp_absurd"], "extra": {"timestamp": "1970-01-01T00:00:00Z"}}),
    Case("a time more than a day after the file's own", b'{"timestamp":"2025-11-22T00:00:00Z"}', "the same", {"timestamp": _DAY, "flags": ["timestamp_absurd"], "extra": {"timestamp": "2025-11-22T00:00:00Z"}}),
    Case("a time late on the day after the file's own", b'{"timestamp":"2025-11-21T23:59:59Z"}', "believed: zones, and writers open over midnight", {"timestamp": "2025-11-21T23:59:59+00:00", "flags": None}),
    Case("numbers among the tags", b'{"tags":["a",5]}', "become text", {"tags": ["a", "5"], "flags": None}),
    Case("objects among the tags", b'{"tags":[{"a":1}]}', "all tags are kept in `extra`", {"tags": None, "flags": ["wrong_type"], "extra": {"tags": [{"a": 1}]}}),
    Case("no id", b'{"eventId":null}', "one derived from source and offset: the same whenever the line is read", {"flags": ["event_id_missing"]}),
)  # fmt: skip

REJECTS: Final = (
    Case("no JSON", b"not json at all", "reject", reason="The line is not JSON: expecting value at character 1"),
    Case("half a line", b'{"level":"info"', "reject", reason="The line is not JSON: expecting ',' delimiter at character 16"),
    Case("something after the object", b'{"level":"info"} tail', "reject", reason="The line is not JSON: extra data at character 18"),
    Case("an array", b"[1, 2]", "reject", reason="The line is an array, not a JSON object"),
    Case("a number", b"42", "reject", reason="The line is a number, not a JSON object"),
    Case("a string", b'"text"', "reject", reason="The line is a string, not a JSON object"),
    Case("null", b"null", "reject", reason="The line is null, not a JSON object"),
    Case("a boolean", b"true", "reject", reason="The line is a boolean, not a JSON object"),
    Case("bytes that are not UTF-8", b'{"a":"\xff\xfe"}', "reject", reason="The line is not UTF-8 at byte 6"),
    Case("NUL bytes in a line", b'{"a":"x\x00y"}', "reject", reason="The line holds NUL bytes"),
    Case("UTF-16", b"\xff\xfe{\x00}\x00", "reject", reason="The line holds NUL bytes"),
    Case("deep JSON", b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "reject", reason=f"The line is nested deeper than {MAX_DEPTH} levels"),
    Case("single quotes", b"{'a':1}", "reject", reason="The line is not JSON: expecting property name enclosed in double quotes at character 2"),
    Case("a number with a leading zero", b'{"a":01}', "reject", reason="The line is not JSON: expecting ',' delimiter at character 7"),
    Case("a control character in a string", b'{"a":"tab\there"}', "reject", reason="The line is not JSON: invalid control character at character 10"),
    Case("an unknown escape", b'{"a":"\\q"}', "reject", reason="The line is not JSON: invalid \\escape at character 7"),
)  # fmt: skip
