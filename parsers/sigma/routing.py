"""Which events a rule may look at: its log source, as a search of ours.

A rule for GitHub's audit log must not judge other applications' events by the same words, so a product that nobody has
named here is looked for nowhere. Rules for `watchkeep`, for applications in general and for web servers have their
events without being told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from parsers.expression import Comparison, Expression
from parsers.fields import EXISTS
from parsers.sigma.rule import OWN_PRODUCT, LogSource, Rule

GENERAL = frozenset(
    {None, "application", "authentication", "audit"}
)  # categories that any application's events are of
WEB = frozenset({"webserver", "proxy", "web"})
_REQUESTS = Comparison("request.method", EXISTS)


@dataclass(frozen=True, slots=True)
class Route:
    """A configured log source: what it is called in rules (None: any), and which events are meant (None: all)."""

    product: str | None
    category: str | None
    service: str | None
    events: Expression | None


@dataclass(frozen=True, slots=True)
class Routed:
    """Where a rule looks: everywhere (``events`` None), or at the events that an expression finds."""

    events: Expression | None


def route(source: LogSource, routes: Sequence[Route]) -> Routed | None:
    """Return where a rule of a log source looks; None if nothing here is of that source. The first route that fits counts."""
    for each in routes:
        fits = zip(
            (each.product, each.category, each.service),
            (source.product, source.category, source.service),
            strict=True,
        )
        if all(wanted is None or wanted == given for wanted, given in fits):
            return Routed(each.events)
    if source.product == OWN_PRODUCT or (source.product is None and source.category in GENERAL):
        return Routed(None)
    if source.product is None and source.category in WEB:
        return Routed(_REQUESTS)
    return None


def routed(rules: Sequence[Rule], routes: Sequence[Route]) -> tuple[dict[str, Expression], set[str]]:
    """Return the searches of rules by id, and the ids of those for which there is no source.

    A correlation has no source of its own: it is without one if any rule that it correlates is.
    """
    found: dict[str, Expression] = {}
    without: set[str] = set()
    for rule in rules:
        if rule.match is None:
            continue
        where = route(rule.source, routes)
        if where is None:
            without.add(rule.id)
        elif where.events is not None:
            found[rule.id] = where.events
    while True:
        more = {
            rule.id
            for rule in rules
            if rule.id not in without and rule.correlation and without & set(rule.correlation.rules)
        }
        if not more:
            return found, without
        without |= more
