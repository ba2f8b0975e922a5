"""Rules as SQL: where each of them fires. One text serves the stream and the archive, so that both say the same.

A rule fires at an *anchor*: for a plain rule every matched event, for a correlation every matched event at which, with
the window that ends there (both ends inclusive), the condition holds. Which events are in a window follows from their
times alone, never from the order in which they came; so late events make the same anchors, only later.

The statement's columns are `ANCHOR_COLUMNS`; `groups` is the group's values as a list of texts. An event without a
value for one of the group's fields belongs to no group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from parsers.expression import Expression
from parsers.sigma.matching import Target
from parsers.sigma.rule import Both, Correlation, Either, Never, Occurrence, Occurs, Rule
from storage.comparing import condition as expression_sql
from storage.filters import Bind, quote
from storage.matching import match_sql, number_of, text_of

ANCHOR_COLUMNS = ("at_us", "seq", "groups", "value")
ALERT_ENTITY = "alert"  # entity type of the events that tell of alerts
MOST_DEPTH = 8  # correlations of correlations


def reach_us(rule: Rule, rules: Mapping[str, Rule]) -> int:
    """Return how far before an anchor events may lie that it depends on, in microseconds."""
    if rule.correlation is None:
        return 0
    inner = (reach_us(rules[identity], rules) for identity in rule.correlation.rules)
    return rule.correlation.span_us + max(inner, default=0)


def depth_of(rule: Rule, rules: Mapping[str, Rule]) -> int:
    """Return how many correlations lie within one another: 0 for a plain rule."""
    if rule.correlation is None:
        return 0
    return 1 + max((depth_of(rules[identity], rules) for identity in rule.correlation.rules), default=0)


def only_adds(rule: Rule, rules: Mapping[str, Rule]) -> bool:
    """Say whether one more event never takes an anchor away. Of a condition like "fewer than five" it can."""
    how = rule.correlation
    if how is None:
        return True
    rising = how.type in {"temporal", "temporal_ordered"} or (
        how.type in {"event_count", "value_count"}
        and how.threshold is not None
        and how.threshold.sign in {">", ">="}
    )
    plain = how.occurrence is None or not _denies(how.occurrence)
    return rising and plain and all(only_adds(rules[identity], rules) for identity in how.rules)


@dataclass(frozen=True, slots=True)
class Use:
    """Matches of a plain rule as somebody needs them: which fields make the group, which are the value.

    A rule that fires by itself is ``loose``: it matches also where a field of the group has no value.
    """

    rule: str
    groups: tuple[Target, ...] = ()
    values: tuple[Target, ...] = ()
    numbers: bool = False  # the values are meant as numbers
    loose: bool = False


@dataclass(slots=True)
class Plan:
    """A rule on its way to SQL: the other rules by id, and the condition under which a rule may look at an event.

    ``routes`` gives, by rule id, a condition that only events of the rule's log source fulfil. ``kept`` gives FROM
    items of matches that are there already, with the columns at_us, seq, groups (of whichever type) and value; all
    others are looked for.
    """

    rules: Mapping[str, Rule]
    routes: Mapping[str, Expression] = field(default_factory=dict)
    bind: Bind = field(default_factory=Bind)
    kept: Mapping[Use, str] = field(default_factory=dict)
    parts: list[str] = field(
        default_factory=list
    )  # `name AS (…)`, in the order in which they need each other
    _names: dict[str, str] = field(default_factory=dict)  # text → name of the part that says it

    def anchors(self, rule: Rule, events: str) -> str:
        """Return a statement of the anchors of a rule among the rows of a FROM item."""
        # A plain rule fires also where a field of its group has no value.
        name = self._anchors(rule, events, Use(rule.id, rule.group, loose=True), 0)
        columns = ", ".join(ANCHOR_COLUMNS)
        return f"WITH {', '.join(self.parts)} SELECT {columns} FROM {name}"

    def members(self, rule: Rule, events: str) -> str:
        """Return a statement of what a correlation looks at: anchors of its rules, with its groups, and of which rule.

        Its columns are at_us, seq, groups and rule, the number of the rule among those that are correlated.
        """
        assert rule.correlation is not None
        texts = []
        for at, identity in enumerate(rule.correlation.rules):
            name = self._anchors(self.rules[identity], events, _member(rule.correlation, at), 1)
            texts.append(f"SELECT at_us, seq, groups, {at} AS rule FROM {name}")
        return f"WITH {', '.join(self.parts)} {' UNION ALL '.join(texts)}"

    def uses(self, rule: Rule) -> list[Use]:
        """Return the matches of plain rules on which the anchors of a rule depend, each once."""
        return list(dict.fromkeys(self._uses(rule, Use(rule.id, rule.group, loose=True), 0)))

    def matches(self, use: Use, events: str) -> str:
        """Return a statement of the matches of a plain rule among the rows of a FROM item."""
        rule = self.rules[use.rule]
        assert rule.match is not None
        texts = [text_of(target, self.bind) for target in use.groups]
        groups = [f"coalesce({text}, '')" for text in texts] if use.loose else texts
        read = number_of if use.numbers else text_of
        values = [read(target, self.bind) for target in use.values]
        return (
            f"SELECT epoch_us({quote('timestamp')}) AS at_us, seq, [{', '.join(groups)}]::VARCHAR[] AS groups, "
            f"{_valued(values)} AS value FROM {events} WHERE {self.condition(rule)}{_grouped(() if use.loose else groups)}"
        )

    def texts(self, rule: Rule, texts: Sequence[tuple[Target, bool]], events: str) -> str:
        """Return a statement of the matches of a plain rule with some fields as texts k0, k1 …; True: as a number."""
        fields = (
            f", CAST({(number_of if number else text_of)(target, self.bind)} AS VARCHAR) AS k{at}"
            for at, (target, number) in enumerate(texts)
        )
        time = f"epoch_us({quote('timestamp')}) AS at_us"
        return f"SELECT {time}, seq{''.join(fields)} FROM {events} WHERE {self.condition(rule)}"

    def condition(self, rule: Rule) -> str:
        """Return the condition that a plain rule matches an event.

        What tells of alerts is no event that a rule may look at: an alert about alerts would never end.
        """
        assert rule.match is not None
        kind = (
            f"{quote('internal')} AND {quote('entity_type')} IS DISTINCT FROM {self.bind(ALERT_ENTITY)}"
            if rule.internal
            else f"NOT {quote('internal')}"
        )
        condition = f"{kind} AND {match_sql(rule.match, self.bind)}"
        route = self.routes.get(rule.id)
        return condition if route is None else f"{expression_sql(route, self.bind)} AND {condition}"

    def _uses(self, rule: Rule, wanted: Use, depth: int) -> Iterator[Use]:
        """Yield what `_anchors` asks `_matched` for."""
        how = rule.correlation
        if how is None:
            yield wanted
            return
        for at, identity in enumerate(how.rules):
            yield from self._uses(self.rules[identity], _member(how, at), depth + 1)
        if depth:
            yield from (replace(wanted, rule=leaf) for leaf in self._leaves(rule))

    def _leaves(self, rule: Rule) -> list[str]:
        """Return the plain rules that a correlation is made of in the end."""
        if rule.correlation is None:
            return [rule.id]
        inner = (self._leaves(self.rules[identity]) for identity in rule.correlation.rules)
        return list(dict.fromkeys(leaf for leaves in inner for leaf in leaves))

    def _anchors(self, rule: Rule, events: str, wanted: Use, depth: int) -> str:
        """Return the name of a part with a rule's anchors, grouped and valued as an outer correlation wants them."""
        if rule.correlation is None:
            return self._matched(wanted, events)
        return self._correlated(rule, rule.correlation, events, wanted, depth)

    def _matched(self, use: Use, events: str) -> str:
        kept = self.kept.get(use)
        return self._part(self.matches(use, events) if kept is None else f"SELECT * FROM {kept}")

    def _correlated(self, rule: Rule, how: Correlation, events: str, wanted: Use, depth: int) -> str:
        if depth >= MOST_DEPTH:
            raise ValueError(f"the rule {rule.id} correlates too deeply")
        sources = []
        for at, identity in enumerate(how.rules):
            inner = self._anchors(self.rules[identity], events, _member(how, at), depth + 1)
            sources.append(f"SELECT at_us, seq, groups, value, {at} AS rule FROM {inner}")
        matched = self._part(" UNION ALL ".join(sources))
        held = self._ordered(how, matched) if how.type == "temporal_ordered" else self._windowed(how, matched)
        if not depth:
            return held
        # An anchor of a correlation is an event, a match of one of its plain rules: what the outer rule groups by is
        # read from that.
        parts = [self._matched(replace(wanted, rule=leaf), events) for leaf in self._leaves(rule)]
        events_of = " UNION ALL ".join(f"SELECT seq, groups, value FROM {part}" for part in parts)
        return self._part(
            f"SELECT DISTINCT h.at_us, h.seq, e.groups, e.value FROM {held} h JOIN ({events_of}) e ON e.seq = h.seq"
        )

    def _windowed(self, how: Correlation, matched: str) -> str:
        """Return a part with the anchors of a correlation that looks at a window as a whole."""
        window = f"(PARTITION BY groups ORDER BY at_us RANGE BETWEEN {self.bind(how.span_us)} PRECEDING AND CURRENT ROW)"
        if how.occurrence is not None:
            counts = ", ".join(
                f"count(*) FILTER (WHERE rule = {at}) OVER w AS n{at}" for at in range(len(how.rules))
            )
            condition = _occurs(how.occurrence)
            measured = self._part(f"SELECT *, {counts} FROM {matched} WINDOW w AS {window}")
            return self._part(
                f"SELECT DISTINCT at_us, seq, groups, CAST(NULL AS DOUBLE) AS value FROM {measured} WHERE {condition}"
            )
        assert how.threshold is not None
        limit = self.bind(how.threshold.value)
        measure = _MEASURES[how.type]
        if how.type == "value_percentile":
            measure = measure.format(share=self.bind((how.threshold.percentile or 0) / 100))
        number = "TRY_CAST(value AS DOUBLE)" if how.type not in {"value_count", "event_count"} else "value"
        measured = self._part(
            f"SELECT at_us, seq, groups, CAST({measure.replace('VALUE', number)} OVER w AS DOUBLE) AS value "
            f"FROM {matched} WINDOW w AS {window}"
        )
        return self._part(f"SELECT DISTINCT * FROM {measured} WHERE value {how.threshold.sign} {limit}")

    def _ordered(self, how: Correlation, matched: str) -> str:
        """Return a part with the anchors of rules that matched one after the other within a window.

        For the matches of each rule: the latest time at which a chain of matches that ends there may have begun. That
        is the greatest such time of the rule before among earlier events, so a running maximum finds it.
        """
        before = self._part(f"SELECT at_us, seq, groups, at_us AS since FROM {matched} WHERE rule = 0")
        for at in range(1, len(how.rules)):
            both = self._part(
                f"SELECT at_us, seq, groups, since, FALSE AS mine FROM {before} UNION ALL "
                f"SELECT at_us, seq, groups, NULL, TRUE FROM {matched} WHERE rule = {at}"
            )
            # An event that is a match of both rules comes after itself no sooner than any other.
            reached = self._part(
                "SELECT *, max(since) OVER (PARTITION BY groups ORDER BY at_us, seq, mine DESC "
                f"ROWS UNBOUNDED PRECEDING) AS begun FROM {both}"
            )
            before = self._part(
                f"SELECT at_us, seq, groups, begun AS since FROM {reached} WHERE mine AND begun IS NOT NULL "
                f"AND at_us - begun <= {self.bind(how.span_us)}"
            )
        return self._part(f"SELECT DISTINCT at_us, seq, groups, CAST(NULL AS DOUBLE) AS value FROM {before}")

    def _part(self, text: str) -> str:
        # Members of a correlation often look at the same matches, and over a few rows each part costs half a millisecond.
        name = self._names.get(text)
        if name is None:
            name = self._names[text] = f"s{len(self.parts)}"
            self.parts.append(f"{name} AS ({text})")
        return name


