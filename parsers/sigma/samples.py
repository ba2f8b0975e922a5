"""Samples of a rule: events that it must hit, and others that it must miss, written beside it.

A sample has a name under `hit` or `miss`, and `events`: each an `event` as an application would write it, `at` so many
seconds after the sample's beginning, `repeat` times `every` so many seconds. `{n}` in a text is the number of the
repetition from 0, `{n%10}` what is left of it by ten. `internal: true` says that the daemon itself wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from parsers.sigma.rule import Rule

ATTRIBUTE: Final = "samples"
BEGIN_SECONDS: Final = 1_767_600_000  # 2026-01-05, a Monday: when every sample begins
MOST_EVENTS: Final = 20_000  # of one sample
_NUMBER: Final = re.compile(r"\{n(?:%([1-9][0-9]{0,5}))?\}")


@dataclass(frozen=True, slots=True)
class Sample:
    """What one sample holds, and whether the rule must fire. Events are in the order of their times."""

    name: str
    hit: bool
    lines: tuple[Mapping[str, Any], ...]
    internal: bool


def samples_of(rule: Rule) -> list[Sample]:
    """Return the samples of a rule. Raises ValueError for what is no sample."""
    given = rule.custom.get(ATTRIBUTE, ())
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError(f"{rule.title}: `samples` is no list")  # noqa: TRY004 - a mistake in a file, not in a call
    return [_sample(rule, item) for item in given]


def _sample(rule: Rule, item: Any) -> Sample:
    kind = next((kind for kind in ("hit", "miss") if isinstance(item, Mapping) and kind in item), None)
    if kind is None or not isinstance(item.get("events"), Sequence):
        raise ValueError(f"{rule.title}: a sample needs `hit` or `miss` with a name, and `events`")
    timed = sorted(
        (pair for entry in item["events"] for pair in _expanded(rule, entry)), key=lambda pair: pair[0]
    )
    if len(timed) > MOST_EVENTS:
        raise ValueError(f"{rule.title}: a sample may have at most {MOST_EVENTS} events")
    internal = any(entry.get("internal") for entry in item["events"])
    return Sample(str(item[kind]), kind == "hit", tuple(line for _, line in timed), internal)


def _expanded(rule: Rule, entry: Any) -> Iterator[tuple[float, dict[str, Any]]]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("event"), Mapping):
        raise ValueError(f"{rule.title}: an entry of `events` needs an `event`")  # noqa: TRY004 - see above
    begin, every = float(entry.get("at", 0)), float(entry.get("every", 0))
    for number in range(int(entry.get("repeat", 1))):
        at = begin + number * every
        line = {"level": "info", **_numbered(entry["event"], number)}
        yield at, {**line, "timestamp": BEGIN_SECONDS + at}


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return _NUMBER.sub(lambda found: str(number % int(found[1]) if found[1] else number), value)
    if isinstance(value, Mapping):
        return {key: _numbered(inner, number) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numbered(inner, number) for inner in value]
    return value
