"""The shapes of what is answered about alerts, rules, and who is told."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from web.shape import Shape


class AlertGroup(Shape):
    """One field of an alert's group."""

    field: str
    value: str


class AlertRow(Shape):
    """One alert: an episode of a rule for one group."""

    id: str
    rule_id: str
    title: str
    level: str
    risk: int = Field(description="Its level as a score: 0, 21, 47, 73 or 99")
    group: list[AlertGroup] = Field(description="Whom or what it is about; a viewer sees it masked")
    state: str = Field(description="open, acknowledged or resolved")
    opened: str = Field(description="Time of the first event at which the rule fired")
    last: str = Field(description="Time of the last one")
    count: int = Field(description="How often the rule fired")
    evidence: list[str] = Field(
        description="Event ids: the first twenty at which it fired, and the last twenty"
    )
    author: str
    references: list[str]
    techniques: list[str] = Field(description="ATT&CK techniques")
    runbook: str
    description: str
    false_positives: list[str] = Field(description="What the rule finds although nothing is wrong")
    changed: str = Field(description="When its newest event was made")
    by: str | None = Field(description="Who changed its state last; null: the daemon")
    comment: str = Field(description="What they said")


class AlertStates(Shape):
    """Alerts by state."""

    open: int
    acknowledged: int
    resolved: int


class AlertsAnswer(Shape):
    """A page of alerts, the newest first."""

    success: bool
    message: str
    data: list[AlertRow]
    timestamp: str
    total: int
    states: AlertStates = Field(description="How many alerts of each state the other filters let through")
    next: str | None = Field(description="`cursor` of the next page; null on the last")


class AlertAnswer(Shape):
    """One alert."""

    success: bool
    message: str
    data: AlertRow
    timestamp: str


class BehindRow(Shape):
    """An event behind an alert."""

    eventId: str  # noqa: N815 - as events have it
    timestamp: str
    seq: int
    rules: list[str] = Field(description="Titles of the rules that it matched")
    fired: bool = Field(description="Whether the alert's own rule fired at it")


class BehindAnswer(Shape):
    """The events because of which a rule fired, oldest first; of more than a thousand the newest."""

    success: bool
    message: str
    data: list[BehindRow]
    timestamp: str


class RuleRow(Shape):
    """One rule and what became of it."""

    id: str
    title: str
    state: str = Field(description="active, correlated, no source, unknown fields or unsupported")
    why: str = Field(description="What keeps it from working, or should be known")
    level: str
    risk: int = Field(description="Its level as a score: 0, 21, 47, 73 or 99")
    description: str
    author: str
    tags: list[str]
    techniques: list[str] = Field(description="ATT&CK techniques")
    references: list[str]
    false_positives: list[str]
    runbook: str
    source: dict[str, str] = Field(description="Product, category and service whose events it looks at")
    correlates: list[str] = Field(description="Ids of the rules whose matches it counts")
    group_by: list[str] = Field(description="Fields whose values tell its alerts apart")
    fired: int = Field(description="How often, in its alerts that are remembered")
    last_fired: str | None
    alerts: int = Field(description="Its alerts that are remembered")
    open_alerts: int = Field(description="Those of them that are not resolved")


class RulesAnswer(Shape):
    """Every rule."""

    success: bool
    message: str
    data: list[RuleRow]
    timestamp: str


class RuleGroup(Shape):
    """A group of a rule and how often it would have fired there."""

    group: list[str]
    fired: int


class RuleBucket(Shape):
    """How often a rule would have fired from `start` to the next bucket."""

    start: str
    fired: int


class RuleTested(Shape):
    """What a rule would have done."""

    id: str
    title: str
    level: str
    author: str
    fired: int
    episodes: int = Field(description="Alerts that would have been made")
    groups: int
    group_by: list[str]
    top: list[RuleGroup] = Field(description="Groups at which it would have fired most often")
    first: str | None
    last: str | None
    series: list[RuleBucket] = Field(
        description="Buckets in UTC over the range; of centuries only the part with anything in it"
    )
    series_seconds: int
    examples: list[dict[str, Any]] = Field(description="The newest events at which it would have fired")
    seconds: float


class RuleTestAnswer(Shape):
    """What rules would have done between `start` and `end`."""

    success: bool
    message: str
    data: list[RuleTested]
    timestamp: str
    start: str
    end: str


