"""Chunks become rows: every line of a mixed file is accounted for, in order, with a reason where it is no event."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from parsers.batch import Chunk, Counts, Mark, Oversize, Parsed, Place, Source
from parsers.cases import EVENTS, REJECTS, Case
from parsers.columns import PARSED_REJECT_SCHEMA, PARSED_SCHEMA
from parsers.redact import REDACTED, RedactionOptions
from storage.transform import ParseOptions, Transformer

DAY_US = 1_763_596_800_000_000  # 2025-11-20
NATIVE = {
    "eventId": "e1",
    "timestamp": "2025-11-20T10:00:00Z",
    "level": "info",
    "category": "api",
    "action": "read",
    "user": {"id": 1, "username": "ann"},
    "request": {"method": "GET", "path": "/x", "ip": "192.0.2.7", "statusCode": 200, "responseTime": 12.5},
    "metadata": {"browser": "firefox"},
    "riskScore": 4,
}


def source(profile: str = "auto", sid: str = "ab" * 16, *, internal: bool = False) -> Source:
    return Source(sid, "app-2025-11-20.jsonl", DAY_US + 5, DAY_US, profile, internal)


def chunk(data: bytes, start: int = 0, of: Source | None = None, **more: Any) -> Chunk:
    end = more.pop("end", start + len(data))
    mark, place = Mark("", 0, "", 0, "", 0), Place("/log/app.jsonl", 1, 2, None, end)
    return Chunk(of or source(), start, end, data, mark, place, **more)


def lines(*values: dict[str, Any] | bytes) -> bytes:
    return b"".join((v if isinstance(v, bytes) else json.dumps(v).encode()) + b"\n" for v in values)


@pytest.fixture
def transformer() -> Iterator[Transformer]:
    made = Transformer(ParseOptions(node="n1"))
    yield made
    made.close()


def values(parsed: Parsed, column: str) -> list[Any]:
    return parsed.events.column(column).to_pylist()


def only(parsed: Parsed) -> dict[str, Any]:
    rows = parsed.events.to_pylist()
    assert len(rows) == 1
    row: dict[str, Any] = rows[0]
    return row


def test_a_regular_line_fills_its_columns(transformer: Transformer) -> None:
    """The API's object, flat: ids as text, times in UTC, the address also as bytes, the outcome derived."""
    parsed = transformer.parse([chunk(lines(NATIVE))])
    assert parsed.events.schema.equals(PARSED_SCHEMA)
    row = only(parsed)
    expected = {
        "event_id": "e1",
        "timestamp": datetime(2025, 11, 20, 10, tzinfo=UTC),
        "user_id": "1",
        "username": "ann",
        "status_code": 200,
        "response_time_ms": 12.5,
        "ip": "192.0.2.7",
        "ip_bytes": bytes(10) + b"\xff\xff\xc0\x00\x02\x07",
        "metadata": '{"browser":"firefox"}',
        "risk_score": 4,
        "risk_score_reported": 4.0,
        "outcome": "success",
        "node": "n1",
        "parser": "native",
        "source": "ab" * 16,
        "source_offset": 0,
        "retention_class": "default",
        "internal": False,
        "flags": None,
        "extra": None,
    }
    assert {name: row[name] for name in expected} == expected


def test_a_mixed_file_adds_up(transformer: Transformer) -> None:
    """Good lines are events; each bad one is a reject with its offset, length, hash and a reason for people."""
    data, offsets = b"", {}
    for number, case in enumerate(REJECTS):
        data += lines({**NATIVE, "eventId": f"e{number}"})
        offsets[case.line] = len(data)
        data += case.line + b"\n"
        data += b"\r\n" if number % 5 == 0 else b""
    parsed = transformer.parse([chunk(data)])
    blanks = sum(number % 5 == 0 for number in range(len(REJECTS)))
    bad = len(REJECTS)
    assert parsed.counts == (Counts(lines=2 * bad + blanks, events=bad, rejects=bad, blanks=blanks),)
    assert parsed.counts[0].balanced
    assert parsed.events.column("event_id").to_pylist() == [f"e{number}" for number in range(bad)]
    assert parsed.rejects.schema.equals(PARSED_REJECT_SCHEMA)
    assert [
        (r["source_offset"], r["reason"], r["raw"], r["length"], r["sha256"])
        for r in parsed.rejects.to_pylist()
    ] == [
        (offsets[c.line], c.reason, c.line, len(c.line), hashlib.sha256(c.line).hexdigest()) for c in REJECTS
    ]


