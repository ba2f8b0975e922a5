"""Whatever the Sigma specification lets a rule say is understood, and runs: one rule for each modifier and condition."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from parsers.sigma.loading import load
from storage.dryrun import DryRun

FIELDS = {
    "a plain text": "Image: 'C:\\Windows\\cmd.exe'",
    "a list": "EventID: [4624, 4625]",
    "a truth": "Enabled: true",
    "nothing": "User: null",
    "an empty text": "User: ''",
    "any value": "User: '*'",
    "wildcards": "Image: '*\\tools\\x*.exe'",
    "one character": "Name: 'file?.txt'",
    "an escaped wildcard": "Name: 'a\\*b'",
    "a quote": 'Name|contains: "its"',
    "contains": "CommandLine|contains: ' -enc '",
    "contains all": "CommandLine|contains|all: ['a', 'b']",
    "all": "CommandLine|all: ['*a*', '*b']",
    "starts and ends": "Image|endswith: ['\\a.exe', '\\b.exe']\n    Parent|startswith: 'C:\\'",
    "dashes of Windows": "CommandLine|windash|contains|all: ['-a', '/b']",
    "base64": "CommandLine|base64: 'x'",
    "base64 at any offset": "CommandLine|base64offset|contains: 'IEX'",
    "wide characters": "CommandLine|wide|base64offset|contains: 'Invoke'",
    "UTF-16": "CommandLine|utf16|base64: 'Invoke'",
    "UTF-16 little endian": "CommandLine|utf16le|base64offset|contains: 'Invoke'",
    "a regular expression": "CommandLine|re: '(?i)-w\\s+hid'",
    "its flags": "CommandLine|re|i|m|s: '^abc.+$'",
    "a quote in one": 'CommandLine|re: "it\'s\\\\d"',
    "networks": "DestinationIp|cidr: ['10.0.0.0/8', '::1/128']",
    "greater": "Size|gt: 100",
    "at least": "Size|gte: 100",
    "less": "Size|lt: 3.5",
    "at most": "Size|lte: 1",
    "unequal": "User|neq: 'SYSTEM'",
    "there": "User|exists: true",
    "not there": "User|exists: false",
    "another field": "SourceUser|fieldref: TargetUser",
    "the beginning of another field": "SourceUser|fieldref|startswith: TargetUser",
    "upper and lower case": "User|contains|cased: 'Admin'",
    "a minute": "time|minute: 5",
    "an hour": "time|hour|gte: 22",
    "a day": "time|day: 1",
    "a week": "time|week: 10",
    "a month": "time|month: 2",
    "a year": "time|year: 2026",
    "a path in the document": "requestParameters.attribute: '*'",
    "a list in the document": "ModifiedProperties{}.NewValue|endswith: 'x'",
    "a blank in a name": "'Event Name|contains': 'x'",
    "a sign in a name": "'@timestamp|exists': true",
    "signs of a pattern": "cs-uri-query|contains: ['=/', '%', '_']",
    "a letter beyond ASCII": "Name|contains: 'é'",
}
DETECTIONS = {
    "keywords": "k: ['SQL syntax', 'near \"*\": syntax error']\n  condition: k",
    "all keywords": "k:\n    '|all': ['USER', 'CREATE']\n  condition: k",
    "maps in a list": "s:\n    - Image|endswith: 'a.exe'\n    - Name: 'a.exe'\n      Line|contains: 'x'\n  condition: s",
    "one of some": "s_a: {A: 1}\n  s_b: {B: 2}\n  f_c: {C: 3}\n  condition: 1 of s_* and not 1 of f_*",
    "all of some": "s_a: {A: 1}\n  s_b: {B: 2}\n  condition: all of s_*",
    "all of them": "a: {A: 1}\n  b: {B: 2}\n  condition: all of them",
    "brackets": "a: {A: 1}\n  b: {B: 2}\n  c: {C: 3}\n  condition: a and (b or not c)",
    "two conditions": "a: {A: 1}\n  b: {B: 2}\n  condition: [a, b]",
    "a count of old": "a: {A: 1}\n  timeframe: 5m\n  condition: a | count() > 10",
    "a count by field": "a: {A: 1}\n  timeframe: 5m\n  condition: a | count(User) by Host > 10",
}
# What nobody can run, by what is said of it.
REFUSED = {
    "the placeholder": "s: {User|expand: '%admins%'}\n  condition: s",
    "invalid perl operator": "s: {Line|re: '^(?!.*x).*y$'}\n  condition: s",
    "pipe syntax": "a: {A: 1}\n  b: {B: 2}\n  timeframe: 30s\n  condition: a | near b",
    "without a field": "k:\n    '|re': 'a.*b'\n  condition: k",
}


def rule(detection: str) -> str:
    return (
        f"title: One\nid: {uuid.uuid4()}\nlogsource: {{product: windows, category: process_creation}}\n"
        f"detection:\n  {detection}\nlevel: high\n"
    )


def wrong(detections: Mapping[str, str]) -> dict[str, str]:
    """Return by name what keeps rules from running; those that run are left out."""
    rules = load([(name, rule(detection)) for name, detection in detections.items()])
    dry = DryRun({each.id: each for each in rules}, {})
    found = {each.path: each.problem or dry.compiles(each) or dry.runs(each) for each in rules}
    dry.close()
    assert found.keys() == detections.keys()
    return {name: why for name, why in found.items() if why}


def test_every_modifier_runs() -> None:
    """Each in a rule of its own, for whichever product."""
    assert wrong({name: f"s:\n    {text}\n  condition: s" for name, text in FIELDS.items()}) == {}


def test_every_condition_runs() -> None:
    """Keywords, lists, quantifiers, brackets, and the counts of before correlations."""
    assert wrong(DETECTIONS) == {}


def test_what_cannot_run_is_refused_with_its_reason() -> None:
    """Placeholders without values, look-around, `near` (use a correlation), a pattern over the whole line."""
    found = wrong(REFUSED)
    assert [name for name in REFUSED if name not in found.get(name, "")] == []
