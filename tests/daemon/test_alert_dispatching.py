"""Who is told of which alert, and when: examples, and a machine that plays alerts against a model."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from daemon.outbound.dispatcher import ALONE, Dispatcher, Group, Route
from daemon.outbound.matchers import Inhibition, Matcher, Silence, labels, parsed
from parsers.sigma.alert import AlertChange
from tests.daemon.alerting import SECOND, START, alert, opened, resolved

WAIT, INTERVAL, REPEAT = 30 * SECOND, 300 * SECOND, 3600 * SECOND


def told(dispatcher, now, silences=()):
    """Decide, take note, and return the messages."""
    decisions = dispatcher.due(now, silences)
    for decision in decisions:
        dispatcher.settle(decision)
    return [message for decision in decisions for message in decision.messages]


def test_alerts_of_a_group_are_told_together_after_the_wait():
    """Two users, one rule: one message, thirty seconds after the first."""
    dispatcher = Dispatcher([Route(("ops",))])
    dispatcher.change(alert("a"), 1, START)
    dispatcher.change(alert("b", group=(("user.id", "7"),)), 1, START + 10 * SECOND)
    assert told(dispatcher, START + 29 * SECOND) == []
    [message] = told(dispatcher, START + 30 * SECOND)
    assert [one.id for one in message.alerts] == ["a", "b"]
    assert message.kind == "firing"


def test_a_single_channel_gets_one_alert_a_message():
    """An incident is one alert: two of a group are two messages with keys of their own."""
    dispatcher = Dispatcher([Route(("pager",))], single=frozenset({"pager"}))
    dispatcher.change(alert("a"), 1, START)
    dispatcher.change(alert("b", group=(("user.id", "7"),)), 1, START)
    messages = told(dispatcher, START + WAIT)
    assert [message.group for message in messages] == ["a", "b"]
    assert len({message.key for message in messages}) == 2


def test_the_first_route_that_matches_ends_it_unless_it_goes_on():
    """Alertmanager's `continue`."""
    pager = Route(("pager",), parsed(['level="critical"']), go_on=True)
    dispatcher = Dispatcher([pager, Route(("security",), parsed(["rule=~brute.*"])), Route(("ops",))])
    dispatcher.change(alert("a", level="critical"), 1, START)
    assert {message.channel for message in told(dispatcher, START + WAIT)} == {"pager", "security"}


def test_what_is_over_before_it_is_told_is_told_with_its_end():
    """An attack during a downtime is news although it is over; every receiver gets the beginning and the end."""
    dispatcher = Dispatcher([Route(("ops",))])
    change = opened("a")
    dispatcher.change(change.alert, 1, START)
    dispatcher.change(resolved(change).alert, 2, START + SECOND)
    kinds = [message.kind for step in (1, 2, 3) for message in told(dispatcher, START + step * INTERVAL)]
    assert kinds == ["firing", "resolved"]
    assert not dispatcher.groups
    assert not dispatcher.alerts


def test_an_acknowledged_alert_is_not_repeated():
    """Somebody looks after it."""
    dispatcher = Dispatcher([Route(("ops",), repeat_us=REPEAT)])
    dispatcher.change(alert("a"), 1, START)
    told(dispatcher, START + WAIT)
    dispatcher.change(alert("a", state="acknowledged"), 2, START + 2 * WAIT)
    [message] = told(dispatcher, START + WAIT + INTERVAL)
    assert message.kind == "acknowledged"
    assert [m for hour in range(2, 20) for m in told(dispatcher, START + hour * REPEAT)] == []


def test_an_alert_that_grows_graver_is_told_again_also_where_it_now_belongs():
    """A higher level is news; the pager hears of it for the first time, the others again."""
    dispatcher = Dispatcher([Route(("pager",), parsed(["level=critical"])), Route(("ops",))])
    dispatcher.change(alert("a", level="low"), 1, START)
    assert [m.channel for m in told(dispatcher, START + WAIT)] == ["ops"]
    dispatcher.change(alert("a", level="critical"), 2, START + 2 * WAIT)
    messages = told(dispatcher, START + 3 * WAIT) + told(dispatcher, START + WAIT + INTERVAL)
    assert [m.channel for m in messages] == ["pager", "ops"]
    dispatcher.change(alert("a", level="critical", state="resolved"), 3, START + 2 * INTERVAL)
    ends = told(dispatcher, START + 4 * INTERVAL)
    assert sorted((m.channel, m.kind) for m in ends) == [("ops", "resolved"), ("pager", "resolved")]


