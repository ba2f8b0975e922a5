"""The rules in the configured folders: read, understood, and judged by whether they can work here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from parsers import sigma as pack
from parsers.expression import Expression
from parsers.sigma.loading import load
from parsers.sigma.matching import Target, Test, tests
from parsers.sigma.naming import known
from parsers.sigma.routing import Route, routed
from parsers.sigma.rule import Rule

PACK: Final = os.path.join(os.path.dirname(pack.__file__), "pack")  # the rules that come with Watchkeep
ENDINGS: Final = (".yml", ".yaml")
MOST_RULE_BYTES: Final = 1 << 20  # of one file: what is larger is no rule
GIVEN: Final = "(given)"  # the path of rules that came as a text
State = Literal["active", "correlated", "no source", "unknown fields", "unsupported"]
USELESS: Final = frozenset({"no source", "unsupported"})  # states in which a rule looks at nothing


@dataclass(frozen=True, slots=True)
class Judged:
    """A rule, whether it works here, and what keeps it from working or should be known."""

    rule: Rule
    state: State
    why: str = ""


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All rules by id, where each looks, and what became of each."""

    rules: Mapping[str, Rule]
    routes: Mapping[str, Expression]
    judged: tuple[Judged, ...]

    @property
    def emitting(self) -> tuple[Rule, ...]:
        """The rules that can fire by themselves."""
        return tuple(
            item.rule
            for item in self.judged
            if item.state in {"active", "unknown fields"} and item.rule.emits
        )


def read(
    paths: Sequence[str],
    routes: Sequence[Route],
    seen_fields: frozenset[str] | None = None,
    *,
    given: str | None = None,
) -> Rulebook:
    """Read the rules in files and folders. Blocking, about 2 ms a rule.

    ``seen_fields`` are fields of the application's own that occur in the archive (None: unknown); a rule that needs
    others works, but cannot find anything yet. ``given`` are more rules, as a text. Raises OSError for a path that cannot be read.
    """
    documents = _documents(paths)
    # What is given comes first: of two rules with one id, the first counts.
    rules = load(documents if given is None else [(GIVEN, given), *documents])
    searches, without = routed(rules, routes)
    by_id: dict[str, Rule] = {}
    judged = []
    for rule in rules:
        if rule.id in by_id:
            judged.append(
                Judged(rule, "unsupported", f"its id is that of {by_id[rule.id].path or 'another rule'}")
            )
            continue
        by_id[rule.id] = rule
        judged.append(_judge(rule, without, seen_fields))
    broken = {item.rule.id for item in judged if item.state == "unsupported"}
    for at, item in enumerate(judged):
        if item.rule.correlation and broken & set(item.rule.correlation.rules):
            judged[at] = Judged(item.rule, "unsupported", "a rule that it correlates cannot be used")
    return Rulebook(by_id, searches, tuple(judged))


def dated(paths: Sequence[str]) -> list[tuple[str, int]]:
    """Return the files that `read` would read, with when each was last changed (nanoseconds). Blocking."""
    found = []
    for path in paths:
        for file in sorted(_files(path)):
            with contextlib.suppress(OSError):  # removed at this moment
                found.append((file, os.stat(file).st_mtime_ns))
    return found


def _judge(rule: Rule, without: set[str], seen_fields: frozenset[str] | None) -> Judged:
    if rule.problem:
        return Judged(rule, "unsupported", rule.problem)
    if rule.id in without:
        source = "/".join(filter(None, (rule.source.product, rule.source.category, rule.source.service)))
        why = (
            f"no [[rules.sources]] says which events come from {source}"
            if source
            else "a rule that it correlates has no source"
        )
        return Judged(rule, "no source", why)
    unknown = sorted(unknown_fields(rule, seen_fields))
    if unknown:
        return Judged(rule, "unknown fields", f"no event had {', '.join(unknown)} lately")
    return Judged(rule, "active" if rule.emits else "correlated")


def unknown_fields(rule: Rule, seen_fields: frozenset[str] | None) -> set[str]:
    """Return the fields of a rule that have no column and did not occur."""
    if rule.match is None or seen_fields is None:
        return set()
    targets: set[Target] = {test.target for test in tests(rule.match) if isinstance(test, Test)}
    return {t.name for t in targets if not known(t) and t.name.split(".")[0] not in seen_fields}


def _documents(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        for file in sorted(_files(path)):
            if os.path.getsize(file) > MOST_RULE_BYTES:
                continue
            with open(file, encoding="utf-8", errors="replace") as handle:
                yield file, handle.read()


def _files(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
        return
    for folder, _, names in os.walk(path, onerror=_raise):
        for name in names:
            if name.endswith(ENDINGS):
                yield os.path.join(folder, name)


def _raise(error: OSError) -> None:
    raise error
