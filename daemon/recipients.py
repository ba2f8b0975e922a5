"""The tables of `[alerts]`: channels, routes, inhibitions and sources that must not fall silent.

No secret stands in the file: a channel names a file or a variable that holds it, read when a message is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from daemon.marks import NAME, FilePath, Names, Section, as_tuple, once
from daemon.outbound.channels import CHANNEL_TYPES
from daemon.outbound.matchers import Matcher
from daemon.outbound.mutetimes import MuteTime

# Words under which people would write a secret itself. They get told what to do, and the value is never repeated.
_SECRETS = ("secret", "password", "token", "routing_key", "api_key", "key", "integration_key", "webhook_url")
_WAY_OUT = "a secret may not stand in the file: write {0}_file = a file that holds it, or {0}_env = a variable's name"


def _channel_type(value: str) -> str:
    if value not in CHANNEL_TYPES:
        raise ValueError(f"no channel type is called {value!r}: there are {', '.join(CHANNEL_TYPES)}")
    return value


class AlertChannel(Section):
    """Where alerts are told."""

    name: str = Field(
        pattern=NAME, description="Name of the channel: lower-case letters, digits, `-`, `_`; routes name it."
    )
    type: Annotated[str, AfterValidator(_channel_type)] = Field(
        description=f"What it is: {', '.join(f'`{name}`' for name in CHANNEL_TYPES)}."
    )
    url: str | None = Field(
        default=None,
        description="Address, for those types whose address is no secret (webhook, alertmanager, pagerduty).",
    )
    url_file: Annotated[str | None, FilePath()] = Field(
        default=None, description="File that holds the address."
    )
    url_env: str | None = Field(
        default=None, description="Environment variable of the daemon that holds the address."
    )
    secret_file: Annotated[str | None, FilePath()] = Field(
        default=None,
        description="File that holds the secret: a webhook's signing key, PagerDuty's routing key, a mailbox's password.",
    )
    secret_env: str | None = Field(default=None, description="Environment variable that holds it.")
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=300, description="Longest time that one attempt may take."
    )
    per_minute: int = Field(
        default=30,
        ge=1,
        le=10_000,
        description="Most messages a minute. What comes above that waits; for people it is gathered in one message.",
    )
    host: str | None = Field(default=None, description="email: the mail server.")
    port: int = Field(default=587, ge=1, le=65_535, description="email: its port.")
    tls: str = Field(
        default="starttls",
        pattern="^(starttls|tls|none)$",
        description="email: `starttls`, `tls` (from the first byte, port 465) or `none`.",
    )
    username: str | None = Field(default=None, description="email: who logs in; the secret is the password.")
    sender: str | None = Field(default=None, description="email: the address it comes from.")
    to: Names = Field(default=(), description="email: the addresses it goes to.")

    @model_validator(mode="before")
    @classmethod
    def _no_secret(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        for name in _SECRETS:
            if name in given:
                raise ValueError(f"{name}: " + _WAY_OUT.format("url" if name == "webhook_url" else "secret"))
        kind = CHANNEL_TYPES.get(str(given.get("type")))
        url = given.get("url")
        if url is not None and kind is not None:
            parts = urlsplit(url) if isinstance(url, str) else None
            if not kind.open_url or parts is None or parts.username or parts.password or parts.query:
                raise ValueError("url: this address may hold a secret, and " + _WAY_OUT.format("url"))
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise ValueError("url: it should begin with https:// or http:// and name a host")
        return given

    @model_validator(mode="after")
    def _whole(self) -> AlertChannel:
        kind = CHANNEL_TYPES[self.type]
        for what in ("url", "secret"):
            ways = [name for name in (what, f"{what}_file", f"{what}_env") if getattr(self, name, None)]
            if len(ways) > 1:
                raise ValueError(f"{self.name!r} has {' and '.join(ways)}: give one of them")
            if not ways and getattr(kind, f"needs_{what}"):
                raise ValueError(f"{self.name!r} needs {what}_file or {what}_env")
        if kind.way == "mail":
            lacks = [name for name in ("host", "sender", "to") if not getattr(self, name)]
            if lacks:
                raise ValueError(f"{self.name!r} needs {', '.join(lacks)}")
            if self.username and self.tls == "none":
                raise ValueError(f"{self.name!r} would send its password in the open: use tls")
        return self


def _matchers(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        Matcher.parse(text)  # ValueError says what is wrong with it
    return value


Matchers = Annotated[Names, AfterValidator(_matchers)]


def _mute_times(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        MuteTime.parse(text)  # ValueError says what is wrong with it
    return value


class AlertRoute(Section):
    """Which alerts go to which channels. Routes are tried in their order."""

    match: Matchers = Field(
        default=(),
        description='What an alert must have, all of it: `level="high"`, `rule!="…"`, `user=~"adm.*"`; the fields are `level`, `rule` (id), `title` and those of the rule\'s group. None: every alert.',
    )
    channels: Names = Field(default=(), description="Names of channels. None: the alerts go nowhere.")
    group_by: Names = Field(
        default=("rule",),
        description="Alerts that agree in these fields are told together; `...` tells each alone.",
    )
    group_wait_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="How long the first alert of a group waits for others."
    )
    group_interval_seconds: float = Field(
        default=300.0, ge=1, le=86_400, description="Shortest time between two messages about a group."
    )
    repeat_interval_seconds: float = Field(
        default=14_400.0,
        ge=60,
        le=30 * 86_400,
        description="After so long, alerts that are still open and that nobody acknowledged are told again.",
    )
    go_on: bool = Field(
        default=False,
        description="Whether the routes behind this one are tried too (Alertmanager's `continue`).",
    )
    mute: Annotated[Names, AfterValidator(_mute_times)] = Field(
        default=(),
        description="Times at which nobody is told; what is news is told when they end. Days, hours or both, and a time zone (UTC): `sat,sun`, `mon-fri 18:00-08:00 Europe/Berlin`.",
    )


class AlertInhibition(Section):
    """Open alerts that mute others."""

    source: Matchers = Field(min_length=1, description="The alerts that mute, as in `match` of a route.")
    target: Matchers = Field(min_length=1, description="The alerts that are muted.")
    equal: Names = Field(default=(), description="Fields in which both must agree, and that both must have.")


class QuietSource(Section):
    """Files of which something must come."""

    files: str = Field(
        min_length=1, description="Pattern of file names below their folder, such as `app-*.jsonl`."
    )
    minutes: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="An alert opens when none of them grew for so many minutes. Not set: for twice as long as any silence that began about the same hour of the week in the last four weeks, once two of these are known; after the first week, as any of the last fortnight.",
    )
    level: Literal["low", "medium", "high", "critical"] = Field(
        default="high", description="Level of that alert."
    )


def _distinct(channels: tuple[AlertChannel, ...]) -> tuple[AlertChannel, ...]:
    once([channel.name for channel in channels], "two channels are called")
    return channels


Channels = Annotated[tuple[AlertChannel, ...], BeforeValidator(as_tuple), AfterValidator(_distinct)]
Routes = Annotated[tuple[AlertRoute, ...], BeforeValidator(as_tuple)]
Inhibitions = Annotated[tuple[AlertInhibition, ...], BeforeValidator(as_tuple)]
QuietSources = Annotated[tuple[QuietSource, ...], BeforeValidator(as_tuple)]


def contradictions(
    channels: Sequence[AlertChannel],
    routes: Sequence[AlertRoute],
    receivers: Sequence[str],
    heartbeat: str | None,
) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong between the tables: the key, what, and what to do."""
    types = {channel.name: channel.type for channel in channels}
    known = f"there are {', '.join(types)}" if types else "there is none: add [[alerts.channels]]"
    named = [("alerts.receivers", name) for name in receivers]
    named += [
        (f"alerts.routes #{number} channels", name)
        for number, route in enumerate(routes, 1)
        for name in route.channels
    ]
    if heartbeat is not None:
        named.append(("alerts.heartbeat", heartbeat))
        if types.get(heartbeat, "webhook") != "webhook":
            hint = "name one of type webhook"
            yield "alerts.heartbeat", f"channel {heartbeat!r} is of type {types[heartbeat]}", hint
    for key, name in named:
        if name not in types:
            yield key, f"no channel is called {name!r}", known
