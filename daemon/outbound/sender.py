"""Sends one message over one channel and says what came back. The one place that opens connections to receivers.

Redirects are not followed, answers are read only so far, and nothing that is said repeats an address or a secret.
"""

from __future__ import annotations

import asyncio
import email.utils
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from daemon.outbound.channels import CHANNEL_TYPES, ChannelType
from daemon.outbound.letters import letter
from daemon.outbound.message import Message
from daemon.outbound.payloads import Target, headline, plain, text_lines

if TYPE_CHECKING:
    import aiohttp

ANSWER_BYTES = 4096  # of an answer; enough for the reason, and nobody can fill our memory
SECRET_BYTES = 8192  # of a file with a secret
SECRET_PATH_CHARS = 6  # a shorter path of an address is no secret, and may be a word of any sentence
SHOWN_CHARS = 300  # of an answer
LONGEST_WAIT_SECONDS = 3600.0  # of Retry-After: a receiver that asks for a week is asked again before
PERMANENT = range(400, 500)
NOT_PERMANENT = frozenset({408, 429})  # it says: later
USER_AGENT = "Watchkeep"


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it is used; where its secrets lie, never what they are."""

    name: str
    type: str
    url: str | None = None
    url_file: str | None = None
    url_env: str | None = None
    secret_file: str | None = None
    secret_env: str | None = None
    timeout_seconds: float = 10.0
    per_minute: int = 30
    host: str = ""
    port: int = 587
    tls: str = "starttls"
    username: str | None = None
    sender: str = ""
    to: tuple[str, ...] = ()

    @property
    def kind(self) -> ChannelType:
        """Its row in the table of types."""
        return CHANNEL_TYPES[self.type]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended; ``what`` is for people. ``permanent``: trying again cannot help."""

    ok: bool
    what: str
    permanent: bool = False
    wait_seconds: float | None = None  # what the receiver asked for


class SecretError(Exception):
    """An address or a secret is not to be had; the message says where it should be."""