def test_a_silence_holds_the_news_back_until_it_ends():
    """Silenced is not lost: what is still open when the silence ends is told then."""
    dispatcher = Dispatcher([Route(("ops",))])
    silence = Silence("s", parsed(["user.id=42"]), "ann", "test", START, START + 600 * SECOND)
    dispatcher.change(alert("a"), 1, START)
    [decision] = dispatcher.due(START + WAIT, [silence])
    assert (decision.messages, decision.muted) == ((), ("silenced",))
    dispatcher.settle(decision)
    [again] = dispatcher.due(START + WAIT + INTERVAL, [silence])
    assert again.muted == ()  # counted once
    dispatcher.settle(again)
    assert len(told(dispatcher, START + WAIT + 2 * INTERVAL, [silence])) == 1


@pytest.mark.parametrize("name", ["user.id", "user_id", "userId"])
def test_a_group_s_field_goes_by_each_of_its_names(name):
    """Rules group by `user.id`; who writes a silence thinks of the column."""
    silence = Silence("s", parsed([f"{name}=42"]), "ann", "test", START, START + 600 * SECOND)
    assert silence.mutes(labels(alert(group=(("user.id", "42"),))), START)
    assert not silence.mutes(labels(alert(group=(("user.id", "7"),))), START)


def test_the_end_of_what_was_told_is_told_under_a_silence_too():
    """An incident that was opened must not stay open because somebody wanted quiet."""
    dispatcher = Dispatcher([Route(("pager",))], single=frozenset({"pager"}))
    change = opened("a")
    dispatcher.change(change.alert, 1, START)
    told(dispatcher, START + WAIT)
    silence = Silence("s", parsed(["user.id=42"]), "ann", "test", START, START + 10 * REPEAT)
    dispatcher.change(resolved(change).alert, 2, START + INTERVAL)
    [message] = told(dispatcher, START + 2 * INTERVAL, [silence])
    assert message.kind == "resolved"


def test_a_critical_alert_mutes_lower_ones_of_the_same_user():
    """Equal fields only, and only while it is open."""
    inhibition = Inhibition(parsed(["level=critical"]), parsed(["level=~low|medium"]), ("user.id",))
    dispatcher = Dispatcher([Route(("ops",), group_by=(ALONE,))], [inhibition])
    grave = opened("grave", level="critical", rule="r1")
    dispatcher.change(grave.alert, 1, START)
    dispatcher.change(alert("same", level="low", rule="r2"), 1, START)
    dispatcher.change(alert("other", level="low", rule="r2", group=(("user.id", "7"),)), 1, START)
    names = [one.id for message in told(dispatcher, START + WAIT) for one in message.alerts]
    assert names == ["grave", "other"]
    dispatcher.change(resolved(grave).alert, 2, START + WAIT)
    told(dispatcher, START + WAIT + INTERVAL)
    names = [one.id for message in told(dispatcher, START + WAIT + 2 * INTERVAL) for one in message.alerts]
    assert names == ["same"] or "same" not in [*dispatcher.groups]


@pytest.mark.parametrize(
    ("text", "value", "hit"),
    [
        ('user.name="ann"', "ann", True),
        ("user.name!=ann", "ann", False),
        ('user.name=~"a.*"', "ann", True),
        ('user.name=~"n"', "ann", False),
        ("user.name!~b.*", "ann", True),
        (r'user.name="a\"b"', 'a"b', True),
    ],
)
def test_matchers_mean_the_whole_value_and_survive_being_written_down(text, value, hit):
    """As in Alertmanager: expressions are anchored; a silence read again means the same."""
    matcher = Matcher.parse(text)
    assert matcher.matches({"user.name": value}) is hit
    assert Matcher.parse(str(matcher)) == matcher


