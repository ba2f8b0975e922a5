"""A message as e-mail: plain text, and the same as HTML in which nothing of an event is markup."""

from __future__ import annotations

import html
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

from daemon.outbound.message import Message
from daemon.outbound.payloads import headline, text_lines

MAIL_DOMAIN = "watchkeep.invalid"  # right-hand side of our Message-IDs: no host of anybody's


def letter(message: Message, sender: str, recipients: tuple[str, ...]) -> EmailMessage:
    """Return the e-mail. Its Message-ID is made of the message's key, so that a repeated one can be known."""
    mail = EmailMessage()
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = headline(message)  # one line: `plain` took line ends out
    mail["Date"] = format_datetime(datetime.fromtimestamp(message.at_us / 1e6, UTC))
    mail["Message-ID"] = f"<{message.key}@{MAIL_DOMAIN}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers, please
    text = "\n".join(text_lines(message))
    mail.set_content(text)
    mail.add_alternative(
        f"<!doctype html><html><body><h3>{html.escape(headline(message))}</h3>"
        f"<pre>{html.escape(text)}</pre></body></html>",
        subtype="html",
    )
    return mail