def _kept(channel: Channel, what: str, environ: Mapping[str, str]) -> str:
    """Return a channel's address or secret. Blocks. Raises SecretError."""
    named, variable = getattr(channel, f"{what}_file"), getattr(channel, f"{what}_env")
    if named is not None:
        try:
            with open(named, encoding="utf-8") as file:
                found = file.read(SECRET_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or "it is not UTF-8"
            raise SecretError(f"{what}_file {named} cannot be read: {reason}") from None
        if not found:
            raise SecretError(f"{what}_file {named} is empty")
        return found
    if variable is not None:
        if not environ.get(variable):
            raise SecretError(f"the variable {variable} ({what}_env) is not set where the daemon runs")
        return environ[variable].strip()
    return ""


class Sender:
    """Sends. Belongs to the event loop."""

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
        dashboard: Callable[[], str] = lambda: "",
    ) -> None:
        """``dashboard`` gives the address of our own pages, for links."""
        self._environ = environ
        self._clock = clock
        self._dashboard = dashboard
        self._session: aiohttp.ClientSession | None = None

    def _target(self, channel: Channel) -> Target:
        url = channel.url or _kept(channel, "url", self._environ)
        return Target(channel.name, url, _kept(channel, "secret", self._environ), self._dashboard())

    async def send(self, channel: Channel, message: Message) -> Outcome:
        """Make one attempt. Never raises but for being cancelled."""
        try:
            # Read for each attempt: a new secret counts at once.
            target = await asyncio.to_thread(self._target, channel)
        except SecretError as error:
            return Outcome(False, str(error))
        try:
            async with asyncio.timeout(channel.timeout_seconds):
                outcome = await self._attempt(channel, target, message)
        except TimeoutError:
            outcome = Outcome(False, f"no answer within {channel.timeout_seconds:g} s")
        except Exception as error:  # noqa: BLE001 - whatever a receiver or library does, the daemon goes on
            outcome = Outcome(False, f"{type(error).__name__}: {error}")
        return Outcome(
            outcome.ok,
            _without(outcome.what, target, open_url=channel.url is not None),
            outcome.permanent,
            outcome.wait_seconds,
        )

    async def _attempt(self, channel: Channel, target: Target, message: Message) -> Outcome:
        match channel.kind.way:
            case "http":
                return await self._post(channel, target, message)
            case "mail":
                return await self._mail(channel, target, message)
            case "apprise":
                return await asyncio.to_thread(_through_apprise, target, message)

    async def _post(self, channel: Channel, target: Target, message: Message) -> Outcome:
        import aiohttp

        assert channel.kind.format is not None
        request = channel.kind.format(message, target, int(self._clock() * 1e6))
        if self._session is None:
            # No cookies: nothing that one receiver sets may reach a later request.
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": USER_AGENT}
            )
        try:
            async with self._session.post(
                request.url, data=request.body, headers=request.headers, allow_redirects=False
            ) as answer:
                read = await answer.content.read(ANSWER_BYTES)
                status, asked = answer.status, answer.headers.get("Retry-After")
                answer.close()  # the rest of the answer is nobody's business
        except aiohttp.InvalidURL:
            return Outcome(False, "the address is no URL")  # the error would repeat it
        # Before it is cut: half a secret is one too.
        answered = _without(read.decode("utf-8", "replace"), target, open_url=channel.url is not None)
        said = plain(answered, SHOWN_CHARS)
        what = f"status {status}{': ' if said else ''}{said}"
        if 200 <= status < 300:
            return Outcome(True, what)
        if 300 <= status < 400:
            return Outcome(False, f"status {status}: redirects are not followed", permanent=True)
        permanent = status in PERMANENT and status not in NOT_PERMANENT
        return Outcome(False, what, permanent, _wait(asked, self._clock()))

    @staticmethod
    async def _mail(channel: Channel, target: Target, message: Message) -> Outcome:
        import aiosmtplib

        context = ssl.create_default_context()
        try:
            _, said = await aiosmtplib.send(
                letter(message, channel.sender, channel.to),
                sender=channel.sender,
                recipients=list(channel.to),
                hostname=channel.host,
                port=channel.port,
                username=channel.username,
                password=target.secret or None,
                use_tls=channel.tls == "tls",
                start_tls=channel.tls == "starttls",
                tls_context=context if channel.tls != "none" else None,
                timeout=channel.timeout_seconds,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            refused = ", ".join(f"{one.recipient}: {one.code} {one.message}" for one in error.recipients)
            return Outcome(False, plain(refused, SHOWN_CHARS), permanent=min(codes, default=0) >= 500)
        except aiosmtplib.SMTPAuthenticationError as error:
            return Outcome(False, plain(f"{error.code} {error.message}", SHOWN_CHARS))  # may be put right
        except aiosmtplib.SMTPResponseException as error:
            what = plain(f"{error.code} {error.message}", SHOWN_CHARS)
            return Outcome(False, what, permanent=500 <= error.code < 600)
        return Outcome(True, plain(said, SHOWN_CHARS))

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _through_apprise(target: Target, message: Message) -> Outcome:
    try:
        import apprise
    except ImportError:
        return Outcome(False, "Apprise is not installed: pip install 'watchkeep[apprise]'")
    reached = apprise.Apprise()
    if not reached.add(target.url):
        return Outcome(False, "Apprise does not understand the address")
    body = "\n".join(text_lines(message))
    ok = reached.notify(body=body, title=headline(message), body_format=apprise.NotifyFormat.TEXT)
    return Outcome(bool(ok), "Apprise sent it" if ok else "Apprise could not send it")


def _wait(asked: str | None, now: float) -> float | None:
    """Return how long a Retry-After asks to wait, seconds: a number, or a date."""
    if asked is None:
        return None
    try:
        seconds = (
            float(asked)
            if asked.strip().isdigit()
            else email.utils.parsedate_to_datetime(asked).timestamp() - now
        )
    except (ValueError, TypeError):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def _without(text: str, target: Target, *, open_url: bool) -> str:
    """Return a text for people without secret and address, even if a receiver repeats them; ``open_url``: it is none."""
    hidden = [target.secret]
    if not open_url:
        path = target.url.partition("://")[2].partition("/")[2]  # what is secret of most addresses
        hidden += [target.url, path if len(path) >= SECRET_PATH_CHARS else ""]
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text
