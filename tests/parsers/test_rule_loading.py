"""Rules as people write them, mistakes included: a bad one says what is wrong and stops no other."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from parsers.sigma.loading import load

GOOD = {
    "title": "Good",
    "id": "11111111-1111-1111-1111-111111111112",
    "logsource": {"product": "watchkeep"},
    "detection": {"chosen": {"level": "error"}, "condition": "chosen"},
    "level": "high",
}
CORRELATION = {
    "title": "Many",
    "correlation": {
        "type": "event_count",
        "rules": [GOOD["id"]],
        "group-by": ["user.name"],
        "timespan": "5m",
        "condition": {"gte": 3},
    },
}
ATTRIBUTES = (
    "title", "id", "name", "status", "description", "author", "references", "tags", "falsepositives", "license", "date", "modified",
    "level", "logsource", "detection", "fields", "related", "scope", "taxonomy", "group", "alone", "custom",
)  # fmt: skip
ODD: tuple[Any, ...] = ("nope", "", 5, 1.5, True, None, [], ["nope"], [5], [None], {}, {"a": 1}, [{"a": [1]}])


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_value_of_any_type_anywhere_stops_no_other_rule(attribute: str) -> None:
    """Whatever stands there: the rule works, or says why not, and the one beside it works."""
    for base in (GOOD, CORRELATION):
        for odd in ODD:
            bad = {**base, "id": "11111111-1111-1111-1111-111111111111", attribute: odd}
            found = load([("bad.yml", yaml.safe_dump(bad)), ("good.yml", yaml.safe_dump(GOOD))])
            good = next(rule for rule in found if rule.path == "good.yml")
            assert good.problem == "", (attribute, odd)
            for rule in found:
                assert isinstance(rule.title, str), (attribute, odd)
                assert rule.level in {"informational", "low", "medium", "high", "critical"}, (attribute, odd)


@pytest.mark.parametrize(
    ("attribute", "value"), [("level", "sever"), ("status", "nope"), ("description", ["x"])]
)
def test_a_word_that_is_none_of_its_list_is_told(attribute: str, value: Any) -> None:
    """One letter in the level of one rule had put all of them out of force."""
    [rule] = load([("a.yml", yaml.safe_dump({**GOOD, attribute: value}))])
    assert attribute in rule.problem
    assert not rule.emits


@pytest.mark.parametrize(
    "text", ["just text", "- a\n- b", "5", "title: T\ndetection: {chosen: {5: x}, condition: chosen}"]
)
def test_what_is_no_rule_at_all_is_told_without_words_of_the_program(text: str) -> None:
    """No attribute of an object, no type of Python."""
    for rule in load([("a.yml", text)]):
        assert "it is no Sigma rule" in rule.problem
        assert "attribute" not in rule.problem


def test_a_correlation_of_nothing_is_told() -> None:
    """It had been asked of the archive, which answered that it could not."""
    empty = {**CORRELATION, "correlation": {**CORRELATION["correlation"], "rules": []}}  # type: ignore[dict-item]
    rules = load([("good.yml", yaml.safe_dump(GOOD)), ("many.yml", yaml.safe_dump(empty))])
    assert [rule.problem for rule in rules if rule.path == "many.yml"] == ["it correlates no rule"]
