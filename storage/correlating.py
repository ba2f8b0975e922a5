"""Rules as SQL: where each of them fires. One text serves the stream and the archive, so that both say the same.

A rule fires at an *anchor*: for a plain rule every matched event, for a correlation every matched event at which, with
the window that ends there (both ends inclusive), the condition holds. Which events are in a window follows from their
times alone, never from the order in which they came; so late events make the same anchors, only later.

The statement's columns are `ANCHOR_COLUMNS`; `groups` is the group's values as a list of texts. An event without a
value for one of the group's fields belongs to no group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parsers.expression import Expression
from parsers.sigma.rule import Both, Correlation, Either, Never, Occurrence, Occurs, Rule
from storage.comparing import condition as expression_sql
from storage.filters import Bind, quote
from storage.matching import match_sql, number_of, text_of

ANCHOR_COLUMNS = ("at_us", "seq", "groups", "value")
MOST_DEPTH = 8  # correlations of correlations


def reach_us(rule: Rule, rules: Mapping[str, Rule]) -> int:
    """Return how far before an anchor events may lie that it depends on, in microseconds."""
    if rule.correlation is None:
        return 0
    inner = (reach_us(rules[identity], rules) for identity in rule.correlation.rules)
    return rule.correlation.span_us + max(inner, default=0)


@dataclass(slots=True)
class Plan:
    """A rule on its way to SQL: the other rules by id, and the condition under which a rule may look at an event.

    ``routes`` gives, by rule id, a condition that only events of the rule's log source fulfil.
    """

    rules: Mapping[str, Rule]
    routes: Mapping[str, Expression] = field(default_factory=dict)
    bind: Bind = field(default_factory=Bind)
    parts: list[str] = field(
        default_factory=list
    )  # `name AS (…)`, in the order in which they need each other
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def anchors(self, rule: Rule, events: str) -> str:
        """Return a statement of the anchors of a rule among the rows of a FROM item."""
        # A plain rule fires also where a field of its group has no value.
        groups = [f"coalesce({text_of(target, self.bind)}, '')" for target in rule.group]
        name = self._anchors(rule, events, groups if rule.correlation is None else (), (), 0)
        columns = ", ".join(ANCHOR_COLUMNS)
        return f"WITH {', '.join(self.parts)} SELECT {columns} FROM {name}"

    def _anchors(
        self, rule: Rule, events: str, groups: Sequence[str], values: Sequence[str], depth: int
    ) -> str:
        """Return the name of a part with a rule's anchors, grouped and valued as an outer correlation wants them."""
        if rule.correlation is None:
            return self._matched(rule, events, groups, values)
        return self._correlated(rule, rule.correlation, events, groups, values, depth)

    def _matched(self, rule: Rule, events: str, groups: Sequence[str], values: Sequence[str]) -> str:
        assert rule.match is not None
        condition = match_sql(rule.match, self.bind)
        condition = f"{'' if rule.internal else 'NOT '}{quote('internal')} AND {condition}"
        route = self.routes.get(rule.id)
        if route is not None:
            condition = f"{expression_sql(route, self.bind)} AND {condition}"
        return self._part(
            f"SELECT epoch_us({quote('timestamp')}) AS at_us, seq, [{', '.join(groups)}]::VARCHAR[] AS groups, "
            f"{_valued(values)} AS value, 1 AS weight FROM {events} WHERE {condition}{_grouped(groups)}"
        )

    def _correlated(
        self,
        rule: Rule,
        how: Correlation,
        events: str,
        outer: Sequence[str],
        outer_values: Sequence[str],
        depth: int,
    ) -> str:
        if depth >= MOST_DEPTH:
            raise ValueError(f"the rule {rule.id} correlates too deeply")
        sources = []
        for at, identity in enumerate(how.rules):
            groups = [text_of(target, self.bind) for target in how.groups[at]] if how.groups else []
            values = (
                [self._value(how, at, place) for place in range(len(how.values[at]))] if how.values else []
            )
            inner = self._anchors(self.rules[identity], events, groups, values, depth + 1)
            # An anchor of a correlation is an event: what the outer rule groups by is read from that.
            sources.append(f"SELECT at_us, seq, groups, value, {at} AS rule FROM {inner}")
        matched = self._part(" UNION ALL ".join(sources))
        held = self._ordered(how, matched) if how.type == "temporal_ordered" else self._windowed(how, matched)
        if not outer and not outer_values:
            return held
        return self._part(
            f"SELECT h.at_us, h.seq, [{', '.join(outer)}]::VARCHAR[] AS groups, {_valued(outer_values)} AS value "
            f"FROM {held} h JOIN (SELECT * FROM {events}) e ON e.seq = h.seq WHERE TRUE{_grouped(outer)}"
        )

    def _value(self, how: Correlation, rule: int, place: int) -> str:
        target = how.values[rule][place]
        return text_of(target, self.bind) if how.type == "value_count" else number_of(target, self.bind)

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
        name = f"s{len(self.parts)}"
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
