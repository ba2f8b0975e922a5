"""What each kind of receiver is sent: whole, in its format, and nothing of an event is more than data."""

from __future__ import annotations

import email
import email.policy
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import validate

from daemon.outbound import payloads
from daemon.outbound.channels import CHANNEL_TYPES
from daemon.outbound.letters import letter
from daemon.outbound.message import Message
from daemon.outbound.payloads import Target
from tests.daemon.alerting import START, alert, verified

TARGET = Target("ops", "https://receiver.example/hook", "s3cret", "http://127.0.0.1:8710")
TYPES = {"opened_us": START}

# postableAlerts of Alertmanager's OpenAPI, spelled as JSON Schema.
POSTABLE_ALERTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["labels"],
        "properties": {
            "labels": {
                "type": "object",
                "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
                "additionalProperties": {"type": "string", "minLength": 1},
                "required": ["alertname"],
            },
            "annotations": {
                "type": "object",
                "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
                "additionalProperties": {"type": "string"},
            },
            "startsAt": {"type": "string", "format": "date-time"},
            "endsAt": {"type": "string", "format": "date-time"},
            "generatorURL": {"type": "string", "format": "uri"},
        },
        "additionalProperties": False,
    },
}


def message(*alerts, kind="firing", **more):
    return Message("key-1", "ops", "g", kind, alerts, START, START + 1_000_000, **more)


def body(name, given_message, target=TARGET):
    import orjson

    form = CHANNEL_TYPES[name].format
    assert form is not None
    return orjson.loads(form(given_message, target, START).body)


def test_a_webhook_is_signed_as_the_standard_says():
    """The receiver checks id, time and body with the shared key; a repeated message has the same id."""
    request = payloads.webhook(message(alert()), TARGET, START)
    assert request.headers["webhook-id"] == "key-1"
    assert verified(dict(request.headers), request.body, b"s3cret")
    assert not verified(dict(request.headers), request.body + b" ", b"s3cret")


def test_a_secret_in_base64_is_the_bytes_it_stands_for():
    """`whsec_` as Standard Webhooks' tools make them."""
    target = Target("ops", TARGET.url, "whsec_AAECAwQFBgcICQ==")
    request = payloads.webhook(message(alert()), target, START)
    assert verified(dict(request.headers), request.body, bytes(range(10)))


def test_a_webhook_gets_values_whole_and_unchanged():
    """A machine reads them: JSON escapes what must be."""
    name = 'x" <b>\n&' + "y" * 5000
    found = body("webhook", message(alert(title=name, group=(("user.id", name),))))
    assert found["data"]["alerts"][0]["title"] == name
    assert found["data"]["alerts"][0]["group"] == {"user.id": name}


HOSTILE = st.text(max_size=400) | st.sampled_from(
    [
        "<!channel> <@U1>",
        "*b* _i_ `c`",
        "[x](https://evil.example)",
        "<https://evil.example|x>",
        "\u202egnp.exe",
        "\r\nBcc: x@y",
    ]
)


@given(HOSTILE, HOSTILE)
def test_nothing_of_an_event_is_markup_for_slack(title, value):
    """Every text is `plain_text`; only the notification's one-liner is parsed, and there the three signs are escaped."""
    found = body("slack", message(alert(title=title, description=value, group=(("user.id", value),))))
    for block in found["blocks"]:
        assert block["text"]["type"] == "plain_text"
        assert block["text"]["emoji"] is False
        assert 0 < len(block["text"]["text"]) <= 3000
    assert len(found["blocks"][0]["text"]["text"]) <= 150
    assert "<" not in found["text"]
    assert ">" not in found["text"]
    assert found["mrkdwn"] is False


@given(HOSTILE, HOSTILE)
def test_nothing_of_an_event_is_markup_for_teams(title, value):
    """No unescaped bracket, star or backtick stands in a card."""
    found = body("teams", message(alert(title=title, description=value, group=(("user.id", value),))))
    card = found["attachments"][0]["content"]
    assert (found["type"], card["type"]) == ("message", "AdaptiveCard")
    texts = [block["text"] for block in card["body"] if block["type"] == "TextBlock"]
    texts += [row["value"] for block in card["body"] if block["type"] == "FactSet" for row in block["facts"]]
    for text in texts:
        bare = text
        while "\\" in bare:
            before, _, after = bare.partition("\\")
            bare = before + after[1:]
        assert not set(bare) & set("[]()*_`<>!"), text


@given(HOSTILE, HOSTILE)
def test_nothing_of_an_event_is_a_header_or_markup_in_a_letter(title, value):
    """No header can be added; the HTML shows tags as text."""
    mail = letter(
        message(alert(title=title, description=value, group=(("user.id", value),))),
        "watchkeep@example.org",
        ("ops@example.org",),
    )
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert read["Bcc"] is None
    assert read["Message-ID"] == "<key-1@watchkeep.invalid>"
    part = read.get_body(("html",))
    assert part is not None
    page = part.get_content()
    tags = {piece.split(">")[0].strip("/ \n").lower() for piece in page.split("<")[1:]}
    assert tags <= {"!doctype html", "html", "body", "h3", "pre"}


@given(HOSTILE, HOSTILE, st.text(max_size=30))
def test_alertmanager_gets_what_its_interface_allows(title, value, field):
    """Label names are Prometheus's, no value is empty, times are RFC 3339, the address is its own."""
    form = payloads.alertmanager
    request = form(
        message(alert(title=title or "t", group=((field, value),))), Target("am", "http://am:9093/"), START
    )
    import orjson

    found = orjson.loads(request.body)
    if not payloads.plain(title or "t"):
        return  # a title of nothing but spaces is no label
    validate(found, POSTABLE_ALERTS)
    assert request.url == "http://am:9093/api/v2/alerts"
    assert datetime.fromisoformat(found[0]["endsAt"]) > datetime.fromisoformat(found[0]["startsAt"])


def test_alertmanager_hears_of_the_end():
    """An alert that is over has its end in the past; the labels are the same, and so is the alert."""
    over = alert(state="resolved", changed_us=START + 5_000_000)
    [fires], [ends] = (
        body("alertmanager", message(alert())),
        body("alertmanager", message(over, kind="resolved")),
    )
    assert fires["labels"] == ends["labels"]
    assert datetime.fromisoformat(ends["endsAt"]).timestamp() == (START + 5_000_000) / 1e6


@pytest.mark.parametrize(
    ("kind", "action"),
    [("firing", "trigger"), ("acknowledged", "acknowledge"), ("resolved", "resolve")],
)
def test_pagerduty_follows_one_incident_by_the_alerts_id(kind, action):
    """Events API v2: the same `dedup_key` from trigger to resolve, the routing key in the body alone."""
    found = body("pagerduty", message(alert(), kind=kind), Target("pager", "", "R" * 32))
    assert (found["event_action"], found["dedup_key"], found["routing_key"]) == (action, "a1", "R" * 32)
    if action == "trigger":
        assert found["payload"]["severity"] == "error"
        assert len(found["payload"]["summary"]) <= 1024


@pytest.mark.parametrize("name", ["slack", "teams"])
def test_people_are_told_how_many_more_there_are(name):
    """Ten in full, the rest as a number."""
    many = [alert(f"a{n}") for n in range(20)]
    assert "37 more" in str(body(name, message(*many, more=27)))
