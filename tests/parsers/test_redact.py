"""Secrets are found by key and by shape, in a batch as in one text; what only looks like one stays."""

from __future__ import annotations

import json
import time
from collections import Counter

import pyarrow as pa
import pytest

from parsers.columns import PARSED_SCHEMA
from parsers.redact import REDACTED, RULES, RedactionOptions, Redactor, luhn, redact_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"

SECRETS = [
    ("bearer", "sent Authorization with Bearer abcdefgh12345678 to it", "abcdefgh12345678"),
    ("jwt", f"token was {JWT}!", JWT),
    ("aws", "AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
    ("github", "pushed with ghp_" + "a1B2" * 9, "a1B2a1B2"),
    ("slack", "posted with xoxb-123456789012-abcdefABCDEF", "abcdefABCDEF"),
    ("pem", "-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END RSA PRIVATE KEY-----", "MIIEabc"),
    ("url", "cloned https://bob:hunter2@example.org/x", "hunter2"),
    ("card", "paid with 4111 1111 1111 1111 today", "4111 1111"),
    ("card", "paid with 378282246310005", "378282246310005"),
    ("assignment", "GET /x?access_token=s3cr3t&page=2", "s3cr3t"),
    ("assignment", "started with --password=s3cr3t ok", "s3cr3t"),
]


def column(name: str, *values: str | None) -> pa.Table:
    arrays = [
        pa.array(values, field.type) if field.name == name else pa.nulls(len(values), field.type)
        for field in PARSED_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=PARSED_SCHEMA)


def in_batch(name: str, *values: str | None) -> tuple[list[str | None], Counter[str]]:
    hits = Counter[str]()
    table = Redactor(RedactionOptions()).table(column(name, *values), hits)
    return table.column(name).to_pylist(), hits


@pytest.mark.parametrize(("rule", "text", "secret"), SECRETS)
@pytest.mark.parametrize("place", ["description", "path", "user_agent", "metadata", "raw"])
def test_a_secret_is_replaced_wherever_text_may_stand(rule, text, secret, place):
    """In a text column, in JSON, and in a rejected line; counted once under its rule."""
    clean = "nothing here" if place != "metadata" else '{"a":"nothing here"}'
    if place == "raw":
        hits = Counter[str]()
        found = Redactor(RedactionOptions()).raw(text.encode() + b"\xff\x00", hits).decode("latin-1")
        assert found.endswith("\xff\x00")
    else:
        value = json.dumps({"note": text}) if place == "metadata" else text
        rows, hits = in_batch(place, *[clean] * 200, value, None, clean)
        assert rows[:200] == [clean] * 200
        assert rows[201:] == [None, clean]
        found = rows[200] or ""
        if place == "metadata":
            json.loads(found)
    assert secret not in found
    assert REDACTED in found
    assert +hits == Counter({rule: 1})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"password":"a\\"b"}', '{"password":"[redacted]"}'),
        (
            '{"a":[{"refreshToken":"x"}],"X-Api-Key":"k"}',
            '{"a":[{"refreshToken":"[redacted]"}],"X-Api-Key":"[redacted]"}',
        ),
        ('{"set-cookie":["a=b","c=d"],"n":1.50}', '{"set-cookie":"[redacted]","n":1.5}'),
        ('{"token":12345,"credentials":{"user":"u"}}', '{"token":"[redacted]","credentials":"[redacted]"}'),
        ('{"body":"{\\"password\\":\\"x\\"}"}', '{"body":"{\\"password\\":\\"[redacted]\\"}"}'),
        (
            '{"password_hash":"x","new_password2":"y"}',
            '{"password_hash":"[redacted]","new_password2":"[redacted]"}',
        ),
    ],
)
def test_a_key_gives_its_value_away_at_any_depth(before, after):
    """Strings, numbers, lists and objects; JSON inside a string too."""
    rows, hits = in_batch("metadata", before)
    assert rows == [after]
    assert hits["key"] == after.count(REDACTED)
    assert in_batch("metadata", after)[0] == [after]  # twice is as good as once


@pytest.mark.parametrize(
    "text",
    [
        '{"tokenCount":5,"token_type":"jwt","passwordChanged":true,"cookie":null,"secretary":"Ann"}',
        '{"sessionId":"abc","username":"ann","email":"ann@example.org","id":"4111111111111112"}',
        '{"order":4111111111111111,"at":1795428000123456789}',
        '{"url":"https://example.org:8080/a@b","monkey":"x","keys":["a"]}',
        '{"uuid":"78e51061-7311-48a3-82ce-6f447ed4d57b","note":"a basic idea, the bearer of news"}',
    ],
)
def test_what_only_looks_like_a_secret_stays(text):
    """Counters, booleans, ids, addresses and words: redaction must not destroy a log."""
    assert in_batch("metadata", text) == ([text], Counter())
    if "4111111111111111" not in text:  # in JSON a number, in plain text a card
        assert in_batch("description", text) == ([text], Counter())


def test_rules_and_keys_can_be_chosen():
    """A rule that is off finds nothing; a key that is added counts."""
    hits = Counter[str]()
    only = Redactor(RedactionOptions(keys=("pet name",), rules=("key",)))
    table = only.table(column("metadata", f'{{"petName":"Rex","password":"x","note":"{JWT}"}}'), hits)
    assert table.column("metadata").to_pylist() == [
        f'{{"petName":"[redacted]","password":"x","note":"{JWT}"}}'
    ]
    with pytest.raises(ValueError, match="no such redaction rule: cards"):
        Redactor(RedactionOptions(rules=("cards",)))
    assert {rule for rule, _, _ in SECRETS} | {"key"} == set(RULES)


def test_a_line_of_a_log_is_redacted_as_text():
    """The page of raw lines shows what the archive would hold."""
    assert (
        redact_text('{"a":1, "password": "x", "token": 5}')
        == '{"a":1, "password": "[redacted]", "token": "[redacted]"}'
    )
    assert redact_text('{"cookies": {"sid": "x"}}') == '{"cookies":"[redacted]"}'


def test_card_numbers_need_their_check_digit():
    """One digit off is no card."""
    assert luhn("4111111111111111")
    assert not luhn("4111111111111112")


@pytest.mark.parametrize(
    "text",
    [
        '"' * 60_000,
        "a" * 60_000,
        '"password' * 7_000,
        "4" * 60_000,
        "https://" * 8_000,
        "bearer " * 9_000,
        "[" * 60_000,
    ],
)
def test_hostile_text_takes_no_longer_than_it_is_long(text):
    """Patterns are linear: no text of a reject's size keeps the daemon busy."""
    began = time.process_time()
    redact_text(text)
    assert time.process_time() - began < 10  # milliseconds when it is linear, minutes when it is not