@pytest.mark.parametrize("text", ["user", "=x", 'user=~"("', r"user=~(?=x)"])
def test_a_matcher_that_means_nothing_is_refused(text):
    """Also an expression that RE2 does not know."""
    with pytest.raises(ValueError, match=r"matcher|expression"):
        Matcher.parse(text)


class Telling(RuleBasedStateMachine):
    """Alerts open, change, end and are silenced while time passes; a model says what each channel must have heard."""

    def __init__(self):
        super().__init__()
        self.routes = [
            Route(("pager",), parsed(["level=critical"]), (ALONE,), 0, INTERVAL, REPEAT, go_on=True),
            Route(("ops",), (), ("rule",), WAIT, INTERVAL, REPEAT),
        ]
        inhibition = Inhibition(parsed(["rule=r0", "level=critical"]), parsed(["rule=r1"]), ("user.id",))
        self.inhibitions = [inhibition]
        self.dispatcher = Dispatcher(self.routes, self.inhibitions, frozenset({"pager"}))
        self.now = START
        self.open = {}  # id: alert
        self.numbers = {}
        self.seen = {}  # id: when it opened
        self.silences = []
        self.heard = {}  # (channel, id): (state, when)
        self.ended = []  # (channel, id) whose end was told
        self.keys = set()
        self.count = 0

    def channels(self, one):
        return ["pager", "ops"] if one.level == "critical" else ["ops"]

    def muted(self, one):
        user = dict(one.group)["user.id"]
        silenced = any(ends > self.now and user == who for who, ends, _ in self.silences)
        inhibited = one.rule_id == "r1" and any(
            other.rule_id == "r0" and other.level == "critical" and dict(other.group)["user.id"] == user
            for other in self.open.values()
        )
        return silenced or inhibited

    def change(self, one):
        self.numbers[one.id] = self.numbers.get(one.id, 0) + 1
        self.dispatcher.change(one, self.numbers[one.id], self.now)
        self.dispatcher.change(one, self.numbers[one.id], self.now)  # told twice by its source: no matter

    @rule(
        number=st.integers(0, 1),
        user=st.sampled_from("xy"),
        level=st.sampled_from(["low", "high", "critical"]),
    )
    def opens(self, number, user, level):
        self.count += 1
        one = alert(f"a{self.count}", level=level, rule=f"r{number}", group=(("user.id", user),))
        self.open[one.id] = one
        self.seen[one.id] = self.now
        self.change(one)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def acknowledged(self, data):
        name = data.draw(st.sampled_from(sorted(self.open)))
        self.open[name] = dataclasses.replace(self.open[name], state="acknowledged")
        self.change(self.open[name])

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def resolves(self, data):
        name = data.draw(st.sampled_from(sorted(self.open)))
        over = dataclasses.replace(self.open.pop(name), state="resolved")
        self.change(over)

    @rule(user=st.sampled_from("xy"), seconds=st.integers(1, 1000))
    def silenced(self, user, seconds):
        ends = self.now + seconds * SECOND
        silence = Silence("s", parsed([f"user.id={user}"]), "ann", "why", self.now, ends)
        self.silences.append((user, ends, silence))

    @rule(seconds=st.integers(1, 400))
    def time_passes(self, seconds):
        """Second by second would be slow: ten at a time, as a late timer would."""
        end = self.now + seconds * SECOND
        while self.now < end:
            self.now = min(end, self.now + 10 * SECOND)
            self.look()

    @rule(seconds=st.sampled_from([3600, 4000, 7200]))
    def hours_pass(self, seconds):
        end = self.now + seconds * SECOND
        while self.now < end:
            self.now += 100 * SECOND
            self.look()

    @rule()
    def crashes(self):
        """What was written down is all there is: groups as JSON, alerts, numbers."""
        old = self.dispatcher
        self.dispatcher = Dispatcher(self.routes, self.inhibitions, frozenset({"pager"}))
        self.dispatcher.alerts, self.dispatcher.numbers = dict(old.alerts), dict(old.numbers)
        for group in old.groups.values():
            self.dispatcher.restore(Group.from_json(group.to_json()))
        self.dispatcher.sequence = old.sequence
        self.dispatcher.regroup(self.now)

    def look(self):
        silences = [silence for _, _, silence in self.silences]
        first = self.dispatcher.due(self.now, silences)
        assert self.dispatcher.due(self.now, silences) == first  # deciding changes nothing
        for decision in first:
            self.dispatcher.settle(decision)
            for message in decision.messages:
                assert message.key not in self.keys
                self.keys.add(message.key)
                for one in message.alerts:
                    self.hear(message.channel, one)

    def hear(self, channel, one):
        before = self.heard.get((channel, one.id))
        if one.state == "resolved":
            assert before is not None, "an end was told of what nobody heard of"
            assert (channel, one.id) not in self.ended, "an end was told twice"
            self.ended.append((channel, one.id))
            return
        assert one.id in self.open or before is None, "somebody was told again of what is over"
        assert not self.muted(one), "somebody was told of what is muted"
        if channel == "ops":
            assert self.now - self.seen[one.id] >= 0
        if before is not None:
            state, level, when = before
            changed = state != one.state or level != one.level
            assert changed or self.now - when >= REPEAT, "told again before it is time"
            assert changed or one.state == "open", "an acknowledged alert was repeated"
        self.heard[channel, one.id] = (one.state, one.level, self.now)

    @invariant()
    def nothing_due_is_forgotten(self):
        """An open alert that is not muted is told within wait and interval, and again within repeat and interval."""
        grace = 100 * SECOND  # the longest time between two looks
        quiet_since = max((ends for _, ends, _ in self.silences), default=START)
        for name, one in self.open.items():
            for channel in self.channels(one):
                heard = self.heard.get((channel, name))
                if self.muted(one) or one.rule_id == "r1":
                    continue
                since = max(self.seen[name], min(quiet_since, self.now))
                if heard is None:
                    assert self.now - since <= WAIT + INTERVAL + grace, f"{channel} never heard of {name}"
                elif one.state == "open":
                    late = self.now - max(heard[2], since)
                    assert late <= REPEAT + INTERVAL + grace, f"{channel} did not hear of {name} again"

    def teardown(self):
        """At last everything ends, and whoever heard of something hears of its end, once."""
        for name in sorted(self.open):
            self.change(dataclasses.replace(self.open.pop(name), state="resolved"))
        for _ in range(12):
            self.now += 100 * SECOND
            self.look()
        assert sorted(self.heard) == sorted(self.ended)
        assert not self.dispatcher.groups
        assert not self.dispatcher.alerts


