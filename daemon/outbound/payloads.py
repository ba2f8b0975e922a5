"""What each kind of receiver is sent: pure functions from a message to a request. Nothing here does I/O.

Everything that came from an event (titles, values, descriptions) is data: it is escaped for the receiver's own markup,
stripped of control characters and bounded. Formats: Standard Webhooks 1.0, Slack Block Kit, Adaptive Cards 1.4 in a
Workflows webhook, PagerDuty Events API v2, Alertmanager API v2.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from daemon.outbound.message import Message, rank
from parsers.moments import rfc3339
from parsers.sigma.alert import Alert, alert_json

SHOWN_ALERTS = 10  # of one message for people; Slack takes 50 blocks, of which each alert needs two
TITLE_CHARS = 150  # the most that Slack's header takes
VALUE_CHARS = 200  # of one value of an event: enough for any id or address, too short to flood a channel
TEXT_CHARS = 1000  # of a description or runbook
SUMMARY_CHARS = 1024  # the most that PagerDuty's summary takes
SHOWN_EVIDENCE = 5  # event ids; the rest are in the archive
LABEL = re.compile(r"[^A-Za-z0-9_]")
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
ALERTMANAGER_PATH = "/api/v2/alerts"
SECRET_PREFIX = "whsec_"  # noqa: S105 - how Standard Webhooks marks a key in base64
MARKS = {"firing": "🔥", "acknowledged": "👀", "resolved": "✅", "test": "🔔", "heartbeat": "💓"}


@dataclass(frozen=True, slots=True)
class Target:
    """Where a channel's messages go. ``url`` and ``secret`` may be secret: neither is ever shown."""

    name: str
    url: str = ""
    secret: str = ""
    dashboard: str = ""  # address of our own pages, for links


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP POST: address, headers, JSON body."""

    url: str
    headers: Mapping[str, str]
    body: bytes


Format = Callable[[Message, Target, int], Request]


def plain(text: str, most: int = VALUE_CHARS) -> str:
    """Return text on one line, without control or direction characters, at most so long."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def headline(message: Message) -> str:
    """Return a message in a few words."""
    if message.kind == "test":
        return "Watchkeep: a test message"
    first = message.alerts[0]
    count = len(message.alerts) + message.more
    others = f" and {count - 1} more" if count > 1 else ""
    return plain(f"[{message.kind} · {message.level}] {first.title}{others}", TITLE_CHARS)


def facts(alert: Alert) -> list[tuple[str, str]]:
    """Return what is said of an alert, as names and values."""
    found = [(plain(field), plain(value)) for field, value in alert.group]
    found += [
        ("level", alert.level),
        ("state", alert.state),
        ("events", str(alert.count)),
        ("first", rfc3339(alert.opened_us)),
        ("last", rfc3339(alert.last_us)),
    ]
    if alert.by:
        found.append(("by", plain(alert.by)))
    if alert.author:  # rules under DRL 1.1 want their author named in alerts
        found.append(("rule by", plain(alert.author)))
    if alert.runbook:
        found.append(("runbook", plain(alert.runbook)))
    if alert.evidence:
        found.append(("evidence", ", ".join(plain(one) for one in alert.evidence[:SHOWN_EVIDENCE])))
    return found


def _json(url: str, body: Any, headers: Mapping[str, str] | None = None) -> Request:
    return Request(url, {"Content-Type": "application/json", **(headers or {})}, orjson.dumps(body))


# Webhooks


def _whole(alert: Alert) -> dict[str, Any]:
    """Return an alert as the API shows it, nothing escaped but as JSON, its group as a mapping."""
    return {**alert_json(alert), "group": dict(alert.group)}


def signing_key(secret: str) -> bytes:
    """Return the bytes of a secret: base64 after ``whsec_`` as in Standard Webhooks, otherwise as they are."""
    if secret.startswith(SECRET_PREFIX):
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return secret.encode()


def signature(secret: str, key: str, seconds: int, body: bytes) -> str:
    """Return `webhook-signature` of Standard Webhooks: HMAC-SHA256 over id, timestamp and body."""
    signed = f"{key}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(signing_key(secret), signed, hashlib.sha256)).decode()


def webhook(message: Message, target: Target, now_us: int) -> Request:
    """Return a Standard Webhooks request; its timestamp is the attempt's, its id the message's."""
    body = orjson.dumps(
        {
            "type": "heartbeat" if message.kind == "heartbeat" else f"alert.{message.kind}",
            "timestamp": rfc3339(message.at_us),
            "data": {
                "key": message.key,
                "repeat": message.repeat,
                "more": message.more,
                "alerts": [_whole(alert) for alert in message.alerts],
            },
        }
    )
    seconds = now_us // 1_000_000
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.key,
        "webhook-timestamp": str(seconds),
    }
    if target.secret:
        headers["webhook-signature"] = signature(target.secret, message.key, seconds, body)
    return Request(target.url, headers, body)


# For people


def _slack_text(text: str) -> dict[str, Any]:
    # `plain_text` knows no links, mentions or formatting, so nothing can be injected; emoji codes stay text as well.
    return {"type": "plain_text", "text": text or "–", "emoji": False}  # noqa: RUF001 - a dash for nothing


