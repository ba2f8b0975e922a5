"""A rule as people read it: what became of it here, what it means, and its text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from daemon.rulebook import MOST_RULE_BYTES, Judged
from parsers.sigma.rule import Rule


@dataclass(frozen=True, slots=True)
class Fired:
    """How often a rule fired in its alerts that are remembered, when it last did (microseconds, 0: never), and how many they are."""

    times: int = 0
    last_us: int = 0
    alerts: int = 0
    open_alerts: int = 0

    def with_alert(self, times: int, last_us: int, *, is_open: bool) -> Fired:
        """Return it with one more alert."""
        return Fired(
            self.times + times, max(self.last_us, last_us), self.alerts + 1, self.open_alerts + is_open
        )


def rule_row(item: Judged, fired: Fired, broken: Mapping[str, str]) -> dict[str, Any]:
    """Return a rule for `/rules`; ``broken`` says by id why DuckDB refused a rule that we understood."""
    rule = item.rule
    return {
        "id": rule.id,
        "title": rule.title,
        "state": "unsupported" if rule.id in broken else item.state,
        "why": broken.get(rule.id, item.why),
        "level": rule.level,
        "risk": rule.score,
        "description": rule.description,
        "author": rule.author,
        "tags": list(rule.tags),
        "techniques": list(rule.techniques),
        "references": list(rule.references),
        "false_positives": list(rule.falsepositives),
        "runbook": str(rule.custom.get("runbook", "")),
        "source": {name: word for name, word in asdict(rule.source).items() if word},
        "correlates": list(rule.correlation.rules) if rule.correlation else [],
        "group_by": list(rule.grouped_by),
        "fired": fired.times,
        "last_fired_us": fired.last_us or None,
        "alerts": fired.alerts,
        "open_alerts": fired.open_alerts,
    }


def text_of(rule: Rule) -> str:
    """Return the file that a rule stands in, empty where it cannot be read any more. Blocking."""
    try:
        with open(rule.path, encoding="utf-8", errors="replace") as file:
            return file.read(MOST_RULE_BYTES)
    except OSError:
        return ""