TestTelling = Telling.TestCase
TestTelling.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_clock_that_was_set_back_delays_nothing():
    """An alert that came while the clock was a day ahead is told now, not tomorrow."""
    dispatcher = Dispatcher([Route(("ops",))])
    dispatcher.change(alert("a"), 1, START + 24 * REPEAT)
    assert len(told(dispatcher, START)) == 1


def test_nothing_is_said_before_the_wait_of_its_group():
    """Whoever joins a group that spoke long ago waits thirty seconds as well, and no five minutes."""
    dispatcher = Dispatcher([Route(("ops",))])
    dispatcher.change(alert("a"), 1, START)
    told(dispatcher, START + WAIT)
    told(dispatcher, START + WAIT + INTERVAL)
    joined = START + WAIT + INTERVAL + 10 * SECOND
    dispatcher.change(alert("b", group=(("user.id", "7"),)), 1, joined)
    assert told(dispatcher, joined + 29 * SECOND) == []
    [message] = told(dispatcher, joined + 30 * SECOND)
    assert [one.id for one in message.alerts] == ["b"]


def test_a_change_that_comes_again_after_a_crash_is_known():
    """Also when the alert is over and forgotten."""
    dispatcher = Dispatcher([Route(("ops",))])
    change = AlertChange(alert("a"), "opened", 1)
    dispatcher.change(change.alert, 1, START)
    told(dispatcher, START + WAIT)
    dispatcher.change(resolved(change).alert, 2, START + INTERVAL)
    told(dispatcher, START + 2 * INTERVAL)
    dispatcher.change(change.alert, 1, START + 3 * INTERVAL)
    assert not dispatcher.alerts
