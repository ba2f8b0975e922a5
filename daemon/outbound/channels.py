"""The table of channel types: what each needs, how it words a message, and how a message gets there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from daemon.outbound import payloads
from daemon.outbound.payloads import Format

Way = Literal["http", "mail", "apprise"]


@dataclass(frozen=True, slots=True)
class ChannelType:
    """One type of channel.

    ``single``: it takes one alert a message. ``digest``: when too much waits, one message may stand for many; receivers
    that are machines get each. ``open_url``: its address may stand in the file, because it holds no secret.
    """

    name: str
    meaning: str
    way: Way
    format: Format | None
    single: bool = False
    digest: bool = False
    open_url: bool = False
    needs_url: bool = True
    needs_secret: bool = False
    repeats: str = ""  # what becomes of a message that is sent again after a crash


CHANNEL_TYPES: dict[str, ChannelType] = {
    entry.name: entry
    for entry in (
        ChannelType(
            "webhook",
            "JSON as in Standard Webhooks, signed if there is a secret",
            "http",
            payloads.webhook,
            open_url=True,
            repeats="with the same `webhook-id`",
        ),
        ChannelType(
            "slack", "Slack's incoming webhooks", "http", payloads.slack, digest=True, repeats="is seen twice"
        ),
        ChannelType(
            "teams",
            "Adaptive Card to a webhook of Teams' Workflows",
            "http",
            payloads.teams,
            digest=True,
            repeats="is seen twice",
        ),
        ChannelType(
            "pagerduty",
            "PagerDuty Events API v2; the secret is the integration's routing key",
            "http",
            payloads.pagerduty,
            single=True,
            open_url=True,
            needs_url=False,
            needs_secret=True,
            repeats="with the same `dedup_key`: no second incident",
        ),
        ChannelType(
            "alertmanager",
            "Alertmanager's API v2; the address without `/api/v2/alerts`",
            "http",
            payloads.alertmanager,
            open_url=True,
            repeats="with the same labels: no second alert",
        ),
        ChannelType(
            "email",
            "e-mail over SMTP; the secret is the password",
            "mail",
            None,
            digest=True,
            needs_url=False,
            repeats="with the same `Message-ID`; most mailboxes show both",
        ),
        ChannelType(
            "apprise",
            "whatever Apprise reaches (the extra `apprise`); the address is Apprise's",
            "apprise",
            None,
            digest=True,
            repeats="is seen twice",
        ),
    )
}