_MEASURES: Mapping[str, str] = {
    "event_count": "count(*)",
    "value_count": "count(DISTINCT VALUE)",
    "value_sum": "sum(VALUE)",
    "value_avg": "avg(VALUE)",
    "value_median": "quantile_cont(VALUE, 0.5)",
    "value_percentile": "quantile_cont(VALUE, {share})",
}


def _member(how: Correlation, at: int) -> Use:
    """Return how a correlation wants the matches of one of its rules; the rule's id is for plain rules."""
    groups = how.groups[at] if how.groups else ()
    values = how.values[at] if how.values else ()
    return Use(how.rules[at], groups, values, numbers=how.type != "value_count" and bool(values))


def _denies(occurrence: Occurrence) -> bool:
    match occurrence:
        case Never():
            return True
        case Both(parts) | Either(parts):
            return any(_denies(part) for part in parts)
        case Occurs():
            return False


def _valued(values: Sequence[str]) -> str:
    """Return one expression for the counted value; of several fields, the texts together."""
    if not values:
        return "CAST(NULL AS VARCHAR)"
    if len(values) == 1:
        return f"CAST({values[0]} AS VARCHAR)"
    return f"concat_ws(chr(31), {', '.join(values)})"


def _grouped(groups: Sequence[str]) -> str:
    return "".join(f" AND {group} IS NOT NULL" for group in groups)


def _occurs(occurrence: Occurrence) -> str:
    match occurrence:
        case Occurs(rule):
            return f"n{rule} > 0"
        case Both(parts):
            return f"({' AND '.join(_occurs(part) for part in parts)})"
        case Either(parts):
            return f"({' OR '.join(_occurs(part) for part in parts)})"
        case Never(part):
            return f"NOT {_occurs(part)}"
