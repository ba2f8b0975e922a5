"""Rules from Sigma YAML: pySigma reads and checks them, here they become our own values.

pySigma is imported with the first rule: it takes 0.2 s and 24 MB, which those without rules need not pay.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, Final, cast

from parsers.sigma.aggregating import modern, separate
from parsers.sigma.matching import ANY, ONE, All, Keyword, Match, Pattern, Some, Target, Test, Without
from parsers.sigma.naming import target_of
from parsers.sigma.rule import (
    Both,
    Correlation,
    CorrelationType,
    Either,
    Level,
    LogSource,
    Never,
    Occurrence,
    Occurs,
    Rule,
    Sign,
    Threshold,
)

# Attributes of our own: a rule that fires by itself although others correlate it, and the fields of an alert's group.
ALONE, GROUP = "alone", "group"
MOST_TESTS: Final = 5_000  # of one rule: the longest public ones have some hundred
_NAMESPACE: Final = uuid.UUID("6d8b0fc5-3f9c-4a83-9a0b-6b4a4b1c8f0e")  # of ids for rules that have none
_SIGNS: Final[Mapping[str, Sign]] = {"LT": "<", "LTE": "<=", "GT": ">", "GTE": ">=", "EQ": "=", "NEQ": "<>"}
_RE_FLAGS: Final = {int(re.IGNORECASE): "i", int(re.MULTILINE): "m", int(re.DOTALL): "s"}
_PARTS: Final = {
    "MINUTE": "minute",
    "HOUR": "hour",
    "DAY": "day",
    "WEEK": "week",
    "MONTH": "month",
    "YEAR": "year",
}


class UnsupportedError(Exception):
    """A rule wants something that cannot be asked of an event log; the message says what."""


def load(documents: Iterable[tuple[str, str]]) -> list[Rule]:
    """Return the rules in some YAML texts, each with where it came from. Nothing is raised for a bad rule.

    What cannot be used comes back as a rule with a `problem`. Rules may refer to rules of other texts.
    """
    policy = _policy()
    rules: list[Any] = []
    broken: list[Rule] = []
    paths: dict[int, str] = {}
    for path, text in documents:
        for title, part in _parts(modern(text), policy):
            if isinstance(part, Exception):
                broken.append(_broken(path, title, part))
                continue
            for rule in part:
                paths[id(rule)] = path
            rules += part
    return [*_Loading(rules, paths).rules(), *broken]


def _parts(text: str, policy: Any) -> Iterator[tuple[str, Sequence[Any] | Exception]]:
    """Yield the rules of a text; where pySigma refuses it as a whole, those of each of its documents, or why there are none.

    The first of each pair is the title of what was refused alone.
    """
    from sigma.collection import SigmaCollection

    def read(part: str) -> Sequence[Any] | Exception:
        try:
            found = SigmaCollection.from_yaml(
                part, collect_errors=True, resolve_references=False, policy=policy
            )
        except Exception as error:  # noqa: BLE001 - pySigma and YAML raise many kinds, and a bad rule must stop no other
            return error
        return found.rules

    whole = read(text)
    documents = separate(text) if isinstance(whole, Exception) else []
    if len(documents) < 2:
        yield "", whole
    else:
        yield from ((title, read(part)) for title, part in documents)


def _policy() -> Any:
    """Return how pySigma checks regular expressions: with RE2, as it would by itself, but without its log on stderr."""
    import re2
    from sigma.policy import SigmaPolicy
    from sigma.policy.regex_engine import RE2RegexEngine

    class Quiet(RE2RegexEngine):
        def compile(self, pattern: str, flags: int = 0) -> Any:
            options = re2.Options()
            options.log_errors = False
            letters = "".join(letter for flag, letter in _RE_FLAGS.items() if flags & flag)
            return re2.compile(f"(?{letters}){pattern}" if letters else pattern, options)

    return SigmaPolicy(regex_engine=Quiet())


def _broken(path: str, title: str, error: object) -> Rule:
    identity = str(uuid.uuid5(_NAMESPACE, f"{path}\n{title}"))
    if isinstance(error, (AttributeError, TypeError)):  # of pySigma's own, which tells a person nothing
        error = "something in it is not of the type that belongs there"
    return Rule(
        identity,
        title or path,
        "informational",
        path=path,
        problem=f"it is no Sigma rule: {error}",
        emits=False,
    )


class _Loading:
    """All rules on their way; they refer to each other by name or id."""

    def __init__(self, rules: Sequence[Any], paths: Mapping[int, str]) -> None:
        self._rules = rules
        self._paths = paths
        self._ids = {id(rule): self._id(rule) for rule in self._rules}
        self._by_reference: dict[str, Any] = {}
        for rule in self._rules:
            for reference in (getattr(rule, "name", None), rule.id and str(rule.id)):
                if reference:
                    self._by_reference.setdefault(str(reference), rule)
        self._correlated: set[str] = set()
        self._generated: set[str] = set()  # rules of correlations that let them fire by themselves too

    def rules(self) -> list[Rule]:
        """Return every rule; a correlated one emits only if it, or a correlation of it, says so."""
        found = [self._rule(rule) for rule in self._rules]
        silent = self._correlated - self._generated
        return [
            replace(rule, emits=False) if rule.id in silent and not rule.custom.get(ALONE) else rule
            for rule in found
        ]

    def _id(self, rule: Any) -> str:
        if rule.id is not None:
            return str(rule.id)
        return str(uuid.uuid5(_NAMESPACE, f"{self._paths.get(id(rule), '')}\n{rule.title}"))

    def _rule(self, rule: Any) -> Rule:
        from sigma.correlations import SigmaCorrelationRule

        common = self._common(rule)
        if rule.errors:
            return Rule(**common, problem=f"it is no Sigma rule: {rule.errors[0]}", emits=False)
        try:
            if isinstance(rule, SigmaCorrelationRule):
                return Rule(**common, correlation=self._correlation(rule))
            return Rule(**common, match=_match_of(rule), source=_source(rule))
        except UnsupportedError as error:
            return Rule(**common, problem=str(error), emits=False, source=_source(rule))
        except Exception as error:  # noqa: BLE001 - pySigma raises many kinds, and a bad rule must stop no other
            return Rule(**common, problem=f"it is no Sigma rule: {error}", emits=False)

    def _common(self, rule: Any) -> dict[str, Any]:
        """Return what every rule has. Where pySigma found an error, an attribute may still be what the text had."""
        custom = dict(rule.custom_attributes)
        group = custom.get(GROUP, ())
        return {
            "id": self._ids[id(rule)],
            "title": _string(rule.title) or str(rule.id),
            "name": _string(rule.name),
            "level": cast("Level", _word(rule.level) or "medium"),
            "description": _string(rule.description),
            "status": _word(rule.status),
            "author": _string(rule.author),
            "references": _several(rule.references),
            "tags": tuple(f"{tag.namespace}.{tag.name}" for tag in rule.tags),
            "falsepositives": _several(rule.falsepositives),
            "license": _string(rule.license),
            "custom": custom,
            "group": tuple(target_of(str(name)) for name in group) if isinstance(group, list) else (),
            "path": self._paths.get(id(rule), ""),
        }

    def _correlation(self, rule: Any) -> Correlation:
        from sigma.correlations import SigmaExtendedCorrelationCondition

        kind = cast("CorrelationType", rule.type.name.lower())
        condition = rule.condition
        references = [str(reference.reference) for reference in rule.rules or []]
        if isinstance(condition, SigmaExtendedCorrelationCondition) and not references:
            named: Iterable[Any] = condition.get_referenced_rules()
            references = list(dict.fromkeys(str(getattr(r, "reference", r)) for r in named))
        if not references:
            raise UnsupportedError("it correlates no rule")
        members = [self._referred(reference) for reference in references]
        names = tuple(map(str, rule.group_by or ()))
        groups = tuple(tuple(self._grouped(name, rule, member) for name in names) for member in members)
        occurrence: Occurrence | None = None
        threshold: Threshold | None = None
        values: tuple[tuple[Target, ...], ...] = ()
        if isinstance(condition, SigmaExtendedCorrelationCondition):
            occurrence = _occurrence(condition.parsed, references)
        elif kind.startswith("temporal"):
            occurrence = Both(tuple(Occurs(at) for at in range(len(members))))
        else:
            threshold = Threshold(_SIGNS[condition.op.name], float(condition.count), condition.percentile)
            fields = condition.fieldref
            fields = [fields] if isinstance(fields, str) else list(fields or ())
            if kind != "event_count" and not fields:
                raise UnsupportedError(f"a {kind} needs the field whose values it is about")
            values = tuple(tuple(self._grouped(name, rule, member) for name in fields) for member in members)
        span = rule.timespan.seconds * 1_000_000
        ids = tuple(self._ids[id(member)] for member in members)
        self._correlated |= set(ids)
        if rule.generate:
            self._generated |= set(ids)
        return Correlation(kind, ids, span, names, groups, values, threshold, occurrence)

    def _referred(self, reference: str) -> Any:
        rule = self._by_reference.get(reference)
        if rule is None:
            raise UnsupportedError(f"it correlates the rule {reference!r}, which is not there")
        return rule

    def _grouped(self, name: str, rule: Any, member: Any) -> Target:
        """Return where a field of the group lies in one rule's events: by its alias, or under its own name."""
        for alias in rule.aliases:
            if alias.alias == name:
                for reference, field_name in alias.mapping.items():
                    if self._by_reference.get(str(reference.reference)) is member:
                        return target_of(field_name)
        return target_of(name)


