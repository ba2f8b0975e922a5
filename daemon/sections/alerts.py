"""The section `[alerts]`: who is told of alerts; `daemon.recipients` has its tables."""

from __future__ import annotations

from pydantic import Field

from daemon.marks import Names, Section
from daemon.recipients import Channels, Inhibitions, QuietSources, Routes


class Alerts(Section):
    """Who is told of alerts. `docs/alerts.md` has examples of every channel."""

    receivers: Names = Field(
        default=(),
        description="Channels for alerts that no route takes. None: every channel but that of the heartbeat.",
    )
    own_alerts: bool = Field(
        default=True,
        description="Whether trouble of the daemon itself (a full disk, lost bytes, dead letters …) is an alert too.",
    )
    outbox_messages: int = Field(
        default=10_000,
        ge=10,
        le=1_000_000,
        description="Messages that may wait for their receivers; what comes when so many wait goes to the dead letters at once.",
    )
    heartbeat: str | None = Field(
        default=None,
        examples=["deadman"],
        description="Channel (of type webhook) that gets a sign of life, for a service that raises an alarm when it stays away.",
    )
    heartbeat_minutes: float = Field(
        default=5.0, ge=0.1, le=1440, description="How often it gets one, while lines are archived."
    )
    channels: Channels = Field(
        default=(),
        examples=[{"name": "ops", "type": "slack", "url_file": "/etc/watchkeep/slack.url"}],
        description="Where alerts are told. Secrets stand in files or variables, never here.",
    )
    routes: Routes = Field(
        default=(),
        examples=[{"match": ['level="critical"'], "channels": ["pager"], "group_wait_seconds": 0.0}],
        description="Which alerts go where, tried in this order; the first that matches ends it.",
    )
    inhibitions: Inhibitions = Field(
        default=(),
        examples=[{"source": ['level="critical"'], "target": ['level=~"low|medium"'], "equal": ["user.id"]}],
        description="Open alerts that mute others.",
    )
    quiet_sources: QuietSources = Field(
        default=(),
        examples=[{"files": "app-*.jsonl", "minutes": 15}],
        description="Files that must not fall silent.",
    )
