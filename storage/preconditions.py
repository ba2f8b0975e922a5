"""What must have matched before a correlation can fire, in which groups and how often: read from the rules alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from parsers.sigma.matching import Target
from parsers.sigma.rule import Both, Correlation, Occurrence, Occurs, Rule

Field = tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Matches of a plain rule that count for a need: by these fields they belong to a group, these are counted."""

    rule: str
    group: Field
    values: Field = ()


@dataclass(frozen=True, slots=True)
class Need:
    """What must be within reach before an anchor in the anchor's group: so many matches, or different values."""

    sources: tuple[Source, ...]
    least: int
    distinct: bool = False


def groups_of(rule: Rule, rules: Mapping[str, Rule]) -> dict[str, tuple[Field, ...]] | None:
    """Return by plain rule the fields that make its matches belong to a group of a correlation's anchors.

    None: a match may concern anchors of other groups than its own, because inner correlations group otherwise.
    """
    found: dict[str, dict[Field, None]] = {}
    how = rule.correlation
    assert how is not None
    for at, identity in enumerate(how.rules):
        group = _group(how, at)
        if not _keeps(rules[identity], rules, group):
            return None
        for leaf in leaves_of(rules[identity], rules):
            found.setdefault(leaf, {})[group] = None
    return {leaf: tuple(fields) for leaf, fields in found.items()}


def needs_of(rule: Rule, rules: Mapping[str, Rule]) -> tuple[Need, ...]:
    """Return needs without which a correlation that `groups_of` knows has no anchor; more may be needed."""
    how = rule.correlation
    assert how is not None
    if how.type in {"event_count", "value_count"}:
        groups = {at: _group(how, at) for at in range(len(how.rules))}
        return tuple(_counted(how, rules, groups))
    if not how.type.startswith("temporal"):
        return ()
    members = range(len(how.rules)) if how.occurrence is None else sorted(set(_demanded(how.occurrence)))
    found = [need for at in members for need in _member(rules[how.rules[at]], rules, _group(how, at))]
    return tuple(dict.fromkeys(found))


def leaves_of(rule: Rule, rules: Mapping[str, Rule]) -> list[str]:
    """Return the plain rules that a rule is made of in the end, each once."""
    if rule.correlation is None:
        return [rule.id]
    inner = (leaves_of(rules[identity], rules) for identity in rule.correlation.rules)
    return list(dict.fromkeys(leaf for leaves in inner for leaf in leaves))


def _member(rule: Rule, rules: Mapping[str, Rule], group: Field) -> Iterator[Need]:
    """Yield what a member of a correlation needs to occur in a group of the outer one."""
    how = rule.correlation
    if how is None:
        yield Need((Source(rule.id, group),), 1)
    elif how.type in {"event_count", "value_count"}:
        # Its own groups lie within those of the outer one: a window over the latter holds no fewer.
        yield from _counted(how, rules, dict.fromkeys(range(len(how.rules)), group))
    elif how.type.startswith("temporal"):
        wanted = range(len(how.rules)) if how.occurrence is None else _demanded(how.occurrence)
        for at in wanted:
            yield from _member(rules[how.rules[at]], rules, group)


def _counted(how: Correlation, rules: Mapping[str, Rule], groups: Mapping[int, Field]) -> Iterator[Need]:
    limit = how.threshold
    if limit is None or limit.sign not in {">", ">=", "="}:
        return
    distinct = how.type == "value_count"
    values = how.values if distinct else ((),) * len(how.rules)
    sources = tuple(
        Source(leaf, groups[at], values[at])
        for at, identity in enumerate(how.rules)
        for leaf in leaves_of(rules[identity], rules)
    )
    # Counts are whole: more than 4.5 is 5 at least.
    least = math.floor(limit.value) + 1 if limit.sign == ">" else math.ceil(limit.value)
    yield Need(sources, least, distinct)


def _keeps(rule: Rule, rules: Mapping[str, Rule], outer: Field) -> bool:
    """Say whether what happens in one group of an outer correlation never concerns another, down to the plain rules."""
    how = rule.correlation
    if how is None:
        return True
    own = [_group(how, at) for at in range(len(how.rules))]
    if not all(set(outer) <= set(group) for group in own):
        return False
    if len({tuple(group.index(target) for target in outer) for group in own}) > 1:
        return False  # what is the outer group of one member is another field of the other
    return all(_keeps(rules[identity], rules, outer) for identity in how.rules)


def _group(how: Correlation, at: int) -> Field:
    return how.groups[at] if how.groups else ()


def _demanded(occurrence: Occurrence) -> Iterator[int]:
    """Yield the members without which a condition cannot hold."""
    match occurrence:
        case Occurs(rule):
            yield rule
        case Both(parts):
            for part in parts:
                yield from _demanded(part)
        case _:
            return