class AlertTold(Shape):
    """How a message about alerts ended."""

    key: str = Field(description="The same for a message that was repeated")
    channel: str
    kind: str = Field(description="firing, acknowledged, resolved")
    alerts: list[str] = Field(description="Ids of the alerts that it names")
    when: str
    ok: bool = Field(description="Whether the receiver took it")
    answer: str = Field(description="What the receiver said, or why it was given up")


class AlertChanged(Shape):
    """One change of an alert, as the event of it tells."""

    change: str = Field(description="opened, updated, acknowledged, resolved or reopened")
    when: str
    by: str | None = Field(description="null: the daemon")
    comment: str
    count: int | None = Field(description="How often the rule had fired then")
    event_id: str


class OneAlert(AlertAnswer):
    """One alert with its history."""

    history: list[AlertChanged] = Field(description="Newest first, at most 200")
    told: list[AlertTold] = Field(
        description="Messages about it, oldest first; of all messages the newest thousand are remembered"
    )


class RuleText(RuleRow):
    """One rule with its text."""

    text: str = Field(description="The file in which it stands, empty if that cannot be read")


class RuleAnswer(Shape):
    """One rule."""

    success: bool
    message: str
    data: RuleText
    timestamp: str


class ChannelRoute(Shape):
    """A route that leads to a channel."""

    match: list[str]
    group_by: list[str]


class ChannelRow(Shape):
    """A channel and how it does; never its address or secret."""

    name: str
    type: str
    meaning: str
    pending: int = Field(description="Messages that wait")
    oldest: str | None = Field(description="Since when the oldest of them does")
    last_sent: str | None = Field(description="Since the daemon started")
    failures: int = Field(description="Attempts that failed, in a row")
    failing: bool = Field(description="Nothing got through for minutes")
    last_error: str | None
    heartbeat: bool = Field(description="It is told that all is well, and nothing else by itself")
    routes: list[ChannelRoute]


class ChannelsAnswer(Shape):
    """Every channel."""

    success: bool
    message: str
    data: list[ChannelRow]
    timestamp: str


class ChannelTest(Shape):
    """What came back from a test."""

    channel: str
    type: str
    ok: bool
    answer: str


class ChannelTested(Shape):
    """How a test ended; a receiver that did not take it is no error of the request."""

    success: bool
    message: str
    data: ChannelTest
    timestamp: str


class SilenceRow(Shape):
    """One silence; of a dry run only `matchers` and `alerts`."""

    id: str | None = None
    matchers: list[str]
    author: str | None = None
    comment: str | None = None
    starts: str | None = None
    ends: str | None = None
    state: str | None = Field(None, description="in force, to come or ended")
    alerts: list[str] = Field(description="Ids of alerts that are not over and that it means")


class SilencesAnswer(Shape):
    """Silences, those that end first before all others, those that ended last."""

    success: bool
    message: str
    data: list[SilenceRow]
    timestamp: str


class SilenceAnswer(Shape):
    """One silence."""

    success: bool
    message: str
    data: SilenceRow
    timestamp: str


class Letter(Shape):
    """A message that waits, or that was given up."""

    key: str
    channel: str
    kind: str
    since: str
    alerts: list[str] = Field(description="Titles of the alerts that it names")
    given_up: str | None = Field(None, description="When; only of what was")
    why: str | None = None


class Outbox(Shape):
    """What was to be told: each list has at most `limit` rows."""

    pending: list[Letter] = Field(description="Oldest first")
    pending_total: int
    dead: list[Letter] = Field(description="What was given up, newest first")
    dead_total: int
    dead_ever: int = Field(description="How much was ever given up; a thousand are kept")
    told: list[AlertTold] = Field(description="What left or was given up, newest first")


class OutboxAnswer(Shape):
    """The outbox."""

    success: bool
    message: str
    data: Outbox
    timestamp: str


class Changed(Shape):
    """How many messages something was done with."""

    changed: int


class OutboxChanged(Shape):
    """What was done with the messages that were given up."""

    success: bool
    message: str
    data: Changed
    timestamp: str


DETECTION_MODELS: tuple[type[Shape], ...] = (
    AlertsAnswer,
    OneAlert,
    AlertAnswer,
    BehindAnswer,
    RulesAnswer,
    RuleAnswer,
    RuleTestAnswer,
    ChannelsAnswer,
    ChannelTested,
    SilencesAnswer,
    SilenceAnswer,
    OutboxAnswer,
    OutboxChanged,
)