def _string(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _several(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _word(value: Any) -> str:
    return value.name.lower() if isinstance(value, Enum) else ""


def _source(rule: Any) -> LogSource:
    source = getattr(rule, "logsource", None)
    return LogSource() if source is None else LogSource(source.product, source.category, source.service)


def _occurrence(parsed: Any, references: list[str]) -> Occurrence:
    kind = type(parsed).__name__
    if kind == "SigmaRuleReference":
        return Occurs(references.index(str(parsed.reference)))
    parts = tuple(_occurrence(part, references) for part in parsed.args)
    if kind.endswith("AND"):
        return Both(parts)
    if kind.endswith("OR"):
        return Either(parts)
    return Never(parts[0])


def _match_of(rule: Any) -> Match:
    conditions = rule.detection.parsed_condition
    if not conditions:
        raise UnsupportedError("it has no condition")
    made = [_match(condition.parsed) for condition in conditions]
    found = made[0] if len(made) == 1 else Some(tuple(made))
    from parsers.sigma.matching import tests

    if sum(1 for _ in tests(found)) > MOST_TESTS:
        raise UnsupportedError(f"it has more than {MOST_TESTS} tests")
    return found


def _match(item: Any) -> Match:
    """Turn pySigma's tree into ours; its depth is the rule's own nesting, which pySigma has already walked."""
    from sigma.conditions import (
        ConditionAND,
        ConditionFieldEqualsValueExpression,
        ConditionNOT,
        ConditionOR,
        ConditionValueExpression,
    )

    if isinstance(item, ConditionAND):
        return All(tuple(_match(part) for part in item.args))
    if isinstance(item, ConditionOR):
        return Some(tuple(_match(part) for part in item.args))
    if isinstance(item, ConditionNOT):
        return Without(_match(item.args[0]))
    if isinstance(item, ConditionFieldEqualsValueExpression):
        return _test(target_of(item.field), item.value)
    if isinstance(item, ConditionValueExpression):
        return _keyword(item.value)
    raise UnsupportedError(f"its condition holds a {type(item).__name__}, which cannot be asked")


def _keyword(value: Any) -> Match:
    from sigma.types import SigmaExpansion, SigmaNumber, SigmaString

    if isinstance(value, SigmaExpansion):
        return Some(tuple(_keyword(inner) for inner in value.values))
    if isinstance(value, SigmaNumber):
        return Keyword(((str(value.number), False),))
    if isinstance(value, SigmaString):
        return Keyword(_pattern(value))
    raise UnsupportedError(f"a {type(value).__name__} without a field cannot be looked for")


def _pattern(value: Any) -> Pattern:
    from sigma.types import SpecialChars

    if value.contains_placeholder():
        raise UnsupportedError(f"the placeholder in {value} has no value")
    pieces: list[tuple[str, bool]] = []
    for part in value.s:
        if isinstance(part, str):
            pieces.append((part, False))
        elif part is SpecialChars.WILDCARD_MULTI:
            pieces.append((ANY, True))
        elif part is SpecialChars.WILDCARD_SINGLE:
            pieces.append((ONE, True))
        else:
            raise UnsupportedError(f"{part} in a text has no meaning here")
    return tuple(pieces)


def _test(target: Target, value: Any) -> Match:
    make = _MAKERS.get(type(value).__name__)
    if make is None:
        raise UnsupportedError(f"a {type(value).__name__} ({target.name}) cannot be asked of an event log")
    return make(target, value)


def _text(target: Target, value: Any) -> Match:
    return Test(target, "text", _pattern(value), cased=type(value).__name__ == "SigmaCasedString")


def _compare(target: Target, value: Any) -> Match:
    sign = _SIGNS.get(value.op.name)
    if sign is None:
        raise UnsupportedError(f"the comparison {value.op.name} is not known")
    number = getattr(value.number, "number", None)
    if number is None:
        raise UnsupportedError("it compares with what is no number")
    return Test(target, "compare", (sign, float(number)))


def _regex(target: Target, value: Any) -> Match:
    flags = "".join(sorted(flag.name[0].lower() for flag in value.flags))
    pattern = str(value.regexp)
    if re.search(r"\(\?(?:[=!]|<[=!])|\\[1-9]", pattern):
        raise UnsupportedError("its regular expression looks around or back, which RE2 cannot")
    return Test(target, "regex", (pattern, flags))


def _expanded(target: Target, value: Any) -> Match:
    return Some(tuple(_test(target, inner) for inner in value.values))


def _field(target: Target, value: Any) -> Match:
    where = "starts" if value.starts_with else "ends" if value.ends_with else ""
    if value.starts_with and value.ends_with:
        where = "contains"
    return Test(target, "field", (target_of(value.field), where))


def _part(target: Target, value: Any) -> Match:
    word = _PARTS.get(value.timestamp_part.name)
    if word is None:
        raise UnsupportedError(f"the part {value.timestamp_part.name.lower()} of a time is not known")
    return Test(target, "part", (word, float(value.number)))


_MAKERS: Final[Mapping[str, Callable[[Target, Any], Match]]] = {
    "SigmaString": _text,
    "SigmaCasedString": _text,
    "SigmaNumber": lambda target, value: Test(target, "number", value.number),
    "SigmaBool": lambda target, value: Test(target, "text", ((str(value.boolean).lower(), False),)),
    "SigmaNull": lambda target, _value: Test(target, "null", True),
    "SigmaExists": lambda target, value: Test(target, "exists", bool(value.exists)),
    "SigmaCompareExpression": _compare,
    "SigmaRegularExpression": _regex,
    "SigmaCIDRExpression": lambda target, value: Test(target, "network", str(value.cidr)),
    "SigmaExpansion": _expanded,
    "SigmaFieldReference": _field,
    "SigmaTimestampPart": _part,
}
