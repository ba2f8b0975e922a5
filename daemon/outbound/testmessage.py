"""A message that tells of nothing: whether one arrives is known before an alert needs it."""

from __future__ import annotations

import uuid
from typing import Any

from daemon.outbound.message import Message
from daemon.outbound.sender import Channel, Outcome, Sender
from parsers.sigma.alert import Alert

TEST_ENDS_US = 60_000_000  # when an Alertmanager forgets a test


async def tested(sender: Sender, channel: Channel, now_us: int) -> dict[str, Any]:
    """Send a test message and return what came back. What opened an incident closes it again."""
    alert = Alert(
        id=f"test-{uuid.uuid4()}",
        rule_id="watchkeep.test",
        title="Watchkeep: a test message",
        level="informational",
        group=(("channel", channel.name),),
        state="open",
        opened_us=now_us,
        last_us=now_us,
        count=1,
        description="Somebody asked whether messages arrive. There is nothing to do.",
    )
    message = Message(alert.id, channel.name, alert.id, "test", (alert,), now_us, now_us + TEST_ENDS_US)
    outcome: Outcome = await sender.send(channel, message)
    if outcome.ok and channel.kind.single:
        over = Message(f"{alert.id}-end", channel.name, alert.id, "resolved", (alert,), now_us)
        outcome = await sender.send(channel, over)
    return {"channel": channel.name, "type": channel.type, "ok": outcome.ok, "answer": outcome.what}