@pytest.mark.parametrize("case", EVENTS, ids=[case.what for case in EVENTS])
def test_an_odd_line_has_its_documented_outcome(transformer: Transformer, case: Case) -> None:
    """Alone and among regular lines, whatever path it takes."""
    missing = b"".join(
        b'"%s":%s,' % (key, value)
        for key, value in (
            (b"eventId", b'"e"'),
            (b"timestamp", b'"2025-11-20T10:00:00Z"'),
            (b"level", b'"info"'),
        )
        if b'"%s"' % key not in case.line
    )
    at = case.line.index(b"{") + 1
    full = case.line[:at] + missing + case.line[at:]
    regular = lines(*[NATIVE] * 3)
    for data in (full + b"\n", regular + full + b"\n" + regular):
        rows = transformer.parse([chunk(data)]).events.to_pylist()
        row = rows[len(rows) // 2]
        found = {name: row[name] for name in case.columns}
        if found.get("extra") is not None:
            found["extra"] = json.loads(found["extra"])
        if "timestamp" in found:
            found["timestamp"] = found["timestamp"].isoformat()
        assert found == case.columns


def test_a_missing_id_is_derived_from_source_and_offset(transformer: Transformer) -> None:
    """Reading the same bytes again gives the same id; other offsets and sources give others; ids sort by time."""
    line = {**NATIVE, "eventId": None}
    data = lines(line, line, {**line, "timestamp": "2025-11-20T10:00:01Z"})
    first = values(transformer.parse([chunk(data)]), "event_id")
    again = transformer.parse([chunk(lines(line), 0), chunk(data[len(lines(line)) :], len(lines(line)))])
    other = values(transformer.parse([chunk(data, of=source(sid="cd" * 16))]), "event_id")
    assert first == values(again, "event_id")
    assert len({*first, *other}) == 6
    assert max(first[:2]) < first[2]
    assert all(len(one) == 36 and one[14] == "7" and one[19] in "89ab" for one in first)


def test_equal_lines_are_as_many_rows(transformer: Transformer) -> None:
    """A line is told from another by its position alone: a thousand equal ones are a thousand events."""
    parsed = transformer.parse([chunk(lines(NATIVE) * 1000)])
    assert parsed.counts[0].events == parsed.events.num_rows == 1000
    assert len(set(values(parsed, "source_offset"))) == 1000
    assert set(values(parsed, "event_id")) == {"e1"}


def test_a_byte_order_mark_and_carriage_returns_belong_to_no_line(transformer: Transformer) -> None:
    """The first line begins after the mark; CRLF ends a line like LF."""
    data = b"\xef\xbb\xbf" + lines(NATIVE).replace(b"\n", b"\r\n") + lines(NATIVE)
    parsed = transformer.parse([chunk(data)])
    assert parsed.events.column("source_offset").to_pylist() == [3, data.index(b"\n") + 1]
    later = transformer.parse([chunk(b"\xef\xbb\xbf" + lines(NATIVE), 100)])
    assert later.counts[0].rejects == 1  # in the middle of a file it is no mark


def test_lines_without_an_end_are_events_when_they_are_whole(transformer: Transformer) -> None:
    """A finished file may lack its last newline: a whole event counts as one, half of one is torn."""
    whole = transformer.parse([chunk(lines(NATIVE) + json.dumps(NATIVE).encode(), torn=True)])
    half = transformer.parse([chunk(lines(NATIVE) + b'{"eventId":"x', torn=True)])
    assert whole.counts == (Counts(lines=2, events=2),)
    assert whole.events.column("flags").to_pylist() == [None, ["torn"]]
    assert half.counts == (Counts(lines=2, events=1, torn=1),)
    assert str(half.rejects.column("reason")[0]).startswith("The file ended inside this line")


def test_oversize_lines_and_holes_are_counted_and_kept_in_part(transformer: Transformer) -> None:
    """A line beyond the limit leaves its beginning, length and hash; a hole of NUL bytes leaves its count."""
    big = Oversize(50, 1 << 30, "ff" * 32, b'{"password":"hunter2","a":"' + b"x" * 100_000)
    chunks = [
        chunk(lines(NATIVE)),
        chunk(b"", 50, end=50 + (1 << 30) + 1, oversize=(big,)),
        chunk(b"", 2_000_000_000, end=2_000_004_096, nul_bytes=4096),
        chunk(lines(NATIVE), 3_000_000_000),
    ]
    parsed = transformer.parse(chunks)
    assert parsed.counts == (
        Counts(lines=1, events=1),
        Counts(lines=1, oversize=1),
        Counts(lines=1, nul=1),
        Counts(lines=1, events=1),
    )
    (row,) = parsed.rejects.to_pylist()
    assert (row["source_offset"], row["length"], row["sha256"]) == (50, 1 << 30, "ff" * 32)
    assert "longer than the limit" in row["reason"]
    assert len(row["raw"]) == 64 * 1024
    assert row["raw"].startswith(b'{"password":"[redacted]"')


def test_chunks_of_several_sources_keep_their_order_and_origin(transformer: Transformer) -> None:
    """Rows come in the order of the chunks, whatever their profiles, each with its own source."""
    flat = {
        "event_id": "f",
        "timestamp": "2025-11-20T10:00:00Z",
        "level": "WARN",
        "user_id": 3,
        "ip_address": "::1",
    }
    prefixed = (
        b"2025-11-20 10:00:00,123 | ERROR | " + json.dumps({**flat, "event_id": "p", "level": None}).encode()
    )
    verifywise = (
        b"2025-11-20T10:00:00Z [info]: 7, 2025-11-20T10:00:00Z, error, could not save a, b, saveX, x.ctrl.ts"
    )
    chunks = [
        chunk(lines(flat, {**flat, "event_id": "g"}), of=source(sid="1" * 32)),
        chunk(lines(NATIVE), of=source(sid="2" * 32, internal=True)),
        chunk(lines(prefixed), of=source(sid="3" * 32)),
        chunk(lines(verifywise, b"no shape"), of=source(sid="4" * 32)),
        chunk(lines({**flat, "event_id": "h"}), 500, of=source(sid="1" * 32)),
    ]
    parsed = transformer.parse(chunks)
    rows = parsed.events.to_pylist()
    assert [(r["source"][0], r["parser"], r["internal"]) for r in rows] == [
        ("1", "flat", False),
        ("1", "flat", False),
        ("2", "native", True),
        ("3", "fastnext", False),
        ("4", "verifywise", False),
        ("1", "flat", False),
    ]
    assert [r["event_id"] for r in rows[:4]] == ["f", "g", "e1", "p"]
    assert [r["level"] for r in rows] == ["warning", "warning", "info", "error", "error", "warning"]
    assert rows[4]["description"] == "could not save a, b"
    assert (rows[4]["outcome"], rows[5]["user_id"], rows[5]["source_offset"]) == ("failure", "3", 500)
    assert [c.events for c in parsed.counts] == [2, 1, 1, 1, 1]
    assert parsed.counts[3].rejects == 1


def test_prefixed_lines_read_alike_fast_and_slow(transformer: Transformer) -> None:
    """`asctime | LEVEL | {json}`: the prefix stands in for what the object lacks, and never hides what it has."""
    full = b'2025-11-20 10:00:00,123 | INFO | {"event_id":"a","timestamp":"2025-11-20T09:00:00","level":"error","x":{"y":"|{"}}'
    bare = b'2025-11-20 10:00:00,123 | WARNING | {"event_id":"b"}'
    parsed = transformer.parse([chunk(lines(*[full] * 20, bare, *[full] * 3), of=source("fastnext"))])
    rows = parsed.events.to_pylist()
    assert len(rows) == 24
    assert {(r["level"], r["timestamp"].hour, r["extra"]) for r in rows if r["event_id"] == "a"} == {
        ("error", 9, '{"x":{"y":"|{"}}')
    }
    (odd,) = [r for r in rows if r["event_id"] == "b"]
    assert (odd["level"], odd["timestamp"]) == (
        "warning",
        datetime(2025, 11, 20, 10, 0, 0, 123_000, tzinfo=UTC),
    )


def test_malformed_lines_do_not_disturb_their_neighbours(transformer: Transformer) -> None:
    """A line that DuckDB refuses costs a second run of the batch, and nothing else."""
    broken = b'{"eventId":"x","level":01}'
    data = lines(*([NATIVE] * 50 + [broken]) * 20)
    for _ in range(2):
        parsed = transformer.parse([chunk(data)])
        assert parsed.counts == (Counts(lines=1020, events=1000, rejects=20),)


def test_a_shape_is_learned_and_known_keys_are_fast_from_then_on(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New keys go the slow path a few times, then they belong to the shape."""
    transformer.parse([chunk(lines(*[NATIVE] * 5))])
    grown = [{**NATIVE, "shard": n, "traceId": "t", "tags": ["a"]} for n in range(10)]
    transformer.parse([chunk(lines(*grown))])

    def refuse(*args: object) -> None:
        raise AssertionError(args)

    monkeypatch.setattr("storage.transform.read_with", refuse)
    rows = transformer.parse([chunk(lines(*grown))]).events.to_pylist()
    assert [(r["extra"], r["trace_id"], r["tags"]) for r in rows][3] == ('{"shard":3}', "t", ["a"])


def test_keys_cannot_reach_the_statement(transformer: Transformer) -> None:
    """Keys come from strangers: quotes and commands in them stay keys."""
    evil = {**NATIVE, "'); DROP TABLE lines; --": 1, "a'b": 2, "Level": 3, "LEVEL": 4, "level ": 5, "": 6}
    for _ in range(5):
        row = transformer.parse([chunk(lines(evil))]).events.to_pylist()[0]
        assert json.loads(row["extra"]) == {k: v for k, v in evil.items() if k not in NATIVE}
        assert row["level"] == "info"


def test_secrets_do_not_get_through_either_path() -> None:
    """Events and rejects are redacted by the same rules; hits are counted by rule."""
    made = Transformer(ParseOptions())
    secret = {
        **NATIVE,
        "metadata": {"password": "hunter2", "tokenCount": 5},
        "description": "Bearer abcdefghijklmnop",
    }
    odd = {**secret, "riskScore": "x", "api_key": "hunter2"}
    parsed = made.parse([chunk(lines(secret, odd, b'{"password":"hunter2"'))])
    made.close()
    text = repr(parsed.events.to_pylist()) + repr(parsed.rejects.to_pylist())
    assert "hunter2" not in text
    assert "abcdefghijklmnop" not in text
    assert parsed.events.column("metadata").to_pylist() == [f'{{"password":"{REDACTED}","tokenCount":5}}'] * 2
    assert parsed.redactions == {"key": 4, "bearer": 2}


def test_redaction_can_be_turned_off() -> None:
    """Then nothing is replaced, and nothing counted."""
    made = Transformer(ParseOptions(redaction=RedactionOptions(enabled=False)))
    parsed = made.parse([chunk(lines({**NATIVE, "metadata": {"password": "hunter2"}}))])
    made.close()
    assert parsed.events.column("metadata").to_pylist() == ['{"password":"hunter2"}']
    assert parsed.redactions == {}


def test_naive_times_are_in_the_configured_zone() -> None:
    """Daylight saving included; the earlier of two equal times is meant when clocks go back."""
    made = Transformer(ParseOptions(timezone="Europe/Berlin"))
    naive = [
        {**NATIVE, "timestamp": time}
        for time in ("2025-11-20T10:00:00", "2025-10-26T02:30:00", "2025-07-01 00:00:00,5")
    ]
    rows = values(made.parse([chunk(lines(*naive))]), "timestamp")
    made.close()
    assert [r.isoformat() for r in rows] == [
        "2025-11-20T09:00:00+00:00",
        "2025-10-26T00:30:00+00:00",
        "2025-06-30T22:00:00.500000+00:00",
    ]


def test_nothing_gives_nothing(transformer: Transformer) -> None:
    """No chunks, or an empty one, are no rows."""
    assert transformer.parse([]).events.num_rows == 0
    parsed = transformer.parse([chunk(b"")])
    assert (parsed.counts, parsed.events.num_rows, parsed.rejects.num_rows) == ((Counts(),), 0, 0)
