"""Our own rules: each is a Sigma file with samples beside it, and hits what it must and nothing that it must not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daemon.rulebook import PACK, read
from parsers.sigma.rule import Rule
from parsers.sigma.samples import Sample, samples_of
from storage.rehearsal import rehearse

BOOK = read([PACK], ())
FAMILIES = {
    "brute-force-user", "brute-force-address", "password-spraying", "distributed-spraying", "success-after-failures",
    "mfa-fatigue", "impossible-travel", "new-country", "session-hijack", "privilege-escalation", "mass-export",
    "mass-delete", "unusual-data-access", "api-abuse", "dormant-account", "log-tampering",
}  # fmt: skip
CASES = [(rule, sample) for rule in BOOK.emitting for sample in samples_of(rule)]


@pytest.mark.parametrize(
    ("rule", "sample"),
    CASES,
    ids=[
        re.sub(r"\W+", "_", f"{rule.name}-{'hit' if sample.hit else 'miss'}-{sample.name}")
        for rule, sample in CASES
    ],
)
def test_a_rule_hits_and_misses_what_its_samples_say(rule: Rule, sample: Sample) -> None:
    """Read, scored and correlated as in the daemon."""
    fired = rehearse(rule, BOOK.rules, BOOK.routes, sample)
    assert bool(fired) == sample.hit, fired


def test_the_pack_has_a_file_for_each_family() -> None:
    """And one for what several of them correlate."""
    assert {path.stem for path in Path(PACK).glob("*.yml")} == FAMILIES | {"failed-logins"}


@pytest.mark.parametrize("rule", BOOK.emitting, ids=[rule.name for rule in BOOK.emitting])
def test_a_rule_of_the_pack_tells_all_that_an_alert_needs(rule: Rule) -> None:
    """Severity, technique, false positives, what to do, how long it is quiet afterwards, and samples of both kinds."""
    assert rule.level != "informational"
    assert rule.techniques
    assert rule.falsepositives
    assert rule.custom["runbook"]
    assert re.fullmatch(r"[0-9]+[smhd]", rule.custom["suppress"])
    kinds = {sample.hit for sample in samples_of(rule)}
    assert kinds == {True, False}
    assert rule.correlation is not None or rule.group or rule.internal


def test_every_rule_of_the_pack_works() -> None:
    """None is unsupported, none is without a source."""
    assert {item.state for item in BOOK.judged} == {"active", "correlated"}
    assert len({rule.id for rule in BOOK.rules.values()}) == len(BOOK.judged)