def _slack_escaped(text: str) -> str:
    """Escape what Slack parses even in the notification's text: mentions, links, channels."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def slack(message: Message, target: Target, _now_us: int) -> Request:
    """Return an incoming webhook's request; every text of an event is `plain_text`."""
    title = headline(message)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _slack_text(plain(f"{MARKS[message.kind]} {title}", TITLE_CHARS))}
    ]
    for alert in message.alerts[:SHOWN_ALERTS]:
        lines = [plain(alert.title, TITLE_CHARS), plain(alert.description, TEXT_CHARS)]
        lines += [f"{name}: {value}" for name, value in facts(alert)]
        text = "\n".join(line for line in lines if line)
        blocks.append({"type": "section", "text": _slack_text(text[:2900])})  # Slack's bound is 3000
    rest = _rest(message)
    if rest:
        blocks.append({"type": "context", "elements": [_slack_text(rest)]})
    body = {
        "text": _slack_escaped(title),
        "blocks": blocks,
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }
    return _json(target.url, body)


def _rest(message: Message) -> str:
    left = len(message.alerts) - SHOWN_ALERTS
    count = max(0, left) + message.more
    return f"{count} more: see `watchkeep alerts` or the dashboard" if count else ""


_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~])")


def _card_text(text: str, **more: Any) -> dict[str, Any]:
    # A TextBlock knows some Markdown. Its characters are escaped: a link in a value must not become one.
    return {"type": "TextBlock", "text": _MARKDOWN.sub(r"\\\1", text), "wrap": True, **more}


def teams(message: Message, target: Target, _now_us: int) -> Request:
    """Return a Workflows webhook's request with one Adaptive Card."""
    title = plain(f"{MARKS[message.kind]} {headline(message)}", TITLE_CHARS)
    body: list[dict[str, Any]] = [_card_text(title, weight="Bolder", size="Medium")]
    for alert in message.alerts[:SHOWN_ALERTS]:
        body.append(_card_text(plain(alert.title, TITLE_CHARS), weight="Bolder", separator=True))
        if alert.description:
            body.append(_card_text(plain(alert.description, TEXT_CHARS)))
        rows = [{"title": name, "value": _MARKDOWN.sub(r"\\\1", value)} for name, value in facts(alert)]
        body.append({"type": "FactSet", "facts": rows})
    rest = _rest(message)
    if rest:
        body.append(_card_text(rest, isSubtle=True))
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    content = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return _json(target.url, {"type": "message", "attachments": [content]})


# For machines that tell people

_SEVERITY = ("info", "info", "warning", "error", "critical")
_EVENT_ACTION = {
    "firing": "trigger",
    "acknowledged": "acknowledge",
    "resolved": "resolve",
    "test": "trigger",
    "heartbeat": "trigger",
}


def pagerduty(message: Message, target: Target, _now_us: int) -> Request:
    """Return an Events API v2 request for the one alert of the message; the alert's id is its `dedup_key`."""
    alert = message.alerts[0]
    body: dict[str, Any] = {
        "routing_key": target.secret,
        "event_action": _EVENT_ACTION[message.kind],
        "dedup_key": alert.id,
        "client": "Watchkeep",
    }
    if body["event_action"] == "trigger":
        body["payload"] = {
            "summary": plain(
                f"{alert.title}: {_group(alert)}" if alert.group else alert.title, SUMMARY_CHARS
            ),
            "source": plain(_group(alert) or "watchkeep"),
            "severity": _SEVERITY[rank(alert.level)],
            "timestamp": rfc3339(alert.opened_us),
            "class": plain(alert.rule_id),
            "custom_details": dict(facts(alert)),
        }
    if target.dashboard:
        body["client_url"] = target.dashboard
    return _json(target.url or PAGERDUTY_URL, body)


def _group(alert: Alert) -> str:
    return ", ".join(f"{field}={value}" for field, value in alert.group)


def alertmanager(message: Message, target: Target, _now_us: int) -> Request:
    """Return a push to Alertmanager's API v2. One that fires ends by itself unless it is told again in time."""
    pushed = []
    for alert in message.alerts:
        labels = {"alertname": plain(alert.title), "severity": alert.level, "rule_id": alert.rule_id}
        for field, value in alert.group:
            labels.setdefault(_label(field), plain(value))
        ends = alert.changed_us or alert.last_us if alert.state == "resolved" else message.until_us
        entry: dict[str, Any] = {
            # Alertmanager takes the labels as the alert's identity; an empty value would mean no label.
            "labels": {name: value for name, value in labels.items() if value},
            "annotations": {"summary": plain(alert.title), **{_label(k): v for k, v in facts(alert)}},
            "startsAt": rfc3339(alert.opened_us),
        }
        if ends > alert.opened_us:
            entry["endsAt"] = rfc3339(ends)
        if target.dashboard:
            entry["generatorURL"] = target.dashboard
        pushed.append(entry)
    return _json(target.url.rstrip("/") + ALERTMANAGER_PATH, pushed)


def _label(field: str) -> str:
    """Return a label's name as Prometheus allows it."""
    name = LABEL.sub("_", field)
    return name if name and not name[0].isdigit() else f"_{name}"


def text_lines(message: Message) -> Sequence[str]:
    """Return a message as plain lines, for e-mail and whatever Apprise reaches."""
    lines: list[str] = []
    if message.kind == "test":
        lines += ["This is a test: somebody asked whether messages arrive.", ""]
    for alert in message.alerts[:SHOWN_ALERTS]:
        lines.append(plain(alert.title, TITLE_CHARS))
        if alert.description:
            lines.append(plain(alert.description, TEXT_CHARS))
        lines += [f"  {name}: {value}" for name, value in facts(alert)]
        lines.append("")
    rest = _rest(message)
    return [*lines, rest] if rest else lines
