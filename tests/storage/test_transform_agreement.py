"""The fast and the slow path give the same events: Hypothesis writes lines, and both read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsers.batch import Chunk, Mark, Place, Source
from parsers.classes import Classes
from parsers.columns import PARSED_SCHEMA
from parsers.draft import DRAFT_SCHEMA
from parsers.finish import Origin, Terms, finish
from parsers.names import NAMES, PARENTS
from parsers.profiles import read_with
from parsers.slow import LineError
from storage.transform import ParseOptions, Transformer

SOURCE = Source("0123456789abcdef" * 2, "app.jsonl", 1_763_596_800_000_000, None, "native", internal=False)
JSON_COLUMNS = ("extra",)

EVENT = {
    "eventId": "78e51061-7311-48a3-82ce-6f447ed4d57b",
    "timestamp": "2026-11-20T00:00:00.008Z",
    "level": "info",
    "category": "security",
    "action": "share",
    "user": {"id": 7, "username": "zoë"},
    "entity": {"type": "file", "id": "56", "name": "report"},
    "request": {"method": "GET", "path": "/a", "ip": "10.0.0.1", "statusCode": 200, "responseTime": 1.5},
    "location": {"country": "DE", "city": "Köln"},
    "metadata": {"a": 1, "b": [1, {"c": None}]},
    "tags": ["x", "y"],
    "riskScore": 3,
    "system": {"server": "s1"},
    "shard": 4,
}


def chunk(data: bytes) -> Chunk:
    return Chunk(
        SOURCE, 0, len(data), data, Mark("", 0, "", 0, "", 0), Place("/log/app.jsonl", 1, 2, None, len(data))
    )


def slowly(lines: list[bytes]) -> list[dict[str, Any]]:
    rows, offset = [], 0
    for line in lines:
        try:
            row, _ = read_with("native", line)
            rows.append({**row, "offset": offset, "chunk": 0})
        except LineError:
            pass
        offset += len(line) + 1
    table = pa.Table.from_pylist(rows, DRAFT_SCHEMA)
    return finish(table, [Origin(SOURCE, "native")], Terms("main", ZoneInfo("UTC"), Classes())).to_pylist()


def comparable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        for name in JSON_COLUMNS:  # members of extra may come in another order
            row[name] = None if row[name] is None else json.loads(row[name], parse_float=str, parse_int=str)
    return rows


@pytest.fixture(scope="module")
def transformer() -> Iterator[Transformer]:
    made = Transformer(ParseOptions())
    made.parse([chunk((json.dumps(EVENT) + "\n").encode() * 8)])
    yield made
    made.close()


# --- lines, spelled by hand so that white space, escapes and repeated keys vary -------------------------------------

NUMBERS = [
    "0",
    "-0",
    "7",
    "200",
    "404",
    "1.50",
    "1e3",
    "1E400",
    "200.0",
    "0.1",
    "12.345678901234567",
    "1.7",
    "-3",
    "88.5",
]
NUMBERS += [
    "0.1000000000000000055",
    "9007199254740993",
    "18446744073709551616",
    "1795428000123",
    "1795428000.25",
]
NOT_JSON = ["NaN", "-Infinity", "nan", "01", "+1", "tru", "'a'", "[1,]", "{,}", '"\\x"', '"\t"', '"\\ud800"']
WORDS = [
    "info",
    "WARN",
    "",
    "{",
    "[x",
    '":',
    ": x",
    '": null',
    '":{',
    "5",
    "-1",
    "10.0.0.1",
    "::1",
    "2026-11-20T00:00:00Z",
]
WORDS += [
    "a b",
    "Zoë 😀",
    "a\nb",
    'say "x": {1}',
    "back\\slash",
    "\x01",
    "a,}",
    " : ",
    "12345678901234567.5",
    "\x00",
]
OTHER_KEYS = [
    "shard",
    "id",
    "foo",
    "Level",
    "a.b",
    "x:y",
    "é",
    "name",
    "ip",
    "",
    "log",
    "user",
    "http",
    "geo",
    "null",
]
ALL_KEYS = [*NAMES, *sorted(PARENTS), *OTHER_KEYS, *sorted({name.rsplit(".", 1)[-1] for name in NAMES})]


@dataclass
class Speller:
    """Writes JSON as many writers would, and sometimes as none should."""

    dice: Random

    def string(self, text: str) -> str:
        escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in text)
        return self.dice.choice([json.dumps(text), json.dumps(text, ensure_ascii=False), f'"{escaped}"'])

    def scalar(self) -> str:
        kind = self.dice.randrange(12)
        if kind == 0:
            return self.dice.choice(NOT_JSON) if self.dice.random() < 0.3 else "null"
        if kind < 3:
            return self.dice.choice(["true", "false", "null"])
        if kind < 6:
            return self.dice.choice(NUMBERS)
        return self.string(self.dice.choice(WORDS))

    def value(self, depth: int = 0) -> str:
        kind = self.dice.randrange(8)
        if depth < 4 and kind == 0:
            return "[" + ", ".join(self.value(depth + 1) for _ in range(self.dice.randrange(4))) + "]"
        return self.object(depth + 1) if depth < 4 and kind == 1 else self.scalar()

    def space(self) -> str:
        return self.dice.choice(["", "", "", "", "", "", " ", " ", "  ", "\t"])

    def object(self, depth: int = 0) -> str:
        members = []
        for _ in range(self.dice.randrange(6)):
            colon = (self.space() if self.dice.random() < 0.1 else "") + ":" + self.space()
            members.append(self.string(self.dice.choice(ALL_KEYS)) + colon + self.value(depth))
        trailing = "," if members and self.dice.random() < 0.05 else ""
        return "{" + self.dice.choice([",", ", "]).join(members) + trailing + "}"

    def nearly_regular(self) -> str:
        """A regular event with a few values exchanged, keys added or repeated."""
        event = json.loads(json.dumps(EVENT))
        marks = {}
        for at in range(self.dice.choice([0, 1, 1, 2, 4])):
            parent = self.dice.choice([event, event, event["user"], event["request"], event["metadata"]])
            if not isinstance(parent, dict):
                continue
            key = self.dice.choice([*parent, *parent, *parent, self.dice.choice(ALL_KEYS)])
            marks[f'"@@{at}@@"'] = key
            parent[key] = f"@@{at}@@"
            if not isinstance(event["user"], dict) or not isinstance(event["request"], dict):
                break
        text = json.dumps(
            event,
            separators=self.dice.choice([(",", ":"), (", ", ": ")]),
            ensure_ascii=self.dice.random() < 0.5,
        )
        for mark, key in marks.items():
            again = f"{self.value()},{json.dumps(key)}:" if self.dice.random() < 0.2 else ""
            text = text.replace(mark, again + self.value())
        return text

    def line(self) -> bytes:
        kind = self.dice.randrange(10)
        text = self.object() if kind < 3 else self.scalar() if kind == 3 else self.nearly_regular()
        line = text.replace("\n", " ").encode("utf-8", "surrogatepass")
        if self.dice.random() < 0.03 and line:  # one byte of it broken
            at = self.dice.randrange(len(line))
            line = line[:at] + self.dice.choice([b"\xff", b"\x00", b"", b'"', b"}", b"\\"]) + line[at + 1 :]
        return line + self.dice.choice([b"", b"", b"\r", b" ", b"  \r"])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32))
def test_both_paths_read_a_line_alike(transformer: Transformer, seed: int) -> None:
    """Whatever the fast path is sure of is exactly what the slow path says, and everything else went there."""
    speller = Speller(Random(seed))
    lines = [speller.line() for _ in range(60)]
    parsed = transformer.parse([chunk(b"\n".join(lines) + b"\n")])
    assert parsed.events.schema.equals(PARSED_SCHEMA)
    assert all(counts.balanced for counts in parsed.counts)
    fast, slow = comparable(parsed.events.to_pylist()), comparable(slowly(lines))
    assert [row["source_offset"] for row in fast] == [row["source_offset"] for row in slow]
    for left, right in zip(fast, slow, strict=True):
        assert left == right, {k: (v, right[k]) for k, v in left.items() if v != right[k]}


def test_regular_lines_never_go_the_slow_path(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application's everyday lines are read by the batch: reading one alone would raise here."""

    def refuse(*args: object) -> None:
        raise AssertionError(args)

    monkeypatch.setattr("storage.transform.read_with", refuse)
    lines = [{**EVENT, "shard": n, "user": None if n % 3 else EVENT["user"]} for n in range(500)]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    parsed = transformer.parse([chunk(data)])
    assert parsed.events.num_rows == 500
    assert parsed.events.column("extra").to_pylist()[:3] == ['{"shard":0}', '{"shard":1}', '{"shard":2}']
